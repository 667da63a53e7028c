//! A rule of the books: a query that finds what breaks it.

use rusqlite::Row;

use crate::domain::ids::{AccountId, InviteId, LedgerId, RequestId, WithdrawalId};
use crate::store::{Read, StoreError};

/// Further problems are not listed.
pub const MOST_PROBLEMS: u32 = 20;

/// A rule and the query that finds what breaks it; the first column of a row names the culprit's id.
pub struct Rule {
    pub kind: RuleKind,
    pub sql: &'static str,
    pub says: &'static str,
}

#[derive(Clone, Copy)]
pub enum RuleKind {
    Account,
    Usage,
    Ledger,
    Withdrawal,
    Invite,
}

impl Rule {
    pub fn check(&self, conn: &Read, problems: &mut Vec<String>) -> Result<(), StoreError> {
        let mut statement = conn.prepare(self.sql)?;
        let mut rows = statement.query([MOST_PROBLEMS])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let who = match self.kind {
                RuleKind::Account => AccountId::from_i64(id).to_string(),
                RuleKind::Usage => RequestId::from_i64(id).to_string(),
                RuleKind::Ledger => LedgerId::from_i64(id).to_string(),
                RuleKind::Withdrawal => WithdrawalId::from_i64(id).to_string(),
                RuleKind::Invite => InviteId::from_i64(id).to_string(),
            };
            problems.push(format!("{who}: {}: {}", self.says, text(row, 1)?));
        }
        Ok(())
    }
}

/// A column as text, whatever it holds.
pub fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get::<_, rusqlite::types::Value>(column)? {
        rusqlite::types::Value::Text(text) => text,
        rusqlite::types::Value::Integer(n) => n.to_string(),
        other => format!("{other:?}"),
    })
}
