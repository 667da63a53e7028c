//! Places and those who wait for them, without a server: nothing is lost, nobody is forgotten.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{Call, NoPlace, Place, Queue, QueueLimits, Wait};
use crate::domain::ids::{AccountId, ProviderId};
use crate::upstream::Target;

fn target(id: i64, places: u32) -> Target {
    Target::nowhere(id, Some(places))
}

fn queue(length: usize) -> Arc<Queue> {
    let limits = QueueLimits { timeout: Duration::from_secs(60), length, affinity: false };
    Arc::new(Queue::new(Arc::default(), limits))
}

fn wait(account: i64, work: u64, targets: &[Target]) -> Wait<'static> {
    let servers = targets.iter().map(Target::server).collect();
    Wait { account: AccountId::from_i64(account), model: "m", work, servers, looks: 0, again: None }
}

/// Waits for a place, as it is offered at first.
async fn placed(queue: &Arc<Queue>, wait: Wait<'_>, millis: u64) -> Result<Place, NoPlace> {
    let until = Instant::now() + Duration::from_millis(millis);
    let mut line = queue.join(wait)?;
    loop {
        if let Call::Place(place) = line.called(until).await? {
            return Ok(place);
        }
    }
}

fn in_flight(queue: &Queue, server: i64) -> u32 {
    queue.providers.health(ProviderId::from_i64(server), Instant::now()).in_flight
}

async fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test]
async fn a_place_given_back_goes_to_whose_turn_it_is() {
    let (queue, servers) = (queue(100), [target(1, 1)]);
    let first = queue.free_place(servers.to_vec()).unwrap();
    assert!(queue.free_place(servers.to_vec()).is_err());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for (place, account) in [1, 1, 1, 2].into_iter().enumerate() {
        let (own, order, servers) = (Arc::clone(&queue), Arc::clone(&order), servers.clone());
        tasks.spawn(async move {
            let place = placed(&own, wait(account, 10, &servers), 60_000).await.unwrap();
            order.lock().unwrap().push(account);
            drop(place);
        });
        eventually("one more", || queue.waiting_for("m") == place + 1).await;
    }
    // Whoever comes now does not overtake those who wait.
    assert_eq!(queue.waiting_at(ProviderId::from_i64(1)).0, 4);
    drop(first);
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [1, 2, 1, 1]);
    assert_eq!((in_flight(&queue, 1), queue.all_waiting().0), (0, 0));
}

#[tokio::test]
async fn whichever_server_is_free_first_serves() {
    let (queue, servers) = (queue(100), [target(1, 1), target(2, 1)]);
    let (one, two) = (queue.free_place(servers.to_vec()).unwrap(), queue.free_place(servers.to_vec()).unwrap());
    assert_eq!((one.target.provider.to_i64(), two.target.provider.to_i64()), (1, 2));
    assert_eq!((one.others.len(), two.others.len()), (1, 1));
    let own = Arc::clone(&queue);
    let waiting = tokio::spawn(async move { placed(&own, wait(1, 1, &servers), 60_000).await });
    eventually("it to wait", || queue.waiting_for("m") == 1).await;
    drop(two);
    let place = waiting.await.unwrap().unwrap();
    assert_eq!(place.provider().to_i64(), 2);
    drop((place, one));
    assert_eq!((in_flight(&queue, 1), in_flight(&queue, 2)), (0, 0));
}

#[tokio::test]
async fn nobody_waits_for_longer_than_agreed_nor_after_the_end() {
    let (queue, servers) = (queue(4), [target(1, 1)]);
    let taken = queue.free_place(servers.to_vec()).unwrap();
    assert!(matches!(placed(&queue, wait(1, 1, &servers), 20).await, Err(NoPlace::TimedOut)));
    assert_eq!(queue.all_waiting().0, 0);
    let own = Arc::clone(&queue);
    let targets = servers.clone();
    let waiting = tokio::spawn(async move { placed(&own, wait(1, 1, &targets), 60_000).await });
    eventually("it to wait", || queue.waiting_for("m") == 1).await;
    assert!(matches!(queue.join(wait(1, 1, &servers)), Err(NoPlace::Full(_))), "one of four is its part");
    queue.close();
    assert!(matches!(waiting.await.unwrap(), Err(NoPlace::Closed)));
    assert!(matches!(queue.join(wait(1, 1, &servers)), Err(NoPlace::Closed)));
    drop(taken);
    assert_eq!(in_flight(&queue, 1), 0);
}

#[tokio::test]
async fn a_server_that_said_when_it_has_room_is_looked_at_then() {
    let (queue, servers) = (queue(100), [target(1, 4)]);
    let free = queue.free_place(servers.to_vec()).unwrap();
    free.place.busy(429, Some(Duration::from_millis(50)), Instant::now());
    drop(free);
    assert!(queue.free_place(servers.to_vec()).is_err());
    // Nobody gives a place back: only time passes.
    drop(placed(&queue, wait(1, 1, &servers), 60_000).await.unwrap());
    assert_eq!(in_flight(&queue, 1), 0);
}

