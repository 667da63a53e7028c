//! `coordinator restore`: a backup in the place of the database.

use std::path::Path;

use super::output::Output;
use super::{ACTOR, Failed};
use crate::domain::time::Timestamp;
use crate::store::restore::{Restored, restore};
use crate::store::{Lock, database_in};

/// Refuses while a server runs: it would go on with the old files.
pub fn run(dir: &Path, file: &Path, out: Output) -> Result<(), Failed> {
    if !file.is_file() {
        return Err(Failed::Other(format!("{} is not a file", file.display())));
    }
    std::fs::create_dir_all(dir).map_err(|e| Failed::Other(format!("{}: {e}", dir.display())))?;
    let lock = Lock::of(dir)?;
    let done = restore(file, &database_in(dir), ACTOR, Timestamp::now())?;
    drop(lock);
    out.print(&done, text)
}

fn text(done: &Restored) -> String {
    let mut lines = vec![format!(
        "restored: {} accounts, {} usage rows, {} ledger entries, audited",
        done.audit.accounts, done.audit.usage_rows, done.audit.ledger_entries
    )];
    if let Some(until) = done.until {
        lines.push(format!("the last thing it knows was at {until}"));
    }
    let Some(kept) = &done.kept else {
        return lines.join("\n");
    };
    lines.push(format!("what it replaced is in {}", kept.display()));
    let since = &done.since;
    if since.known {
        lines.push(format!(
            "undone: {} charges, {} other movements of money. Kept: {} withdrawals paid, {} keys revoked, what {} keys \
             had spent of their caps; {} idempotency keys of admins are refused for a day",
            since.usage_rows,
            since.ledger_entries,
            since.withdrawals_paid,
            since.keys_revoked,
            since.key_windows,
            since.idempotency_keys
        ));
    } else {
        lines.push(
            "the database that was replaced cannot be read: look through your own records for withdrawals that were \
             paid, keys that were revoked and credit that was added since"
                .to_owned(),
        );
    }
    for withdrawal in &since.paid_but_undone {
        lines.push(format!(
            "LOOK: withdrawal {withdrawal} was paid and is not in the backup: its money is in the balance again. Take it \
             back: coordinator debit ACCOUNT USD --note {withdrawal}"
        ));
    }
    lines.join("\n")
}
