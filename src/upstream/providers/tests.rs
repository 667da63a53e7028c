//! Providers as they come and go: who is asked first, who is left alone, and for how long.

use super::state::LONGEST_PAUSE;
use super::*;

fn target(id: i64, max_concurrent: Option<u32>) -> Target {
    Target::nowhere(id, max_concurrent)
}

#[derive(Debug, PartialEq)]
enum Unavailable {
    Full,
    Down(Duration),
}

/// Those that take a request now, in the order to try them.
fn order(providers: &Providers, targets: &[Target], now: Instant) -> Result<Vec<String>, Unavailable> {
    let ranked = providers.rank(targets.to_vec(), now).map_err(Unavailable::Down)?;
    let states = providers.lock();
    let takes = |t: &Target| {
        states.get(&t.provider).is_none_or(|s| !providers.is_down(t.provider, s) && !s.is_full(t.max_concurrent, now))
    };
    let (takes, not): (Vec<_>, Vec<_>) = ranked.iter().map(|t| (takes(t), t.name.clone())).partition(|(t, _)| *t);
    assert!(ranked.iter().rev().zip(not.iter().rev()).all(|(last, (_, name))| last.name == *name), "they come last");
    let names: Vec<String> = takes.into_iter().map(|(_, name)| name).collect();
    if names.is_empty() { Err(Unavailable::Full) } else { Ok(names) }
}

#[test]
fn the_least_busy_comes_first_and_the_full_one_not_at_all() {
    let providers = Arc::new(Providers::default());
    let targets = [target(1, None), target(2, None), target(3, Some(1))];
    let now = Instant::now();
    let slots = (providers.take(&targets[0]), providers.take(&targets[2]));
    assert!(slots.0.is_some() && slots.1.is_some());
    assert_eq!(order(&providers, &targets, now), Ok(vec!["2".into(), "1".into()]));
    assert!(providers.take(&targets[2]).is_none());
    assert_eq!(order(&providers, &targets[2..], now), Err(Unavailable::Full));
    drop(slots);
    assert_eq!(order(&providers, &targets[2..], now), Ok(vec!["3".into()]));
}

fn fail(providers: &Arc<Providers>, sign: Sign, print: u64, now: Instant) {
    if let Some(slot) = providers.take(&target(1, None)) {
        slot.failed("no", sign, print, now);
    }
}

#[test]
fn what_one_request_meets_says_little_of_the_provider() {
    for sign in [Sign::HungUp, Sign::Failed] {
        let providers = Arc::new(Providers::default());
        let targets = [target(1, None), target(2, None)];
        let now = Instant::now();
        for _ in 0..20 {
            fail(&providers, sign, 7, now);
        }
        let after = |seconds| now + Duration::from_secs(seconds);
        let (first, last) = (Ok(vec!["1".into(), "2".into()]), Ok(vec!["2".into(), "1".into()]));
        assert_eq!(order(&providers, &targets, now), last, "{sign:?}");
        assert_eq!(order(&providers, &targets[..1], now), Ok(vec!["1".into()]), "it is all there is");
        assert_eq!(order(&providers, &targets, after(1)), first, "{sign:?}");
        assert_eq!(providers.due(9, now).0, []);
        // A second one makes it the last to be asked for longer.
        fail(&providers, sign, 8, now);
        assert_eq!(order(&providers, &targets, after(1)), last, "{sign:?}");
        assert_eq!(order(&providers, &targets, after(2)), first, "{sign:?}");
    }
}

#[test]
fn a_provider_that_answers_is_never_down_whatever_it_answers() {
    let providers = Arc::new(Providers::default());
    let now = Instant::now();
    for print in 0..100 {
        fail(&providers, Sign::Failed, print, now);
    }
    assert!(!providers.health(ProviderId::from_i64(1), now).down);
    assert_eq!(providers.due(9, now), (vec![], None));
}