#[tokio::test]
async fn who_waits_goes_to_a_server_that_came_meanwhile_and_not_to_one_that_went() {
    let (queue, old, new) = (queue(100), [target(1, 1)], [target(2, 1)]);
    let running = queue.free_place(old.to_vec()).unwrap();
    let mut line: Vec<_> = (0..3).map(|_| queue.join(wait(1, 1, &old)).unwrap()).collect();
    queue.look_again("another");
    queue.look_again("m");
    let soon = || Instant::now() + Duration::from_secs(10);
    for one in &mut line {
        assert!(matches!(one.called(soon()).await, Ok(Call::LookAgain)));
        one.reroute(&new.each_ref().map(Target::server));
    }
    // Where it was before nobody waits any more; the new one serves the first.
    drop(running);
    assert_eq!((in_flight(&queue, 1), in_flight(&queue, 2), queue.waiting_for("m")), (0, 0, 3));
    queue.hand_out(ProviderId::from_i64(2));
    assert_eq!((in_flight(&queue, 1), in_flight(&queue, 2), queue.waiting_for("m")), (0, 1, 2));
    let mut line = line.into_iter();
    let place = match line.next().unwrap().called(soon()).await {
        Ok(Call::Place(place)) => place,
        other => panic!("{other:?}"),
    };
    // Who has a place and does not take it, or leaves, stops nobody.
    let (second, mut third) = (line.next().unwrap(), line.next().unwrap());
    drop(place);
    assert_eq!((in_flight(&queue, 2), queue.waiting_for("m")), (1, 1));
    drop(second);
    assert!(matches!(third.called(soon()).await, Ok(Call::Place(_))));
    assert_eq!((in_flight(&queue, 2), queue.all_waiting().0), (0, 0));
    // Who looked before others were told so is told too.
    let running = queue.free_place(old.to_vec()).unwrap();
    let mut late = queue.join(wait(1, 1, &old)).unwrap();
    assert!(matches!(late.called(soon()).await, Ok(Call::LookAgain)));
    drop((running, late));
    assert_eq!((in_flight(&queue, 1), queue.all_waiting().0), (0, 0));
}

#[tokio::test]
async fn who_makes_room_for_a_newcomer_is_told() {
    let (queue, servers) = (queue(8), [target(1, 1)]);
    let running = queue.free_place(servers.to_vec()).unwrap();
    let mut line: Vec<_> =
        [1, 1, 2, 2, 3, 4, 5, 6].map(|account| queue.join(wait(account, 1, &servers)).unwrap()).into();
    let newcomer = queue.join(wait(7, 1, &servers)).unwrap();
    assert!(matches!(line[3].called(Instant::now() + Duration::from_secs(10)).await, Err(NoPlace::Full(_))));
    assert_eq!(queue.waiting_for("m"), 8);
    drop((running, line, newcomer));
    assert_eq!((in_flight(&queue, 1), queue.all_waiting().0, queue.lock().waiting.len()), (0, 0, 0));
}

/// What a crowd did.
#[derive(Default)]
struct Crowd {
    running: AtomicU32,
    most_running: AtomicU32,
    served: AtomicU32,
}

async fn visit(queue: Arc<Queue>, servers: [Target; 2], crowd: Arc<Crowd>, one: u64) {
    let place = match queue.free_place(servers.to_vec()) {
        Ok(free) => free.place,
        Err(targets) => {
            let account = i64::try_from(one % 20).unwrap();
            placed(&queue, wait(account, one % 7, &targets), 60_000).await.unwrap()
        }
    };
    let counted = Running::new(&crowd);
    tokio::time::sleep(Duration::from_micros(one % 5 * 300)).await;
    drop((counted, place));
    crowd.served.fetch_add(1, Ordering::Relaxed);
}

/// Two thousand from twenty accounts, on four threads; half of them leave at some moment.
#[test]
fn nothing_is_lost_however_many_leave() {
    const PLACES: u32 = 4;
    let (queue, servers) = (queue(100_000), [target(1, PLACES), target(2, PLACES)]);
    let crowd = Arc::new(Crowd::default());
    let thread = |thread: u64| {
        let (queue, servers, crowd) = (Arc::clone(&queue), servers.clone(), Arc::clone(&crowd));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for one in (0..500).map(|one| one * 4 + thread) {
                    let story = visit(Arc::clone(&queue), servers.clone(), Arc::clone(&crowd), one);
                    let patience = Duration::from_micros(if one % 8 < 4 { 60_000_000 } else { one * 97 % 150_000 });
                    tasks.spawn(async move { drop(tokio::time::timeout(patience, story).await) });
                }
                tasks.join_all().await;
            });
        })
    };
    let threads: Vec<_> = (0..4).map(thread).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(crowd.served.load(Ordering::Relaxed) >= 1_000, "who stays is served");
    assert!(crowd.most_running.load(Ordering::Relaxed) <= 2 * PLACES);
    assert_eq!((in_flight(&queue, 1), in_flight(&queue, 2), queue.all_waiting().0), (0, 0, 0));
    assert!(queue.lock().line.is_empty());
}

struct Running<'a>(&'a Crowd);

impl<'a> Running<'a> {
    fn new(crowd: &'a Crowd) -> Self {
        crowd.most_running.fetch_max(crowd.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Self(crowd)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
