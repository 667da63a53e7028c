//! The order in which those who wait for a place are served: fair among accounts, by work.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996), for each server by itself: an account's *start* is how much work
//! it was given there; a free place goes to the account with the least, first come within it, and moves its start on by
//! the work of what was served. Whoever comes anew starts where the server stands (`clock`), so that neither having
//! been away nor having been busy elsewhere is worth anything. Neither many keys, many requests nor large requests
//! buy more than a share.
//!
//! A ticket waits at each server that can serve it, and leaves all of them when one takes it. Pure: no clock, no I/O.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::domain::ids::{AccountId, ProviderId};

/// One who waits; given out in the order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiter {
    /// Who pays.
    pub account: AccountId,
    /// What it is to be served with.
    pub model: Arc<str>,
    /// Tokens it may take, at most.
    pub work: u64,
    /// The servers that can serve it.
    pub servers: Vec<ProviderId>,
}

/// Why one more cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Too many wait for the model.
    Model,
    /// The account has its part of those who may wait for the model.
    Account,
}

/// Everybody who waits.
#[derive(Debug)]
pub struct Line {
    waiters: HashMap<Ticket, Waiter>,
    servers: HashMap<ProviderId, AtServer>,
    models: HashMap<Arc<str>, AtModel>,
    next: u64,
    longest: usize,
}

/// How many wait for one model.
#[derive(Debug, Default)]
struct AtModel {
    all: usize,
    of: HashMap<AccountId, usize>,
}

/// Those who wait at one server.
#[derive(Debug, Default)]
struct AtServer {
    /// The start of whoever was served last.
    clock: u64,
    accounts: HashMap<AccountId, Account>,
    /// Of accounts that do not wait and are ahead of the clock: where they start when they come back.
    away: HashMap<AccountId, u64>,
    /// The accounts that wait, by start; among equals, who has waited longest since it was served.
    order: BTreeSet<(u64, Ticket, AccountId)>,
}

#[derive(Debug)]
struct Account {
    start: u64,
    tickets: BTreeSet<Ticket>,
}

/// How many of one account may be among those who wait for a model.
pub const fn part_of_one(longest: usize) -> usize {
    if longest < 4 { 1 } else { longest / 4 }
}

/// Beyond this many accounts remembered at a server, those that the clock has passed are forgotten.
const MOST_AWAY: usize = 1_024;

impl Line {
    /// Nobody waits yet; `longest` may, for each model.
    pub fn new(longest: usize) -> Self {
        Self { waiters: HashMap::new(), servers: HashMap::new(), models: HashMap::new(), next: 0, longest }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// How many wait for a model.
    pub fn waiting(&self, model: &str) -> usize {
        self.models.get(model).map_or(0, |at| at.all)
    }

    /// How many wait at a server.
    pub fn waiting_at(&self, server: ProviderId) -> usize {
        self.servers.get(&server).map_or(0, |at| at.accounts.values().map(|a| a.tickets.len()).sum())
    }

    /// Who waits longest at a server.
    pub fn longest_at(&self, server: ProviderId) -> Option<Ticket> {
        self.servers.get(&server)?.accounts.values().filter_map(|a| a.tickets.first()).min().copied()
    }

    /// Counts one more. Of an account that waits already no more than are free: however many accounts fill the line,
    /// the next one finds room, and each takes half of what the one before left.
    fn count(&mut self, waiter: &Waiter) -> Result<(), Full> {
        let at = self.models.entry(Arc::clone(&waiter.model)).or_default();
        let of_account = at.of.entry(waiter.account).or_default();
        let full = match *of_account {
            0 if at.all >= self.longest => Some(Full::Model),
            0 => None,
            of_account if of_account >= part_of_one(self.longest) => Some(Full::Account),
            of_account if of_account >= self.longest.saturating_sub(at.all) => Some(Full::Account),
            _ => None,
        };
        *of_account += 1;
        at.all += 1;
        full.map_or(Ok(()), |full| {
            self.uncount(waiter);
            Err(full)
        })
    }

    fn uncount(&mut self, waiter: &Waiter) {
        let Some(at) = self.models.get_mut(&waiter.model) else { return };
        at.all = at.all.saturating_sub(1);
        if let Some(count) = at.of.get_mut(&waiter.account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                at.of.remove(&waiter.account);
            }
        }
        if at.all == 0 {
            self.models.remove(&waiter.model);
        }
    }