#[test]
fn one_that_hangs_up_on_different_requests_is_asked_before_it_counts_as_down() {
    let providers = Arc::new(Providers::default());
    let (id, now) = (ProviderId::from_i64(1), Instant::now());
    for print in 0..3 {
        fail(&providers, Sign::HungUp, print, now);
    }
    assert!(!providers.health(id, now).down);
    assert_eq!(providers.due(9, now), (vec![id], None));
    assert_eq!(providers.due(9, now), (vec![], None), "it is being asked");
    providers.asked(id, Ok(()), now);
    assert!(!providers.health(id, now).cooling);
    for print in 0..3 {
        fail(&providers, Sign::HungUp, print, now);
    }
    assert_eq!(providers.due(9, now).0, [id]);
    providers.asked(id, Err("gone".into()), now);
    assert!(providers.health(id, now).down);
}

#[test]
fn one_that_is_down_gets_nothing_until_it_answers_us() {
    let providers = Arc::new(Providers::default());
    let targets = [target(1, None)];
    let (id, mut now) = (ProviderId::from_i64(1), Instant::now());
    for print in 0..3 {
        fail(&providers, Sign::Unreached, print, now);
    }
    assert!(matches!(order(&providers, &targets, now), Err(Unavailable::Down(_))));
    for tries in 1..=10_u32 {
        assert_eq!(providers.due(9, now).0, [id], "{tries}");
        providers.asked(id, Err("gone".into()), now);
        let (due, Some(next)) = providers.due(9, now) else { panic!("it is not asked again") };
        assert_eq!(due, []);
        let (wait, whole) = (next - now, Duration::from_secs(1 << (tries.min(6) - 1)).min(LONGEST_PAUSE));
        assert!(wait >= whole * 3 / 4 && wait <= whole * 5 / 4, "{tries}: {wait:?}");
        // Long after, it is still down: no caller finds out for us.
        assert_eq!(order(&providers, &targets, now), Err(Unavailable::Down(wait)));
        now = next;
        assert!(matches!(order(&providers, &targets, now), Err(Unavailable::Down(_))));
    }
    assert_eq!(providers.due(0, now), (vec![], None), "no room");
    assert_eq!(providers.due(9, now).0, [id]);
    providers.asked(id, Ok(()), now);
    assert_eq!(order(&providers, &targets, now), Ok(vec!["1".into()]));
    assert_eq!(providers.due(9, now), (vec![], None));
}

#[test]
fn who_says_that_it_is_full_is_believed_for_so_long_and_is_no_failure() {
    let providers = Arc::new(Providers::default());
    let targets = [target(1, None), target(2, None)];
    let now = Instant::now();
    let after = |seconds| now + Duration::from_secs(seconds);
    if let Some(slot) = providers.take(&targets[0]) {
        slot.busy(503, Some(Duration::from_secs(7)), now);
    }
    assert_eq!(order(&providers, &targets, now), Ok(vec!["2".into()]));
    assert!(providers.take(&targets[0]).is_none());
    assert_eq!(providers.said_full(&targets[..1], after(3)), Some((503, Duration::from_secs(4))));
    assert_eq!(providers.said_full(&targets, now), None, "the other one did not");
    assert_eq!(order(&providers, &targets, after(8)), Ok(vec!["1".into(), "2".into()]));
    assert_eq!(providers.said_full(&targets[..1], after(8)), None);
    assert_eq!(providers.health(targets[0].provider, now).failed, 0);
}

#[test]
fn the_longest_that_a_full_one_says_is_believed_and_no_more_than_half_a_minute() {
    let providers = Arc::new(Providers::default());
    let target = target(1, None);
    let now = Instant::now();
    let left = || providers.said_full(std::slice::from_ref(&target), now).map(|(_, left)| left);
    let slots = [(); 3].map(|()| providers.take(&target).unwrap());
    slots[0].busy(429, Some(Duration::from_secs(7)), now);
    assert_eq!(left(), Some(Duration::from_secs(7)));
    slots[1].busy(429, None, now);
    assert_eq!(left(), Some(Duration::from_secs(7)), "what another was told before is not shortened");
    slots[2].busy(429, Some(Duration::from_secs(86_400)), now);
    assert_eq!(left(), Some(LONGEST_PAUSE));
}

