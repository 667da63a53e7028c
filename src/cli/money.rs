//! `coordinator credit`, `usage`, `ledger`, `audit`, `backup`.

use std::path::Path;

use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{ACTOR, Failed, time, usd};
use crate::domain::money::MicroUsd;
use crate::domain::time::Timestamp;
use crate::store::idempotency::{self, SavedAnswer};
use crate::store::usage::{UsageFilter, UsageRow};
use crate::store::{Store, StoreError, accounts, audit, backup, ledger, usage};

#[derive(Debug, Args)]
pub struct CreditArgs {
    /// An account's id, name or email
    account: String,
    /// How much, like 10.00
    #[arg(value_parser = usd)]
    usd: MicroUsd,
    /// Why
    #[arg(long, default_value = "")]
    note: String,
    /// An idempotency key: repeated with the same credit, nothing is added twice
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Args)]
pub struct UsageArgs {
    /// An account's id, name or email
    account: String,
    /// Only what was settled at or after this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// As CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// An account's id, name or email
    account: String,
    /// As CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub fn credit(args: CreditArgs, store: &Store, out: Output) -> Result<(), Failed> {
    if args.idempotency_key.as_ref().is_some_and(|key| !(1..=255).contains(&key.len())) {
        return Err(Failed::Other("an idempotency key is 1 to 255 characters".into()));
    }
    let now = Timestamp::now();
    let answer = store.write_exclusive(|conn| {
        let account = accounts::find(conn, &args.account)?.id;
        let credit = || {
            let credited = ledger::credit(conn, account, args.usd, &args.note, ACTOR, now)?;
            let body = serde_json::to_string(&credited).map_err(|e| StoreError::Invalid(e.to_string()))?;
            Ok(SavedAnswer { status: 200, body })
        };
        match &args.idempotency_key {
            None => credit(),
            Some(key) => {
                let request = json!([account, args.usd, args.note]).to_string();
                let body_hash = idempotency::hash(&[request.as_bytes()]);
                let key = idempotency::Key { actor: ACTOR.into(), key: key.clone(), body_hash };
                idempotency::once(conn, &key, now, credit)
            }
        }
    })?;
    let view: serde_json::Value = serde_json::from_str(&answer.body).map_err(|e| Failed::Other(e.to_string()))?;
    // A refusal is stored too: of a key whose answer a restore has undone.
    if let Some(message) = view.pointer("/error/message").and_then(serde_json::Value::as_str) {
        return Err(Failed::Other(message.to_owned()));
    }
    out.print(&view, |view| {
        let money =
            |field: &str| MicroUsd::new(view.get(field).and_then(serde_json::Value::as_i64).unwrap_or_default());
        format!("added {}; the balance is {}", money("credited_micro_usd"), money("balance_micro_usd"))
    })
}

/// Rows of one read: an export of millions never lies in memory.
const PAGE: u32 = 1_000;

pub fn usage(args: UsageArgs, store: &Store, out: Output) -> Result<(), Failed> {
    let account = store.read_inline(|conn| accounts::find(conn, &args.account))?.id;
    let mut filter = UsageFilter { since: args.since, ..UsageFilter::default() };
    let mut first = true;
    if out.json {
        out.line("[")?;
    }
    loop {
        let rows = store.read_inline(|conn| usage::list(conn, account, &filter, PAGE))?;
        let text = if args.csv {
            String::from_utf8(usage::to_csv(&rows, first)?).map_err(|e| Failed::Other(e.to_string()))?
        } else if out.json {
            let rows: Result<Vec<String>, _> = rows.iter().map(serde_json::to_string).collect();
            let text = rows.map_err(|e| Failed::Other(e.to_string()))?.join(",\n");
            if first || text.is_empty() { text } else { format!(",{text}") }
        } else {
            rows.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        if !text.is_empty() {
            out.line(text.trim_end())?;
        }
        first = false;
        match rows.last() {
            Some(last) if rows.len() == usize::try_from(PAGE).unwrap_or(usize::MAX) => {
                filter.before = Some(last.request_id);
            }
            _ => break,
        }
    }
    if out.json {
        out.line("]")?;
    }
    Ok(())
}

fn line(row: &UsageRow) -> String {
    format!(
        "{}  {}  {}  {} + {} tokens  {}  {} by {}{}",
        row.timestamp,
        row.request_id,
        row.model,
        row.prompt_tokens,
        row.completion_tokens,
        row.charged_micro_usd,
        row.outcome,
        row.metered_by,
        if row.own_use { ", own use" } else { "" }
    )
}

pub fn ledger(args: LedgerArgs, store: &Store, out: Output) -> Result<(), Failed> {
    let rows = store.read_inline(|conn| {
        let account = accounts::find(conn, &args.account)?.id;
        ledger::list(conn, account, ledger::LedgerFilter::default(), u32::MAX)
    })?;
    if args.csv {
        let text = String::from_utf8(ledger::to_csv(&rows, true)?).map_err(|e| Failed::Other(e.to_string()))?;
        return out.line(text.trim_end());
    }
    out.table(&rows, ["TIME", "ID", "KIND", "AMOUNT", "BALANCE AFTER", "BY", "NOTE"], |entry| {
        [
            entry.created_at.to_string(),
            entry.id.to_string(),
            entry.kind.clone(),
            entry.amount_micro_usd.to_string(),
            entry.balance_after_micro_usd.to_string(),
            entry.actor.clone(),
            entry.note.clone(),
        ]
    })
}

pub fn audit(store: &Store, out: Output) -> Result<(), Failed> {
    let report = store.read_inline(audit::audit)?;
    out.print(&report, |report| {
        let seen = format!(
            "{} accounts, {} usage rows, {} ledger entries",
            report.accounts, report.usage_rows, report.ledger_entries
        );
        if report.ok { format!("ok: {seen}") } else { format!("{}\nNOT ok: {seen}", report.problems.join("\n")) }
    })?;
    if report.ok { Ok(()) } else { Err(Failed::Said) }
}

pub fn backup(file: &Path, store: &Store, out: Output) -> Result<(), Failed> {
    let report = backup::backup(store, file)?;
    let view = json!({"file": file, "accounts": report.accounts, "usage_rows": report.usage_rows, "ok": report.ok});
    out.print(&view, |_| format!("wrote {}: {} usage rows, audited", file.display(), report.usage_rows))
}