    /// Puts one more at the end of its account's.
    ///
    /// # Errors
    /// Too many wait.
    pub fn join(&mut self, waiter: Waiter) -> Result<Ticket, Full> {
        self.count(&waiter)?;
        let ticket = Ticket(self.next);
        self.next += 1;
        self.place(ticket, waiter);
        Ok(ticket)
    }

    /// Puts one back that was served in vain: where it was in its account's, however many wait by now.
    pub fn rejoin(&mut self, ticket: Ticket, waiter: Waiter) {
        if !self.waiters.contains_key(&ticket) {
            let at = self.models.entry(Arc::clone(&waiter.model)).or_default();
            at.all += 1;
            *at.of.entry(waiter.account).or_default() += 1;
            self.place(ticket, waiter);
        }
    }

    fn place(&mut self, ticket: Ticket, waiter: Waiter) {
        for server in &waiter.servers {
            self.servers.entry(*server).or_default().join(waiter.account, ticket);
        }
        self.waiters.insert(ticket, waiter);
    }

    /// It does not wait any more: whoever sent it left, or it has waited too long.
    pub fn leave(&mut self, ticket: Ticket) -> Option<Waiter> {
        let waiter = self.waiters.remove(&ticket)?;
        for server in &waiter.servers {
            let Some(at) = self.servers.get_mut(server) else { continue };
            at.leave(waiter.account, ticket);
            if at.accounts.is_empty() {
                // With nobody waiting nobody is owed anything.
                self.servers.remove(server);
            }
        }
        self.uncount(&waiter);
        Some(waiter)
    }

    /// Whose turn it is at a server.
    pub fn first(&self, server: ProviderId) -> Option<Ticket> {
        self.servers.get(&server)?.order.first().map(|(_, ticket, _)| *ticket)
    }

    /// Gives a place at a server to whose turn it is; who it was waits no longer.
    pub fn serve(&mut self, server: ProviderId) -> Option<(Ticket, Waiter)> {
        let ticket = self.first(server)?;
        let waiter = self.waiters.get(&ticket)?;
        self.servers.get_mut(&server)?.serve(waiter.account, waiter.work);
        self.leave(ticket).map(|waiter| (ticket, waiter))
    }

    /// What was served came back with nothing: its account is as if it had not been.
    pub fn refund(&mut self, server: ProviderId, account: AccountId, work: u64) {
        if let Some(at) = self.servers.get_mut(&server) {
            at.refund(account, work);
        }
    }
}

impl AtServer {
    fn join(&mut self, id: AccountId, ticket: Ticket) {
        let clock = self.clock;
        let away = &mut self.away;
        let account = self.accounts.entry(id).or_insert_with(|| {
            let start = away.remove(&id).unwrap_or_default().max(clock);
            Account { start, tickets: BTreeSet::new() }
        });
        let first = account.tickets.first().copied();
        if first.is_none_or(|first| ticket < first) {
            if let Some(first) = first {
                self.order.remove(&(account.start, first, id));
            }
            self.order.insert((account.start, ticket, id));
        }
        account.tickets.insert(ticket);
    }

