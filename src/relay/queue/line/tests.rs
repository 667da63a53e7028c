//! The order against a model of it, and its rules one by one.

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
    assert_eq!((6..=9).map(|account| room(&mut line, account)).collect::<Vec<_>>(), [Some(5), Some(3), Some(1), None]);
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