#[test]
fn half_of_the_places_and_the_last_one_are_not_to_spare() {
    // Places, and how many of them work that nobody pays for may have.
    for (most, spare) in [(Some(0), 0), (Some(1), 0), (Some(2), 1), (Some(3), 1), (Some(8), 4), (None, 50)] {
        let providers = Arc::new(Providers::default());
        let target = target(1, most);
        let slots: Vec<Slot> = (0..50).map_while(|_| providers.take_spare(&target)).collect();
        assert_eq!(slots.len(), spare, "of {most:?}");
    }
}

#[test]
fn a_server_gets_no_more_than_it_had_room_for_and_is_tried_with_more_later() {
    let providers = Arc::new(Providers::default());
    let target = target(1, None);
    let now = Instant::now();
    let slots: Vec<Slot> = (0..4).filter_map(|_| providers.take(&target)).collect();
    slots[3].busy(429, Some(Duration::ZERO), now);
    drop(slots);
    let mut slots: Vec<Slot> = (0..9).map_while(|_| providers.take(&target)).collect();
    assert_eq!(slots.len(), 3, "as many as it took before");
    slots[0].answered(Duration::ZERO);
    assert!(providers.take(&target).is_none(), "it said so a moment ago");
    providers.lock().values_mut().for_each(|state| state.full_until = None);
    slots[1].answered(Duration::ZERO);
    slots.extend((0..9).map_while(|_| providers.take(&target)));
    assert_eq!(slots.len(), 4, "one more, and not all at once");
    // Who has room for none is asked with one.
    slots[3].busy(429, Some(Duration::ZERO), now);
    slots.truncate(1);
    slots[0].busy(429, Some(Duration::ZERO), now);
    slots.clear();
    assert!(providers.take(&target).is_some());
}

#[test]
fn how_long_places_are_taken_is_known() {
    let providers = Arc::new(Providers::default());
    let targets = [target(1, Some(2)), target(2, None)];
    let now = Instant::now();
    assert_eq!(providers.pace(&targets, now), (3, Duration::ZERO));
    let slot = providers.take(&targets[0]).unwrap();
    slot.answered(Duration::ZERO);
    std::thread::sleep(Duration::from_millis(20));
    drop(slot);
    let (places, service) = providers.pace(&targets, now);
    assert!(places == 3 && service >= Duration::from_millis(20), "{service:?}");
    // One that failed tells nothing of it.
    drop(providers.take(&targets[1]));
    assert_eq!(providers.pace(&targets[1..], now), (1, Duration::ZERO));
}

#[test]
fn who_understands_the_client_itself_comes_first_while_it_is_well() {
    let providers = Arc::new(Providers::default());
    let now = Instant::now();
    let in_chat = |id| Target { translated: true, ..target(id, None) };
    let targets = [in_chat(2), target(1, None), in_chat(3)];
    let _busy = (providers.take(&targets[1]), providers.take(&targets[0]));
    let names = |first: &str, then: [&str; 2]| Ok([first, then[0], then[1]].map(String::from).to_vec());
    assert_eq!(order(&providers, &targets, now), names("1", ["3", "2"]), "busy as it is");
    fail(&providers, Sign::Failed, 7, now);
    assert_eq!(order(&providers, &targets, now), names("3", ["2", "1"]), "not a moment after it failed");
}

#[test]
fn a_machine_that_is_not_connected_gets_nothing_whatever_was_noted_of_it() {
    let providers = Arc::new(Providers::default());
    let (id, now) = (ProviderId::from_i64(1), Instant::now());
    let targets = [target(1, None), target(2, None)];
    providers.machine_went(id, "it has not joined since the server started");
    let is_away = || {
        assert!(providers.health(id, now).down && providers.take(&targets[0]).is_none());
        assert!(matches!(order(&providers, &targets[..1], now), Err(Unavailable::Down(_))));
        assert_eq!(order(&providers, &targets, now), Ok(vec!["2".into()]));
    };
    is_away();
    // What is told late of a connection that has ended meanwhile makes it no more there.
    providers.machine_came(id);
    is_away();
    providers.asked(id, Ok(()), now);
    is_away();
    // It comes by itself: nobody asks.
    providers.doubt(id, "it is not connected", now);
    assert_eq!(providers.due(9, now), (vec![], None));
}
