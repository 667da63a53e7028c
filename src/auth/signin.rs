//! Signing in with a name and a password, with a delay that grows with every failure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::{Token, hash};
use crate::domain::secret::Secret;
use crate::store::admins::{self, AdminRow};
use crate::store::{Read, Store, StoreError};

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown name, wrong password, or an admin that has only keys: the answer does not say which.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many recent failures; the password was not verified. Again after this time.
    #[error("too many failures")]
    Wait(Duration),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an address may try before it waits, for one name and for all: people mistype.
const FREE: u32 = 3;
const FREE_OF_ADDRESS: u32 = 12;
/// The longest delay.
const LONGEST: Duration = Duration::from_secs(60);
/// Failures are forgotten after this time without another.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// No more failures than that are remembered; of more, the older half is forgotten.
const MOST: usize = 10_000;
/// How many tries of one address may wait; more are refused.
const MOST_AT_ONCE: u32 = 3;
/// No admin has a longer name, in bytes.
const LONGEST_NAME: usize = 800;

/// Who had the right password when it was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    admin: AdminRow,
    hash: String,
}

impl Verified {
    /// The admin, if the password is still this one: checking it takes a while, and whoever changes it in that while
    /// ends the sessions that it began. For the transaction that begins one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it was changed, or the admin is gone; the store cannot be read.
    pub fn in_force(&self, conn: &Read) -> Result<AdminRow, StoreError> {
        admins::unchanged(conn, self.admin.id, &self.hash)
    }
}

/// Checks names and passwords.
///
/// What is delayed is an address, for one name or for all: whoever guesses a name keeps nobody out but those who
/// share the address. Passwords are hashed in two lanes, one at a time in each, and each rests after its work: one
/// for addresses without recent failures, one for the others, who so never stand before them.
#[derive(Debug)]
pub struct SignIn {
    store: Store,
    state: Arc<Mutex<State>>,
    /// At most half of its time is work: tens of milliseconds and 19 MiB a password.
    unsuspected: Arc<Semaphore>,
    /// A tenth of its time is work.
    suspected: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    failures: HashMap<Who, Failures>,
    trying: HashMap<Network, u32>,
}

/// An IPv4 address, or the half of an IPv6 address that one site has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// Who fails: an address, with the hash of a name or whatever the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Who {
    from: Network,
    name: Option<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// When the next try is verified: 1, 2, 4 … seconds after the last, once the free ones are used up.
    fn open_at(self, free: u32) -> Instant {
        let delay = match self.count.saturating_sub(free) {
            0 => Duration::ZERO,
            n => Duration::from_secs(1_u64.checked_shl(n - 1).unwrap_or(u64::MAX)).min(LONGEST),
        };
        self.last + delay
    }
}

/// A try that waits or is being verified; counted until it is dropped.
struct Try {
    state: Arc<Mutex<State>>,
    from: Network,
}

impl Drop for Try {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = state.trying.get(&self.from).copied().unwrap_or_default().saturating_sub(1);
        if left == 0 {
            state.trying.remove(&self.from);
        } else {
            state.trying.insert(self.from, left);
        }
    }
}

impl SignIn {
    /// Nobody has failed yet.
    pub fn new(store: Store) -> Self {
        let lane = || Arc::new(Semaphore::new(1));
        Self { store, state: Arc::default(), unsuspected: lane(), suspected: lane() }
    }

