//! `coordinator withdrawal …`

use clap::{Subcommand, ValueEnum};

use super::output::{Output, or_dash};
use super::{ACTOR, Failed};
use crate::domain::ids::WithdrawalId;
use crate::domain::time::Timestamp;
use crate::domain::withdrawal::Decision;
use crate::store::Store;
use crate::store::withdrawals::{self, WithdrawalFilter};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// What accounts asked to be paid out, newest first
    List {
        /// Only those in this state
        #[arg(long, value_enum)]
        status: Option<StatusFilter>,
    },
    /// The money was sent
    Paid {
        #[arg(value_parser = id)]
        id: WithdrawalId,
        /// What to note of the payment
        #[arg(long, value_name = "TEXT")]
        reference: Option<String>,
    },
    /// The money goes back to the account
    Reject {
        #[arg(value_parser = id)]
        id: WithdrawalId,
        /// Why
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatusFilter {
    Pending,
    Paid,
    Rejected,
}

impl StatusFilter {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Paid => "paid",
            Self::Rejected => "rejected",
        }
    }
}

fn id(text: &str) -> Result<WithdrawalId, String> {
    WithdrawalId::parse(text).ok_or_else(|| "a withdrawal id is wd_ and 13 characters".to_owned())
}

pub fn run(command: Command, store: &Store, out: Output) -> Result<(), Failed> {
    match command {
        Command::List { status } => list(status, store, out),
        Command::Paid { id, reference } => decide(id, &Decision::Paid(reference), store, out),
        Command::Reject { id, reason } => decide(id, &Decision::Rejected(reason), store, out),
    }
}

fn list(status: Option<StatusFilter>, store: &Store, out: Output) -> Result<(), Failed> {
    let filter =
        WithdrawalFilter { status: status.map(|status| status.as_str().to_owned()), ..WithdrawalFilter::default() };
    let rows = store.read_inline(|conn| withdrawals::list(conn, &filter, u32::MAX))?;
    out.table(&rows, ["TIME", "ID", "ACCOUNT", "AMOUNT", "STATUS", "DECIDED BY", "NOTE"], |w| {
        [
            w.created_at.to_string(),
            w.id.to_string(),
            w.account_name.clone(),
            w.amount_micro_usd.to_string(),
            w.status.clone(),
            or_dash(w.decided_by.clone()),
            w.note.clone(),
        ]
    })
}

fn decide(id: WithdrawalId, decision: &Decision, store: &Store, out: Output) -> Result<(), Failed> {
    let decided = store.write_exclusive(|conn| withdrawals::decide(conn, id, decision, ACTOR, Timestamp::now()))?;
    out.print(&decided, |w| match w.status.as_str() {
        "paid" => format!("{} of {} is paid", w.amount_micro_usd, w.account_name),
        _ => format!("{} went back to {}", w.amount_micro_usd, w.account_name),
    })
}
