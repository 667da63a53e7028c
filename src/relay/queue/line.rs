//! The order in which those who wait for a place are served: fair among accounts, by work.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996), for each server by itself: an account's *start* is how much work
//! it was given there; a free place goes to the account with the least, first come within it, and moves its start on by
//! the work of what was served. Whoever comes anew starts where the server stands (`clock`), so that neither having
//! been away nor having been busy elsewhere is worth anything. Neither many keys, many requests nor large requests
//! buy more than a share.
//!
//! A ticket waits at each server that can serve it, and leaves all of them when one takes it. Where too many wait, who
//! has most of them makes room for who has none. Pure: no clock, no I/O.

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

/// Those who wait for one model.
#[derive(Debug, Default)]
struct AtModel {
    all: usize,
    of: HashMap<AccountId, BTreeSet<Ticket>>,
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

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The models for which somebody waits.
    pub fn models(&self) -> Vec<Arc<str>> {
        self.models.keys().map(Arc::clone).collect()
    }

    /// Who waits for a model.
    pub fn tickets(&self, model: &str) -> Vec<Ticket> {
        self.models.get(model).map_or_else(Vec::new, |at| at.of.values().flatten().copied().collect())
    }

    /// How many wait at a server.
    pub fn waiting_at(&self, server: ProviderId) -> usize {
        self.servers.get(&server).map_or(0, |at| at.accounts.values().map(|a| a.tickets.len()).sum())
    }

    /// Who waits longest at a server.
    pub fn longest_at(&self, server: ProviderId) -> Option<Ticket> {
        self.servers.get(&server)?.accounts.values().filter_map(|a| a.tickets.first()).min().copied()
    }

    /// Where the line of a model is full, and nobody of the account is in it: the newest of the account that has most in
    /// it leaves, unless all have one. Who it was is to be told.
    pub fn make_room(&mut self, model: &str, account: AccountId) -> Option<Ticket> {
        let at = self.models.get(model)?;
        if at.all < self.longest || at.of.contains_key(&account) {
            return None;
        }
        let most = at.of.values().filter(|of| of.len() > 1).max_by_key(|of| (of.len(), of.last()))?;
        let newest = most.last().copied()?;
        self.leave(newest).map(|_| newest)
    }

    /// Counts one more. Of an account that waits already no more than are free: however many accounts fill the line,
    /// the next one finds room, and each takes half of what the one before left.
    fn count(&mut self, ticket: Ticket, waiter: &Waiter) -> Result<(), Full> {
        let at = self.models.entry(Arc::clone(&waiter.model)).or_default();
        let of_account = at.of.entry(waiter.account).or_default();
        let full = match of_account.len() {
            0 if at.all >= self.longest => Some(Full::Model),
            0 => None,
            of_account if of_account >= part_of_one(self.longest) => Some(Full::Account),
            of_account if of_account >= self.longest.saturating_sub(at.all) => Some(Full::Account),
            _ => None,
        };
        of_account.insert(ticket);
        at.all += 1;
        full.map_or(Ok(()), |full| {
            self.uncount(ticket, waiter);
            Err(full)
        })
    }