    /// The admin of this name, if the password is its own.
    pub async fn check(&self, name: &str, password: Secret, address: IpAddr) -> Result<Verified, SignInError> {
        if name.len() > LONGEST_NAME {
            return Err(SignInError::Wrong);
        }
        let from = Network::from(address);
        let who = [Who { from, name: Some(Token::hash_of(name)) }, Who { from, name: None }];
        let _trying = self.begin(from)?;
        let lane = if self.has_failed(from) { &self.suspected } else { &self.unsuspected };
        let Ok(turn) = Arc::clone(lane).acquire_owned().await else { return Err(SignInError::Wrong) };
        // In the turn, not before: tries in parallel would all see none.
        self.check_delay(&who, Instant::now())?;
        let rest = if self.has_failed(from) { 9 } else { 1 };
        let found = self.store.read_inline(|conn| admins::with_password(conn, name))?;
        let (admin, phc) = found.map_or((None, None), |(admin, phc)| (Some(admin), phc));
        let verified = admin.zip(phc.clone()).map(|(admin, hash)| Verified { admin, hash });
        let began = Instant::now();
        // With an unknown name it takes as long as with one that exists.
        let is_right = matches(password, phc).await;
        let took = began.elapsed();
        tokio::spawn(async move {
            tokio::time::sleep(took * rest).await;
            drop(turn);
        });
        match verified {
            Some(verified) if is_right => {
                self.forget(&who);
                Ok(verified)
            }
            _ => {
                self.count(&who, Instant::now());
                Err(SignInError::Wrong)
            }
        }
    }

    fn begin(&self, from: Network) -> Result<Try, SignInError> {
        let mut state = self.lock();
        let trying = state.trying.entry(from).or_default();
        if *trying >= MOST_AT_ONCE {
            return Err(SignInError::Wait(Duration::from_secs(1)));
        }
        *trying += 1;
        Ok(Try { state: Arc::clone(&self.state), from })
    }

    fn has_failed(&self, from: Network) -> bool {
        self.lock().failures.contains_key(&Who { from, name: None })
    }

    fn check_delay(&self, who: &[Who], now: Instant) -> Result<(), SignInError> {
        let state = self.lock();
        let free = |one: &Who| if one.name.is_some() { FREE } else { FREE_OF_ADDRESS };
        let open = who.iter().filter_map(|one| Some(state.failures.get(one)?.open_at(free(one)))).max();
        match open.map(|at| at.saturating_duration_since(now)).filter(|left| !left.is_zero()) {
            Some(left) => Err(SignInError::Wait(left)),
            None => Ok(()),
        }
    }

