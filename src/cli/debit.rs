//! `coordinator debit`: by itself where no server runs, else by asking the server, which alone knows what
//! requests hold.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::output::Output;
use super::{ACTOR, Failed, usd};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::debit_requests::{self, DebitAnswer};
use crate::store::ledger::{self, Debit};
use crate::store::{Store, StoreError, accounts};

#[derive(Debug, Args)]
pub struct DebitArgs {
    /// An account's id, name or email
    account: String,
    /// How much, like 10.00
    #[arg(value_parser = usd)]
    usd: MicroUsd,
    /// Why
    #[arg(long, default_value = "")]
    note: String,
}

/// How long the server may take: it checks a few times a second, but its disk may be slow.
const PATIENCE: Duration = Duration::from_secs(15);

pub fn debit(args: DebitArgs, store: &Store, out: Output) -> Result<(), Failed> {
    let account = store.read_inline(|conn| accounts::find(conn, &args.account))?.id;
    if args.usd <= MicroUsd::ZERO {
        return Err(Failed::Other("the amount must be more than zero".into()));
    }
    let debit = Debit { account, amount: args.usd, note: args.note };
    let view = match store.lock() {
        // No server runs, and none can start: nothing is on hold.
        Ok(_lock) => {
            let now = Timestamp::now();
            let done = store.write_exclusive(|conn| {
                ledger::debit(conn, &debit, MicroUsd::new(i64::MAX), MicroUsd::ZERO, ACTOR, now)
            })?;
            serde_json::to_value(done).map_err(|e| Failed::Other(e.to_string()))?
        }
        Err(StoreError::Conflict(_)) => ask_server(&debit, store)?,
        Err(e) => return Err(e.into()),
    };
    out.print(&view, |view| {
        let money = |field: &str| MicroUsd::new(view.get(field).and_then(Value::as_i64).unwrap_or_default());
        format!("took {} back; the balance is {}", money("debited_micro_usd"), money("balance_micro_usd"))
    })
}

fn ask_server(debit: &Debit, store: &Store) -> Result<Value, Failed> {
    let id = store.write_exclusive(|conn| debit_requests::ask(conn, debit, ACTOR, Timestamp::now()))?;
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until && !store.read_inline(|conn| debit_requests::is_answered(conn, id))? {
        std::thread::sleep(Duration::from_millis(50));
    }
    match store.write_exclusive(|conn| debit_requests::take(conn, id))? {
        Some(DebitAnswer::Done(view)) => serde_json::from_str(view.get()).map_err(|e| Failed::Other(e.to_string())),
        Some(DebitAnswer::Refused(why)) => Err(Failed::Other(why)),
        None => Err(Failed::Other("the server did not answer, and nothing was taken: try again".into())),
    }
}