    fn leave(&mut self, id: AccountId, ticket: Ticket) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let Some(first) = account.tickets.first().copied() else { return };
        account.tickets.remove(&ticket);
        if first == ticket {
            self.order.remove(&(account.start, first, id));
            match account.tickets.first() {
                Some(next) => drop(self.order.insert((account.start, *next, id))),
                None => {
                    let start = account.start;
                    self.accounts.remove(&id);
                    self.remember(id, start);
                }
            }
        }
    }

    fn remember(&mut self, id: AccountId, start: u64) {
        if start > self.clock {
            self.away.insert(id, start);
        }
        if self.away.len() > MOST_AWAY {
            let clock = self.clock;
            self.away.retain(|_, start| *start > clock);
        }
    }

    /// Moves an account's start on by what it is served.
    fn serve(&mut self, id: AccountId, work: u64) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let Some(first) = account.tickets.first().copied() else { return };
        self.order.remove(&(account.start, first, id));
        self.clock = self.clock.max(account.start);
        account.start = account.start.saturating_add(work.max(1));
        self.order.insert((account.start, first, id));
    }

    /// Takes back what an account was served, as far as the clock has not passed it.
    fn refund(&mut self, id: AccountId, work: u64) {
        let (clock, work) = (self.clock, work.max(1));
        if let Some(start) = self.away.get_mut(&id) {
            *start = start.saturating_sub(work);
        }
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let Some(first) = account.tickets.first().copied() else { return };
        self.order.remove(&(account.start, first, id));
        account.start = account.start.saturating_sub(work).max(clock);
        self.order.insert((account.start, first, id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: ProviderId = ProviderId::from_i64(1);

    fn waiter(account: i64, work: u64) -> Waiter {
        Waiter { account: AccountId::from_i64(account), model: "m".into(), work, servers: vec![SERVER] }
    }

    fn join(line: &mut Line, account: i64, work: u64) -> Ticket {
        line.join(waiter(account, work)).unwrap()
    }

    /// The accounts in the order in which they are served.
    fn served(line: &mut Line, most: usize) -> Vec<i64> {
        (0..most).map_while(|_| line.serve(SERVER)).map(|(_, w)| w.account.to_i64()).collect()
    }

    #[test]
    fn accounts_take_turns_and_within_one_the_first_comes_first() {
        let mut line = Line::new(100);
        let first: Vec<Ticket> = (0..4).map(|_| join(&mut line, 1, 10)).collect();
        join(&mut line, 2, 10);
        join(&mut line, 3, 10);
        join(&mut line, 2, 10);
        assert_eq!(line.first(SERVER), Some(first[0]));
        assert_eq!(served(&mut line, 9), [1, 2, 3, 1, 2, 1, 1]);
        assert!(line.is_empty());
    }

    #[test]
    fn large_requests_buy_no_more_than_small_ones() {
        let mut line = Line::new(1_000);
        for _ in 0..5 {
            join(&mut line, 1, 8_000);
        }
        for _ in 0..200 {
            join(&mut line, 2, 100);
        }
        let order = served(&mut line, 83);
        assert_eq!(order.iter().filter(|a| **a == 1).count(), 2, "{order:?}");
        assert_eq!(order.iter().position(|a| *a == 1), Some(0));
        assert_eq!(order.iter().rposition(|a| *a == 1), Some(81));
    }

    #[test]
    fn who_comes_anew_starts_where_the_others_are() {
        let mut line = Line::new(1_000);
        for _ in 0..20 {
            join(&mut line, 1, 10);
            join(&mut line, 2, 10);
        }
        assert_eq!(served(&mut line, 20).len(), 20);
        for _ in 0..5 {
            join(&mut line, 3, 10);
        }
        // Its having had nothing so far is worth nothing: it does not get five in a row.
        let order = served(&mut line, 6);
        assert_eq!(order.iter().filter(|a| **a == 3).count(), 2, "{order:?}");
    }

    #[test]
    fn going_away_for_a_moment_is_worth_nothing() {
        let mut line = Line::new(1_000);
        for _ in 0..20 {
            join(&mut line, 2, 10);
        }
        let mut order = Vec::new();
        for _ in 0..10 {
            // One at a time, always back when it was served.
            join(&mut line, 1, 1_000);
            order.extend(served(&mut line, 2));
        }
        assert_eq!(order.iter().filter(|a| **a == 1).count(), 1, "{order:?}");
    }

    #[test]
    fn what_came_back_with_nothing_was_not_served() {
        let mut line = Line::new(1_000);
        for account in [1, 1, 2, 2] {
            join(&mut line, account, 10);
        }
        assert_eq!(served(&mut line, 1), [1]);
        line.refund(SERVER, AccountId::from_i64(1), 10);
        assert_eq!(served(&mut line, 4), [1, 2, 2]);
    }

    #[test]
    fn who_was_served_in_vain_is_where_it_was() {
        let mut line = Line::new(4);
        let ticket = join(&mut line, 1, 10);
        let (served, waiter) = line.serve(SERVER).unwrap();
        assert_eq!(served, ticket);
        // Its account's part of the line is taken meanwhile.
        let later = join(&mut line, 1, 10);
        assert!(line.join(waiter.clone()).is_err());
        line.rejoin(ticket, waiter.clone());
        assert_eq!((line.first(SERVER), line.waiting("m")), (Some(ticket), 2));
        line.rejoin(ticket, waiter);
        assert_eq!(line.waiting("m"), 2, "once");
        assert_eq!(line.serve(SERVER).map(|(t, _)| t), Some(ticket));
        assert_eq!(line.serve(SERVER).map(|(t, _)| t), Some(later));
        assert!(line.is_empty() && line.waiting("m") == 0);
    }

    #[test]
    fn a_line_has_an_end_and_an_account_a_part_of_it() {
        let mut line = Line::new(8);
        for _ in 0..2 {
            join(&mut line, 1, 1);
        }
        assert_eq!(line.join(waiter(1, 1)), Err(Full::Account));
        for account in [2, 2, 3, 3, 4, 5] {
            join(&mut line, account, 1);
        }
        assert_eq!(line.join(waiter(6, 1)), Err(Full::Model));
        let other = Waiter { model: "other".into(), ..waiter(5, 1) };
        assert!(line.join(other).is_ok());
        assert_eq!((line.waiting("m"), line.waiting("other"), line.waiting_at(SERVER)), (8, 1, 9));
        assert!(line.serve(SERVER).is_some());
        assert!(line.join(waiter(6, 1)).is_ok());
    }

    #[test]
    fn a_few_accounts_do_not_fill_the_line() {
        let mut line = Line::new(1_000);
        let parts: Vec<usize> =
            (1..=8).map(|account| (0..1_000).take_while(|_| line.join(waiter(account, 1)).is_ok()).count()).collect();
        assert_eq!(parts, [250, 250, 250, 125, 63, 31, 16, 8]);
        assert!(line.join(waiter(9, 1)).is_ok());
    }

    /// The same rules, spelled out with lists: for every server, who waits and where the accounts start.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(Ticket, Waiter)>,
        starts: HashMap<(ProviderId, AccountId), u64>,
        clocks: HashMap<ProviderId, u64>,
    }

    impl Model {
        fn waits(&self, server: ProviderId, account: AccountId) -> bool {
            self.waiting.iter().any(|(_, w)| w.account == account && w.servers.contains(&server))
        }

        fn join(&mut self, ticket: Ticket, waiter: Waiter) {
            for server in &waiter.servers {
                if !self.waits(*server, waiter.account) {
                    let clock = self.clocks.get(server).copied().unwrap_or(0);
                    let start = self.starts.entry((*server, waiter.account)).or_default();
                    *start = clock.max(*start);
                }
            }
            self.waiting.push((ticket, waiter));
        }

        fn leave(&mut self, ticket: Ticket) {
            self.waiting.retain(|(t, _)| *t != ticket);
            let here: Vec<ProviderId> = self.waiting.iter().flat_map(|(_, w)| w.servers.clone()).collect();
            self.starts.retain(|(server, _), _| here.contains(server));
            self.clocks.retain(|server, _| here.contains(server));
        }

        fn serve(&mut self, server: ProviderId) -> Option<Ticket> {
            let able = self.waiting.iter().filter(|(_, w)| w.servers.contains(&server));
            let (ticket, waiter) = able.min_by_key(|(t, w)| (self.starts[&(server, w.account)], *t))?.clone();
            let start = self.starts.get_mut(&(server, waiter.account))?;
            let clock = self.clocks.entry(server).or_default();
            *clock = (*clock).max(*start);
            *start += waiter.work.max(1);
            self.leave(ticket);
            Some(ticket)
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Join(i64, u64, Vec<i64>),
        Leave(usize),
        Serve(i64),
    }

    fn step() -> impl proptest::strategy::Strategy<Value = Step> {
        use proptest::prelude::*;
        prop_oneof![
            4 => (0..6_i64, 0..50_u64, proptest::sample::subsequence(vec![1, 2, 3], 1..=3))
                .prop_map(|(account, work, servers)| Step::Join(account, work, servers)),
            1 => any::<usize>().prop_map(Step::Leave),
            3 => (1..4_i64).prop_map(Step::Serve),
        ]
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_the_models(steps in proptest::collection::vec(step(), 0..200)) {
            let (mut line, mut model) = (Line::new(10_000), Model::default());
            for step in steps {
                match step {
                    Step::Join(account, work, servers) => {
                        let servers = servers.into_iter().map(ProviderId::from_i64).collect();
                        let waiter = Waiter { servers, ..waiter(account, work) };
                        let ticket = line.join(waiter.clone()).unwrap();
                        model.join(ticket, waiter);
                    }
                    Step::Leave(any) => {
                        if let Some((ticket, _)) = model.waiting.get(any % model.waiting.len().max(1)).cloned() {
                            model.leave(ticket);
                            proptest::prop_assert!(line.leave(ticket).is_some());
                        }
                    }
                    Step::Serve(server) => {
                        let server = ProviderId::from_i64(server);
                        let served = line.serve(server).map(|(ticket, _)| ticket);
                        proptest::prop_assert_eq!(served, model.serve(server));
                    }
                }
                proptest::prop_assert_eq!(line.waiting("m"), model.waiting.len());
            }
        }
    }
}
