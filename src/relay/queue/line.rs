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
mod tests;
