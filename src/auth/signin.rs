//! Signing in with a name and a password, with a delay that grows with every failure.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::hash;
use crate::domain::secret::Secret;
use crate::store::admins::{self, Admin};
use crate::store::{Store, StoreError};

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Unknown name, wrong password, or an admin that has only keys: which, is not told.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many failures lately; nothing was looked at. Again after so long.
    #[error("too many failures")]
    Wait(Duration),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Failures that cost nothing: people mistype.
const FREE: u32 = 3;
/// The longest delay of one address.
const LONGEST_OF_ADDRESS: Duration = Duration::from_secs(60);
/// The longest delay of one name, short: whoever knows a name must not be able to keep its owner out.
const LONGEST_OF_NAME: Duration = Duration::from_secs(4);
/// Failures are forgotten after so long without another.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// No more names and addresses than that are remembered.
const MOST: usize = 10_000;

/// Checks names and passwords.
#[derive(Debug)]
pub struct SignIn {
    store: Store,
    delays: Mutex<HashMap<Who, Failures>>,
    /// One password at a time: it takes tens of milliseconds and 19 MiB.
    hashing: Arc<Semaphore>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Name(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// When the next try is looked at: 1, 2, 4 … seconds after the last, from the fourth failure on.
    fn open_at(self, longest: Duration) -> Instant {
        let beyond = self.count.saturating_sub(FREE);
        let delay = match beyond {
            0 => Duration::ZERO,
            n => Duration::from_secs(1_u64.checked_shl(n - 1).unwrap_or(u64::MAX)).min(longest),
        };
        self.last + delay
    }
}

impl Who {
    const fn longest(&self) -> Duration {
        match self {
            Self::Name(_) => LONGEST_OF_NAME,
            Self::Address(_) => LONGEST_OF_ADDRESS,
        }
    }
}

impl SignIn {
    /// Nobody has failed yet.
    pub fn new(store: Store) -> Self {
        Self { store, delays: Mutex::default(), hashing: Arc::new(Semaphore::new(1)) }
    }

    /// The admin of this name, if the password is its own.
    ///
    /// # Errors
    /// [`SignInError`].
    pub async fn check(&self, name: &str, password: Secret, address: IpAddr) -> Result<Admin, SignInError> {
        let who = [Who::Name(name.to_owned()), Who::Address(address)];
        // One try at a time, from the look at the delay to its count: tries in parallel would all see none.
        let Ok(_permit) = self.hashing.acquire().await else { return Err(SignInError::Wrong) };
        self.check_delay(&who, Instant::now())?;
        let found = self.store.read(|conn| admins::with_password(conn, name))?;
        let (admin, phc) = found.map_or((None, None), |(admin, phc)| (Some(admin), phc));
        match admin {
            Some(admin) if matches(password.clone(), phc).await => {
                self.forget(&who);
                Ok(admin)
            }
            // As long as with a name that exists.
            None if matches(password, None).await => Err(SignInError::Wrong),
            _ => {
                self.count(&who, Instant::now());
                Err(SignInError::Wrong)
            }
        }
    }

    fn check_delay(&self, who: &[Who], now: Instant) -> Result<(), SignInError> {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let open = who.iter().filter_map(|one| Some(delays.get(one)?.open_at(one.longest()))).max();
        match open.map(|at| at.saturating_duration_since(now)).filter(|left| !left.is_zero()) {
            Some(left) => Err(SignInError::Wait(left)),
            None => Ok(()),
        }
    }

    fn count(&self, who: &[Who], now: Instant) {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        delays.retain(|_, failures| now.saturating_duration_since(failures.last) < FORGET);
        if delays.len() > MOST {
            delays.clear();
        }
        for one in who {
            let failures = delays.entry(one.clone()).or_insert(Failures { count: 0, last: now });
            *failures = Failures { count: failures.count.saturating_add(1), last: now };
        }
    }

    fn forget(&self, who: &[Who]) {
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        for one in who {
            delays.remove(one);
        }
    }
}

async fn matches(password: Secret, phc: Option<String>) -> bool {
    let verify = move || hash::verify_password(&password, phc.as_deref());
    tokio::task::spawn_blocking(verify).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_longest() {
        let last = Instant::now();
        let delay = |count, longest: u64| {
            Failures { count, last }.open_at(Duration::from_secs(longest)).duration_since(last).as_secs()
        };
        let rows = [(1, 60, 0), (3, 60, 0), (4, 60, 1), (5, 60, 2), (6, 60, 4), (9, 60, 32), (10, 60, 60), (6, 4, 4)];
        for (count, longest, expected) in rows {
            assert_eq!(delay(count, longest), expected, "{count} failures");
        }
        assert_eq!(delay(u32::MAX, 4), 4);
    }

    #[test]
    fn a_name_or_an_address_is_held_back_and_a_success_clears_both() {
        let Ok(dir) = tempfile::tempdir() else { panic!("no directory") };
        let Ok(store) = Store::open(dir.path()) else { panic!("no store") };
        let signin = SignIn::new(store);
        let name = || Who::Name("ada".into());
        let address = |n: u8| Who::Address(IpAddr::from([127, 0, 0, n]));
        let start = Instant::now();
        for _ in 0..5 {
            signin.count(&[name(), address(1)], start);
        }
        let wait = |who: &[Who], after: u64| signin.check_delay(who, start + Duration::from_secs(after)).is_err();
        assert!(wait(&[name(), address(2)], 0), "the name");
        assert!(wait(&[Who::Name("bob".into()), address(1)], 0), "the address");
        assert!(!wait(&[Who::Name("bob".into()), address(2)], 0));
        assert!(!wait(&[name(), address(1)], 2), "the delay is over");
        signin.forget(&[name(), address(1)]);
        assert!(!wait(&[name(), address(1)], 0));
    }
}
