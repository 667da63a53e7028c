//! Who an admin is: by a key, or by a session of the admin page.

use super::{SetupToken, SignIn, Token};
use crate::domain::ids::AdminId;
use crate::domain::time::Timestamp;
use crate::store::sessions::{self, Session};
use crate::store::{Store, StoreError, Writer, admins};

/// An admin who may do everything below `/v1/admin`.
#[derive(Debug, Clone)]
pub struct Admin {
    /// `admin:NAME`, for the events.
    pub actor: String,
}

impl Admin {
    /// The admin that a key belongs to.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it was removed; the store cannot be read.
    pub fn of_key(store: &Store, id: AdminId) -> Result<Self, StoreError> {
        let name = store.read_inline(|conn| admins::get(conn, id))?.name;
        Ok(Self { actor: format!("admin:{name}") })
    }

    /// The admin who is signed in.
    pub fn of_session(session: &Session) -> Self {
        Self { actor: format!("admin:{}", session.admin.name) }
    }
}

/// How admins get into their page.
#[derive(Debug)]
pub struct AdminAccess {
    /// Names and passwords.
    pub sign_in: SignIn,
    /// The one-time link.
    pub setup: SetupToken,
}

impl AdminAccess {
    /// Nobody has tried a password, and no link is given out.
    pub fn new(store: Store) -> Self {
        Self { sign_in: SignIn::new(store), setup: SetupToken::default() }
    }
}

/// The session that a cookie's text stands for. Using it prolongs it.
pub fn session(store: &Store, writer: &Writer, token: &str) -> Result<Option<Session>, StoreError> {
    let (token, now) = (Token::hash_of(token), Timestamp::now());
    let session = store.read_inline(|conn| sessions::get(conn, &token, now))?;
    if session.as_ref().is_some_and(|session| session.is_due(now)) {
        // Nobody waits for it: the worst is a session that ends ten minutes early.
        writer.submit_aside(move |conn| sessions::prolong(conn, &token, now), drop);
    }
    Ok(session)
}
