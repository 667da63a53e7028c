//! `coordinator admin …`

use std::io::Read;

use clap::Subcommand;
use serde_json::json;

use super::output::Output;
use super::{ACTOR, Failed};
use crate::auth;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{PlainKey, Scopes};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::keys::{self, NewKey, Owner};
use crate::store::{Store, admins};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an admin; without a password it can only be used with a key
    Create {
        name: String,
        /// Read the password for the admin page from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Make a key for an admin; it is shown once
    Key { name: String },
    /// All admins, by name
    List,
    /// Remove an admin, its sessions and its keys; not the last one
    Remove { name: String },
    /// Give an admin another password, read from standard input: ends its sessions and keys
    Password {
        name: String,
        /// From standard input: there is no other way, so this may be left out
        #[arg(long)]
        password_stdin: bool,
    },
}

/// Shorter passwords are not taken: NIST SP 800-63B wants 8 at the least, and asks for more.
pub const SHORTEST_PASSWORD: usize = 12;
/// Nor are longer ones, in bytes: nobody could sign in with them.
const LONGEST_PASSWORD: u64 = 1_000;

pub fn run(command: Command, store: &Store, out: Output) -> Result<(), Failed> {
    let now = Timestamp::now();
    match command {
        Command::Create { name, password_stdin } => {
            let hash = if password_stdin { Some(hash(&read_password()?)?) } else { None };
            let made = store.write_exclusive(|conn| admins::create(conn, &name, hash.as_deref(), ACTOR, now))?;
            out.print(&json!({"id": made.id, "name": made.name}), |_| format!("made admin {} ({})", made.name, made.id))
        }
        Command::Key { name } => {
            let key = PlainKey::generate().map_err(|e| Failed::Other(e.to_string()))?;
            let hash = auth::hash_key(&key).map_err(|e| Failed::Other(e.to_string()))?;
            store.write_exclusive(|conn| {
                let new = NewKey {
                    id: key.id(),
                    hash: hash.clone(),
                    owner: Owner::Admin(admins::find(conn, &name)?.id),
                    name: String::new(),
                    scopes: Scopes::ADMIN,
                    limits: KeyLimits::default(),
                };
                keys::create(conn, &new, ACTOR, now)
            })?;
            let view = json!({"id": key.id(), "key": key.expose()});
            out.print(&view, |_| format!("{}\nThis is the only time the key is shown.", key.expose()))
        }
        Command::List => {
            let rows = store.read_inline(|conn| admins::list(conn, now))?;
            out.table(&rows, ["ID", "NAME", "PASSWORD", "KEYS", "SESSIONS", "CREATED"], |admin| {
                [
                    admin.id.to_string(),
                    admin.name.clone(),
                    if admin.has_password { "yes" } else { "no" }.to_owned(),
                    admin.keys.to_string(),
                    admin.sessions.to_string(),
                    admin.created_at.to_string(),
                ]
            })
        }
        Command::Remove { name } => {
            let admin = store.write_exclusive(|conn| {
                let admin = admins::find_any(conn, &name)?;
                admins::remove(conn, admin.id, ACTOR, now)?;
                Ok(admin)
            })?;
            let view = json!({"id": admin.id, "name": admin.name});
            out.print(&view, |_| format!("removed admin {}, with its sessions and keys", admin.name))
        }
        Command::Password { name, password_stdin: _ } => {
            // Looked for first: a password that is typed for nobody would be annoying.
            let admin = store.read_inline(|conn| admins::find_any(conn, &name))?;
            let hash = hash(&read_password()?)?;
            store.write_exclusive(|conn| admins::set_password(conn, admin.id, &hash, ACTOR, now))?;
            let view = json!({"id": admin.id, "name": admin.name});
            out.print(&view, |_| format!("{} has another password; its sessions and keys are ended", admin.name))
        }
    }
}

fn read_password() -> Result<Secret, Failed> {
    let mut text = String::new();
    std::io::stdin().take(2 * LONGEST_PASSWORD).read_to_string(&mut text)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.chars().count() < SHORTEST_PASSWORD {
        return Err(Failed::Other(format!("a password has at least {SHORTEST_PASSWORD} characters")));
    }
    if password.len() as u64 > LONGEST_PASSWORD {
        return Err(Failed::Other(format!("a password is at most {LONGEST_PASSWORD} bytes long")));
    }
    Ok(Secret::new(password.to_owned()))
}

fn hash(password: &Secret) -> Result<String, Failed> {
    auth::hash_password(password).map_err(|e| Failed::Other(e.to_string()))
}
