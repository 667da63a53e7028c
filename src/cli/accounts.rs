//! `coordinator account …`

use clap::Subcommand;
use serde::Serialize;
use serde_json::json;

use super::output::{Output, or_dash};
use super::{ACTOR, Failed};
use crate::domain::ids::AccountId;
use crate::domain::money::{MicroUsd, Usd};
use crate::domain::time::Timestamp;
use crate::store::accounts::{self, Account};
use crate::store::{Store, StoreError, Tx};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account with nothing in it
    Create {
        name: String,
        #[arg(long)]
        email: Option<String>,
    },
    /// All accounts, by name
    List,
    /// One account: its money, and since when
    Show { account: String },
    /// Refuse an account's keys; its money stays
    Suspend { account: String },
    /// Accept an account's keys again
    Resume { account: String },
    /// Let an account make keys that machines join with; each machine waits until: provider enable NAME
    AllowMachines { account: String },
    /// Let an account make such keys no more; those that it has stay
    ForbidMachines { account: String },
}

/// An account with its money. What requests in flight hold is known only to the server: it is in
/// `GET /v1/payments/balance`.
#[derive(Serialize)]
struct View {
    #[serde(flatten)]
    account: Account,
    balance_micro_usd: MicroUsd,
    balance_usd: Usd,
    withdrawable_micro_usd: MicroUsd,
    withdrawable_usd: Usd,
    held_micro_usd: MicroUsd,
    available_micro_usd: MicroUsd,
}

impl From<Account> for View {
    fn from(account: Account) -> Self {
        let balance = account.balance;
        Self {
            account,
            balance_micro_usd: balance.total,
            balance_usd: Usd(balance.total),
            withdrawable_micro_usd: balance.withdrawable,
            withdrawable_usd: Usd(balance.withdrawable),
            held_micro_usd: MicroUsd::ZERO,
            available_micro_usd: balance.total,
        }
    }
}

pub fn run(command: Command, store: &Store, out: Output) -> Result<(), Failed> {
    let now = Timestamp::now();
    match command {
        Command::Create { name, email } => {
            let made = store.write_exclusive(|conn| accounts::create(conn, &name, email.as_deref(), ACTOR, now))?;
            let view = json!({"id": made.id, "name": made.name, "email": made.email});
            out.print(&view, |_| format!("made account {} ({})", made.name, made.id))
        }
        Command::List => {
            let rows = store.read_inline(|conn| accounts::list(conn, u32::MAX))?;
            let views: Vec<View> = rows.into_iter().map(View::from).collect();
            out.table(&views, ["ID", "NAME", "EMAIL", "BALANCE", "WITHDRAWABLE", "SUSPENDED"], |view| {
                let account = &view.account;
                [
                    account.id.to_string(),
                    account.name.clone(),
                    or_dash(account.email.as_ref()),
                    account.balance.total.to_string(),
                    account.balance.withdrawable.to_string(),
                    or_dash(account.suspended_at),
                ]
            })
        }
        Command::Show { account } => {
            let account = store.read_inline(|conn| accounts::find(conn, &account))?;
            show(account, out)
        }
        Command::Suspend { account } => {
            change(store, &account, out, |conn, id| accounts::set_suspended(conn, id, true, ACTOR, now))
        }
        Command::Resume { account } => {
            change(store, &account, out, |conn, id| accounts::set_suspended(conn, id, false, ACTOR, now))
        }
        Command::AllowMachines { account } => {
            change(store, &account, out, |conn, id| accounts::set_may_provide(conn, id, true, ACTOR, now))
        }
        Command::ForbidMachines { account } => {
            change(store, &account, out, |conn, id| accounts::set_may_provide(conn, id, false, ACTOR, now))
        }
    }
}

/// Changes an account, and shows it.
fn change(
    store: &Store,
    account: &str,
    out: Output,
    to: impl FnOnce(&Tx, AccountId) -> Result<Account, StoreError>,
) -> Result<(), Failed> {
    let account = store.write_exclusive(|conn| to(conn, accounts::find(conn, account)?.id))?;
    show(account, out)
}

fn show(account: Account, out: Output) -> Result<(), Failed> {
    out.print(&View::from(account), |view| {
        let account = &view.account;
        format!(
            "id            {}\nname          {}\nemail         {}\nbalance       {}\nwithdrawable  {}\nowed          {}\ncreated       {}\nsuspended     {}\nmay provide   {}",
            account.id,
            account.name,
            or_dash(account.email.as_ref()),
            account.balance.total,
            account.balance.withdrawable,
            account.debt,
            account.created_at,
            or_dash(account.suspended_at),
            if account.may_provide { "yes" } else { "no" }
        )
    })
}
