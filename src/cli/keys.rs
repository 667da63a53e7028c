//! `coordinator key …`

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::output::{Output, or_dash};
use super::{ACTOR, Failed, time, usd};
use crate::auth;
use crate::domain::key_limits::KeyLimits;
use crate::domain::keys::{KeyId, LimitReset, PlainKey, Scopes};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::key_view::KeyView;
use crate::store::keys::{self, NewKey, Owner};
use crate::store::{Store, StoreError, accounts, key_changes};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a key; it is shown once
    Create(CreateArgs),
    /// The keys of an account
    List { account: String },
    /// Refuse a key from now on
    Revoke {
        #[arg(value_parser = key_id)]
        key_id: KeyId,
    },
    /// Give a key of an account a new secret, shown once; the old one is refused from now on, and id and limits stay
    Rotate {
        #[arg(value_parser = key_id)]
        key_id: KeyId,
    },
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// An account's id, name or email
    account: String,
    /// A name by which people know it
    #[arg(long, default_value = "")]
    name: String,
    /// What the key may do; may be given often [default: inference]
    #[arg(long)]
    scope: Vec<Scope>,
    /// Spend limit: the most that the key may be charged in a window
    #[arg(long, value_name = "USD", value_parser = usd)]
    limit_usd: Option<MicroUsd>,
    /// How long a window is
    #[arg(long, value_enum, default_value = "none", requires = "limit_usd")]
    limit_reset: Reset,
    /// The most requests per minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rpm_limit: Option<u32>,
    /// The most requests at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrent: Option<u32>,
    /// A model the key may use; may be given often [default: all]
    #[arg(long, value_name = "MODEL")]
    allow_model: Vec<String>,
    /// How many machines may join with the key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_machines: Option<u32>,
    /// New machines that join with the key get no requests until: provider enable NAME
    #[arg(long)]
    hold_machines: bool,
    /// When the key expires
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    Inference,
    Manage,
    /// Let machines join
    Provide,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reset {
    None,
    Daily,
    Weekly,
    Monthly,
}

impl From<Reset> for LimitReset {
    fn from(reset: Reset) -> Self {
        match reset {
            Reset::None => Self::None,
            Reset::Daily => Self::Daily,
            Reset::Weekly => Self::Weekly,
            Reset::Monthly => Self::Monthly,
        }
    }
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).ok_or_else(|| "a key id is key_ and 12 characters".to_owned())
}

/// A new key: the only time its plain text is shown.
#[derive(Serialize)]
struct Made<'a> {
    key: &'a str,
    #[serde(flatten)]
    view: KeyView,
}

pub fn run(command: Command, store: &Store, out: Output) -> Result<(), Failed> {
    match command {
        Command::Create(args) => {
            let (key, view) = create(store, args)?;
            show(&key, view, out)
        }
        Command::List { account } => {
            let rows = store.read_inline(|conn| keys::list(conn, accounts::find(conn, &account)?.id))?;
            let views: Vec<KeyView> = rows.into_iter().map(KeyView::from).collect();
            out.table(&views, ["ID", "NAME", "SCOPES", "LIMIT", "EXPIRES", "REVOKED"], |key| {
                let limit = key.limit_micro_usd.map(|limit| match key.limit_reset {
                    "none" => limit.to_string(),
                    reset => format!("{limit} {reset}"),
                });
                [
                    key.id.to_string(),
                    key.name.clone(),
                    key.scopes.join(" "),
                    or_dash(limit),
                    or_dash(key.expires_at),
                    or_dash(key.revoked_at),
                ]
            })
        }
        Command::Revoke { key_id } => {
            let key = store.write_exclusive(|conn| keys::revoke(conn, key_id, ACTOR, Timestamp::now()))?;
            out.print(&KeyView::from(key), |key| format!("revoked {}", key.id))
        }
        Command::Rotate { key_id } => {
            let (key, view) = rotate(store, key_id)?;
            show(&key, view, out)
        }
    }
}

fn show(key: &PlainKey, view: KeyView, out: Output) -> Result<(), Failed> {
    out.print(&Made { key: key.expose(), view }, |made| {
        format!("{}\nThis is the only time the key is shown. Its id is {}.", made.key, made.view.id)
    })
}

fn create(store: &Store, args: CreateArgs) -> Result<(PlainKey, KeyView), Failed> {
    let scopes = if args.scope.is_empty() {
        Scopes::INFERENCE
    } else {
        let has = |scope| args.scope.contains(&scope);
        Scopes {
            inference: has(Scope::Inference),
            manage: has(Scope::Manage),
            provide: has(Scope::Provide),
            admin: false,
        }
    };
    let limits = KeyLimits {
        spend: args.limit_usd,
        reset: args.limit_reset.into(),
        rpm: args.rpm_limit,
        max_concurrent: args.max_concurrent,
        allowed_models: Some(args.allow_model).filter(|models| !models.is_empty()),
        expires_at: args.expires_at,
        max_machines: args.max_machines,
        holds_machines: args.hold_machines,
    };
    mint(store, &args.account, args.name, scopes, limits)
}

/// Makes a key for an account.
pub fn mint(
    store: &Store,
    account: &str,
    name: String,
    scopes: Scopes,
    limits: KeyLimits,
) -> Result<(PlainKey, KeyView), Failed> {
    let key = PlainKey::generate().map_err(|e| Failed::Other(e.to_string()))?;
    let hash = auth::hash_key(&key).map_err(|e| Failed::Other(e.to_string()))?;
    let row = store.write_exclusive(|conn| {
        let owner = Owner::Account(accounts::find(conn, account)?.id);
        let new = NewKey { id: key.id(), hash, owner, name, scopes, limits };
        keys::create(conn, &new, ACTOR, Timestamp::now())
    })?;
    Ok((key, row.into()))
}

fn rotate(store: &Store, id: KeyId) -> Result<(PlainKey, KeyView), Failed> {
    let key = PlainKey::with_id(id).map_err(|e| Failed::Other(e.to_string()))?;
    let hash = auth::hash_key(&key).map_err(|e| Failed::Other(e.to_string()))?;
    let row = store.write_exclusive(|conn| match keys::get(conn, id)?.map(|key| key.owner) {
        Some(Owner::Account(account)) => key_changes::rotate(conn, account, id, &hash, ACTOR, Timestamp::now()),
        Some(Owner::Admin(_)) => {
            Err(StoreError::Conflict(format!("{id} is an admin's: revoke it, and make another with admin key NAME")))
        }
        None => Err(StoreError::NotFound(format!("no key {id}"))),
    })?;
    Ok((key, row.into()))
}