    fn count(&self, who: &[Who], now: Instant) {
        let failures = &mut self.lock().failures;
        failures.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET);
        if failures.len() >= MOST {
            // Not all: whoever fills it would be forgotten with the rest.
            let mut times: Vec<Instant> = failures.values().map(|failures| failures.last).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or(now);
            failures.retain(|_, failures| failures.last > middle);
        }
        for one in who {
            let before = failures.get(one).map_or(0, |failures| failures.count);
            failures.insert(*one, Failures { count: before.saturating_add(1), last: now });
        }
    }

    fn forget(&self, who: &[Who]) {
        let failures = &mut self.lock().failures;
        for one in who {
            failures.remove(one);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn matches(password: Secret, phc: Option<String>) -> bool {
    let verify = move || hash::verify_password(&password, phc.as_deref());
    tokio::task::spawn_blocking(verify).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signin() -> (tempfile::TempDir, SignIn) {
        let Ok(dir) = tempfile::tempdir() else { panic!("no directory") };
        let Ok(store) = Store::open(dir.path()) else { panic!("no store") };
        let signin = SignIn::new(store);
        (dir, signin)
    }

    fn who(name: &str, address: &str) -> [Who; 2] {
        let Ok(address) = address.parse::<IpAddr>() else { panic!("{address}") };
        let from = Network::from(address);
        [Who { from, name: Some(Token::hash_of(name)) }, Who { from, name: None }]
    }

    #[test]
    fn the_delay_doubles_up_to_its_longest() {
        let last = Instant::now();
        let delay = |count| Failures { count, last }.open_at(FREE).duration_since(last).as_secs();
        for (count, expected) in [(1, 0), (3, 0), (4, 1), (5, 2), (6, 4), (9, 32), (10, 60), (u32::MAX, 60)] {
            assert_eq!(delay(count), expected, "{count} failures");
        }
    }

    #[test]
    fn an_address_is_held_back_for_a_name_and_nobody_else_is() {
        let (_dir, signin) = signin();
        let start = Instant::now();
        let waits = |name: &str, address: &str, after: u64| {
            signin.check_delay(&who(name, address), start + Duration::from_secs(after)).is_err()
        };
        for _ in 0..5 {
            signin.count(&who("ada", "2001:db8:0:1::1"), start);
        }
        assert!(waits("ada", "2001:db8:0:1:ffff::2", 0), "the same /64");
        assert!(!waits("ada", "2001:db8:0:2::1", 0), "the next one");
        assert!(!waits("ada", "192.0.2.1", 0));
        assert!(!waits("bob", "2001:db8:0:1::1", 0), "another name");
        assert!(!waits("ada", "2001:db8:0:1::1", 2), "the delay is over");
        // An address that tries many names waits for all of them.
        for n in 0..14 {
            signin.count(&who(&format!("name {n}"), "::ffff:192.0.2.7"), start);
        }
        assert!(waits("bob", "192.0.2.7", 0));
        signin.forget(&who("bob", "192.0.2.7"));
        assert!(!waits("bob", "192.0.2.7", 0));
    }

    #[test]
    fn failures_are_bounded_and_the_last_are_kept() {
        let (_dir, signin) = signin();
        let start = Instant::now();
        for n in 0..12_000_u64 {
            let name = format!("name {n}");
            signin.count(&who(&name, "192.0.2.1")[..1], start + Duration::from_millis(n));
        }
        let known = |n: u32| signin.lock().failures.contains_key(&who(&format!("name {n}"), "192.0.2.1")[0]);
        assert!(signin.lock().failures.len() <= MOST);
        assert!(known(11_999) && known(9_000) && !known(0));
    }

    #[tokio::test]
    async fn a_password_that_is_changed_meanwhile_lets_nobody_in() {
        let (_dir, signin) = signin();
        let right = Secret::new("correct horse battery".into());
        let Ok(hash) = hash::hash_password(&right) else { panic!("no hash") };
        let now = crate::domain::time::Timestamp::from_millis(0);
        let Ok(ada) = signin.store.write_exclusive(|conn| admins::create(conn, "ada", Some(&hash), "test", now)) else {
            panic!("no admin")
        };
        signin.count(&who("ada", "192.0.2.1"), Instant::now());
        let Ok(verified) = signin.check("ada", right, IpAddr::from([192, 0, 2, 1])).await else { panic!("wrong") };
        assert!(signin.lock().failures.is_empty(), "who was let in has not failed");
        let in_force = || signin.store.read_inline(|conn| verified.in_force(conn));
        assert!(in_force().is_ok_and(|admin| admin.name == "ada"));
        assert!(signin.store.write_exclusive(|conn| admins::set_password(conn, ada.id, "other", "test", now)).is_ok());
        assert!(matches!(in_force(), Err(StoreError::NotFound(_))));
    }

    #[tokio::test]
    async fn who_guesses_a_name_keeps_its_owner_out_of_nothing() {
        let (_dir, signin) = signin();
        let right = || Secret::new("correct horse battery".into());
        let Ok(hash) = hash::hash_password(&right()) else { panic!("no hash") };
        let now = crate::domain::time::Timestamp::from_millis(0);
        assert!(signin.store.write_exclusive(|conn| admins::create(conn, "ada", Some(&hash), "test", now)).is_ok());
        let address = |n: u8| IpAddr::from([192, 0, 2, n]);
        let wrong = || Secret::new("wrong".into());
        let guesses = (1..=20_u8).map(|n| signin.check("ada", wrong(), address(n % 5)));
        let owner = async {
            for _ in 0..4 {
                assert!(signin.check("ada", right(), address(100)).await.is_ok());
            }
        };
        let (guessed, ()) = tokio::join!(futures_util::future::join_all(guesses), owner);
        assert!(guessed.iter().all(Result::is_err));
        // More than three at once of one address are not even looked at.
        assert_eq!(guessed.iter().filter(|one| matches!(one, Err(SignInError::Wait(_)))).count(), 5);
        assert!(signin.lock().trying.is_empty());
    }
}