    fn uncount(&mut self, ticket: Ticket, waiter: &Waiter) {
        let Some(at) = self.models.get_mut(&waiter.model) else { return };
        at.all = at.all.saturating_sub(1);
        if let Some(of_account) = at.of.get_mut(&waiter.account) {
            of_account.remove(&ticket);
            if of_account.is_empty() {
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
        let ticket = Ticket(self.next);
        self.count(ticket, &waiter)?;
        self.next += 1;
        self.place(ticket, waiter);
        Ok(ticket)
    }

    /// Puts one back that was served in vain: where it was in its account's, however many wait by now.
    pub fn rejoin(&mut self, ticket: Ticket, waiter: Waiter) {
        if !self.waiters.contains_key(&ticket) {
            let at = self.models.entry(Arc::clone(&waiter.model)).or_default();
            at.all += 1;
            at.of.entry(waiter.account).or_default().insert(ticket);
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
            self.leave_server(*server, waiter.account, ticket);
        }
        self.uncount(ticket, &waiter);
        Some(waiter)
    }

    fn leave_server(&mut self, server: ProviderId, account: AccountId, ticket: Ticket) {
        let Some(at) = self.servers.get_mut(&server) else { return };
        at.leave(account, ticket);
        if at.accounts.is_empty() {
            // With nobody waiting nobody is owed anything.
            self.servers.remove(&server);
        }
    }

    /// Other servers can serve it now. It stands there where it would if it had come to them when it began to wait.
    pub fn reroute(&mut self, ticket: Ticket, servers: Vec<ProviderId>) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        let (account, before) = (waiter.account, std::mem::replace(&mut waiter.servers, servers.clone()));
        for server in servers.iter().filter(|server| !before.contains(server)) {
            self.servers.entry(*server).or_default().join(account, ticket);
        }
        for server in before.iter().filter(|server| !servers.contains(server)) {
            self.leave_server(*server, account, ticket);
        }
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

    #[test]
    fn who_has_nobody_in_a_full_line_finds_room_as_long_as_somebody_has_two() {
        let mut line = Line::new(8);
        for account in [1, 1, 2, 2, 3, 3, 4, 5] {
            join(&mut line, account, 1);
        }
        let room = |line: &mut Line, account| {
            let gone = line.make_room("m", AccountId::from_i64(account))?;
            join(line, account, 1);
            Some(gone.0)
        };
        // The newest of those who have two; nobody for who waits already, or in a line of its own.
        assert_eq!(
            (line.make_room("m", AccountId::from_i64(1)), line.make_room("n", AccountId::from_i64(9))),
            (None, None)
        );
        assert_eq!(
            (6..=9).map(|account| room(&mut line, account)).collect::<Vec<_>>(),
            [Some(5), Some(3), Some(1), None]
        );
        assert_eq!(line.join(waiter(9, 1)), Err(Full::Model));
        assert_eq!(served(&mut line, 9), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn who_is_served_elsewhere_from_now_on_keeps_its_place() {
        let (mut line, other) = (Line::new(100), ProviderId::from_i64(2));
        let tickets: Vec<Ticket> = [1, 2, 1].into_iter().map(|account| join(&mut line, account, 10)).collect();
        for ticket in tickets.iter().rev() {
            line.reroute(*ticket, vec![SERVER, other]);
        }
        assert_eq!((line.first(other), line.waiting_at(other)), (Some(tickets[0]), 3));
        line.reroute(tickets[0], vec![other]);
        assert_eq!((line.first(SERVER), line.waiting_at(SERVER), line.waiting("m")), (Some(tickets[1]), 2, 3));
        let order: Vec<_> = (0..4).map_while(|_| line.serve(other)).map(|(ticket, _)| ticket).collect();
        assert_eq!(order, tickets);
        line.reroute(tickets[0], vec![SERVER]);
        assert!(line.is_empty() && line.first(SERVER).is_none(), "who is gone is gone");
    }

    /// The same rules, spelled out with lists: for every server, who waits and where the accounts start.
    #[derive(Default)]
    struct Model {
        waiting: Vec<(Ticket, Waiter)>,
        starts: HashMap<(ProviderId, AccountId), u64>,
        clocks: HashMap<ProviderId, u64>,
    }

    impl Model {
        fn reroute(&mut self, ticket: Ticket, servers: &[ProviderId]) {
            let Some(at) = self.waiting.iter().position(|(t, _)| *t == ticket) else { return };
            let waiter = self.waiting[at].1.clone();
            for server in servers.iter().filter(|server| !waiter.servers.contains(server)) {
                if !self.waits(*server, waiter.account) {
                    let clock = self.clocks.get(server).copied().unwrap_or(0);
                    let start = self.starts.entry((*server, waiter.account)).or_default();
                    *start = clock.max(*start);
                }
            }
            self.waiting[at].1.servers = servers.to_vec();
            self.forget();
        }

        /// The newest of those of who has most, if that is more than one.
        fn makes_room(&self) -> Option<Ticket> {
            let of = |account| self.waiting.iter().filter(move |(_, w)| w.account == account).map(|(t, _)| *t);
            let most = self.waiting.iter().map(|(_, w)| (of(w.account).count(), of(w.account).max())).max()?;
            if most.0 > 1 { most.1 } else { None }
        }

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
            self.forget();
        }

        fn forget(&mut self) {
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
        Reroute(usize, Vec<i64>),
        Serve(i64),
    }

    /// So few that the line is full now and then.
    const LONGEST: usize = 24;

    fn step() -> impl proptest::strategy::Strategy<Value = Step> {
        use proptest::prelude::*;
        prop_oneof![
            4 => (0..30_i64, 0..50_u64, proptest::sample::subsequence(vec![1, 2, 3], 1..=3))
                .prop_map(|(account, work, servers)| Step::Join(account, work, servers)),
            1 => any::<usize>().prop_map(Step::Leave),
            1 => (any::<usize>(), proptest::sample::subsequence(vec![1, 2, 3], 1..=3))
                .prop_map(|(any, servers)| Step::Reroute(any, servers)),
            3 => (1..4_i64).prop_map(Step::Serve),
        ]
    }

    proptest::proptest! {
        #[test]
        fn the_order_is_the_models(steps in proptest::collection::vec(step(), 0..200)) {
            let (mut line, mut model) = (Line::new(LONGEST), Model::default());
            for step in steps {
                match step {
                    Step::Join(account, work, servers) => {
                        let servers = servers.into_iter().map(ProviderId::from_i64).collect();
                        let waiter = Waiter { servers, ..waiter(account, work) };
                        let has = model.waiting.iter().filter(|(_, w)| w.account == waiter.account).count();
                        let left = LONGEST.saturating_sub(model.waiting.len());
                        let gone = if has == 0 && left == 0 { model.makes_room() } else { None };
                        proptest::prop_assert_eq!(line.make_room("m", waiter.account), gone);
                        gone.into_iter().for_each(|gone| model.leave(gone));
                        let fits = if has == 0 { left > 0 || gone.is_some() } else { has < LONGEST / 4 && has < left };
                        match (line.join(waiter.clone()), fits) {
                            (Ok(ticket), true) => model.join(ticket, waiter),
                            (Err(_), false) => {}
                            (joined, _) => proptest::prop_assert!(false, "{:?}, and it fits: {}", joined, fits),
                        }
                    }
                    Step::Leave(any) => {
                        if let Some((ticket, _)) = model.waiting.get(any % model.waiting.len().max(1)).cloned() {
                            model.leave(ticket);
                            proptest::prop_assert!(line.leave(ticket).is_some());
                        }
                    }
                    Step::Reroute(any, servers) => {
                        let servers: Vec<_> = servers.into_iter().map(ProviderId::from_i64).collect();
                        if let Some((ticket, _)) = model.waiting.get(any % model.waiting.len().max(1)).cloned() {
                            model.reroute(ticket, &servers);
                            line.reroute(ticket, servers);
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
