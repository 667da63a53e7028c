//! What the audit asks of withdrawals, refunds, debts and invite codes: each has its ledger entries, and each such
//! entry its withdrawal, charge, debt or redemption.

use super::rule::{Rule, RuleKind};

pub const RULES: &[Rule] = &[
    Rule {
        kind: RuleKind::Withdrawal,
        sql: "SELECT w.id, w.amount_micro_usd || ' asked for, ' || w.reduced_micro_usd || ' taken back, the ledger took '
                || coalesce(-l.amount_micro_usd, 'nothing')
              FROM withdrawals w LEFT JOIN ledger l
                ON l.id = w.ledger_id AND l.kind = 'withdrawal' AND l.account_id = w.account_id
              WHERE coalesce(l.amount_micro_usd <> -w.amount_micro_usd - w.reduced_micro_usd
                OR l.withdrawable_micro_usd <> -w.amount_micro_usd - w.reduced_micro_usd, true) LIMIT ?1",
        says: "withdrawal differs from its ledger entry",
    },
    Rule {
        kind: RuleKind::Withdrawal,
        sql: "SELECT w.id, w.amount_micro_usd || ' rejected, the ledger returned '
                || coalesce(l.amount_micro_usd, 'nothing')
              FROM withdrawals w LEFT JOIN ledger l
                ON l.id = w.returned_ledger_id AND l.kind = 'withdrawal_rejected' AND l.account_id = w.account_id
              WHERE w.status = 'rejected' AND coalesce(l.amount_micro_usd <> w.amount_micro_usd
                OR l.withdrawable_micro_usd <> w.amount_micro_usd, true) LIMIT ?1",
        says: "rejected withdrawal differs from its ledger entry",
    },
    Rule {
        kind: RuleKind::Withdrawal,
        sql: "SELECT id, status FROM withdrawals WHERE (status = 'rejected') <> (returned_ledger_id IS NOT NULL) LIMIT ?1",
        says: "returned without being rejected, or the other way round",
    },
    Rule {
        kind: RuleKind::Ledger,
        sql: "SELECT id, kind FROM ledger l WHERE
                (kind = 'withdrawal' AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.ledger_id = l.id))
                OR (kind = 'withdrawal_rejected' AND request_id IS NULL
                    AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.returned_ledger_id = l.id))
                OR (kind = 'invite_credit'
                    AND NOT EXISTS (SELECT 1 FROM invite_redemptions r WHERE r.ledger_id = l.id))
              LIMIT ?1",
        says: "entry without its withdrawal or redemption",
    },
    Rule {
        // With the rule before: what came back is what was rejected, and what refunds took out of pending ones.
        kind: RuleKind::Account,
        sql: "SELECT a.id, coalesce(l.back, 0) || ' came back, ' || coalesce(w.back, 0) || ' rejected or taken back'
              FROM accounts a
              LEFT JOIN (SELECT account_id, sum(amount_micro_usd) AS back FROM ledger
                         WHERE kind = 'withdrawal_rejected' GROUP BY account_id) l ON l.account_id = a.id
              LEFT JOIN (SELECT account_id, sum(reduced_micro_usd
                           + CASE status WHEN 'rejected' THEN amount_micro_usd ELSE 0 END) AS back
                         FROM withdrawals GROUP BY account_id) w ON w.account_id = a.id
              WHERE coalesce(l.back, 0) <> coalesce(w.back, 0) LIMIT ?1",
        says: "withdrawals that came back differ from their ledger entries",
    },
    Rule {
        kind: RuleKind::Account,
        sql: "SELECT a.id, a.debt_micro_usd || ' stored, ' || coalesce(l.debt, 0) || ' by its rows' FROM accounts a
              LEFT JOIN (SELECT account_id, sum(debt_micro_usd) AS debt FROM ledger WHERE debt_micro_usd <> 0
                         GROUP BY account_id) l ON l.account_id = a.id
              WHERE a.debt_micro_usd <> coalesce(l.debt, 0) OR a.debt_micro_usd < 0 LIMIT ?1",
        says: "debt differs from its rows",
    },
    Rule {
        // What pays a debt off goes to the operator's account; what makes one is what a refund did not get of an
        // earning.
        kind: RuleKind::Ledger,
        sql: "SELECT l.id, l.debt_micro_usd || ' of debt with ' || l.amount_micro_usd
              FROM ledger l LEFT JOIN usage u ON u.id = l.request_id
              WHERE (l.debt_micro_usd < 0 AND (l.kind <> 'refund_reversal' OR l.request_id IS NOT NULL
                  OR l.amount_micro_usd <> l.debt_micro_usd OR l.withdrawable_micro_usd <> l.debt_micro_usd))
                OR (l.debt_micro_usd > 0 AND (l.kind <> 'refund_reversal'
                  OR coalesce(l.account_id <> u.provider_account_id
                    OR l.debt_micro_usd - l.amount_micro_usd <> u.earned_micro_usd, true)))
              LIMIT ?1",
        says: "debt differs from the earning that was refunded, or from what paid it off",
    },
    Rule {
        kind: RuleKind::Ledger,
        sql: "SELECT max(id), sum(amount_micro_usd) || ' over' FROM ledger
              WHERE kind = 'refund_reversal' AND request_id IS NULL
              GROUP BY created_at HAVING sum(amount_micro_usd) <> 0 LIMIT ?1",
        says: "a debt was paid off to nobody",
    },
    Rule {
        kind: RuleKind::Usage,
        sql: "SELECT u.id, u.charged_micro_usd || ' charged, ' || sum(l.amount_micro_usd) FILTER (WHERE l.kind = 'refund')
                || ' given back, ' || sum(l.amount_micro_usd) || ' over'
              FROM ledger l JOIN usage u ON u.id = l.request_id WHERE l.kind IN ('refund', 'refund_reversal')
              GROUP BY u.id
              HAVING sum(l.amount_micro_usd) <> 0
                OR coalesce(sum(l.amount_micro_usd) FILTER (WHERE l.kind = 'refund'), 0) <> u.charged_micro_usd LIMIT ?1",
        says: "refund differs from its charge, or from what was taken back",
    },
    Rule {
        kind: RuleKind::Invite,
        sql: "SELECT c.id, c.redeemed || ' of ' || c.max_redemptions || ' counted, ' || count(r.invite_id)
                || ' redeemed, ' || count(l.id) || ' credited'
              FROM invite_codes c LEFT JOIN invite_redemptions r ON r.invite_id = c.id
              LEFT JOIN ledger l ON l.id = r.ledger_id AND l.kind = 'invite_credit' AND l.account_id = r.account_id
                AND l.amount_micro_usd = c.amount_micro_usd AND l.withdrawable_micro_usd = 0
              GROUP BY c.id
              HAVING c.redeemed <> count(r.invite_id) OR count(r.invite_id) <> count(l.id)
                OR c.redeemed > c.max_redemptions LIMIT ?1",
        says: "invite code differs from its redemptions",
    },
];

#[cfg(test)]
mod tests {
    use crate::domain::ids::AccountId;
    use crate::domain::money::MicroUsd;
    use crate::domain::settle::Balance;
    use crate::domain::time::Timestamp;
    use crate::domain::withdrawal::{Decision, Wanted};
    use crate::store::{Store, StoreError, Tx, accounts, audit, invites, ledger, withdrawals};

    const NOW: Timestamp = Timestamp::from_millis(1_777_559_321_000);

    /// An account with a gift of $5, and withdrawals of 3 (pending), 2 (paid) and 1 (rejected) micro-USD.
    fn books(conn: &Tx) -> Result<AccountId, StoreError> {
        let account_id = accounts::create(conn, "lab", None, "test", NOW)?.id;
        let code = invites::NewInvite {
            code: "GIFT".into(),
            amount: MicroUsd::new(5_000_000),
            max_redemptions: 3,
            expires_at: None,
            note: String::new(),
        };
        invites::create(conn, &code, "test", NOW)?;
        invites::redeem(conn, account_id, "gift", "test", NOW)?;
        // Earnings without a request: an adjustment.
        let before = accounts::balance(conn, account_id)?;
        let after = before.add_earnings(MicroUsd::new(100)).unwrap_or(Balance::default());
        let kind = "adjustment";
        let movement = ledger::Movement { account_id, kind, before, after, request_id: None, actor: "test", note: "" };
        ledger::write(conn, &movement, NOW)?;
        for (micro, decision) in [(3, None), (2, Some(Decision::Paid(None))), (1, Some(Decision::Rejected(None)))] {
            let wanted = Wanted { account: account_id, amount: MicroUsd::new(micro), note: String::new() };
            let w = withdrawals::request(conn, &wanted, wanted.amount, MicroUsd::ZERO, "test", NOW)?;
            if let Some(decision) = decision {
                withdrawals::decide(conn, w.id, &decision, "test", NOW)?;
            }
        }
        Ok(account_id)
    }

    fn problems(conn: &Tx, fault: &str) -> Result<String, StoreError> {
        conn.execute_batch("SAVEPOINT fault")?;
        conn.execute_batch(fault)?;
        let report = audit::audit(conn)?;
        conn.execute_batch("ROLLBACK TO fault; RELEASE fault")?;
        Ok(report.problems.join("; "))
    }

    #[test]
    fn what_does_not_match_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let account = store.write_exclusive(books).unwrap();
        let left = store.read_inline(|conn| accounts::balance(conn, account)).unwrap();
        assert_eq!(left, Balance { total: MicroUsd::new(5_000_095), withdrawable: MicroUsd::new(95) });
        // A fault in the rows → what the audit says of it.
        let rows = [
            ("SELECT 1", ""),
            ("UPDATE withdrawals SET amount_micro_usd = 4 WHERE status = 'pending'", "differs from its ledger entry"),
            ("UPDATE withdrawals SET amount_micro_usd = 4 WHERE status = 'pending'", "pending or paid"),
            ("UPDATE ledger SET withdrawable_micro_usd = 0 WHERE kind = 'withdrawal'", "differs from its ledger entry"),
            (
                "UPDATE ledger SET amount_micro_usd = 2 WHERE kind = 'withdrawal_rejected'",
                "rejected withdrawal differs",
            ),
            ("DELETE FROM withdrawals WHERE status = 'paid'", "entry without its withdrawal"),
            ("DELETE FROM invite_redemptions", "entry without its withdrawal or redemption"),
            ("UPDATE invite_codes SET redeemed = 2", "invite code differs"),
            ("UPDATE invite_codes SET amount_micro_usd = 1", "invite code differs"),
            ("UPDATE accounts SET balance_micro_usd = balance_micro_usd + 1", "all credits"),
        ];
        for (fault, says) in rows {
            let found = store.write_exclusive(|conn| problems(conn, fault)).unwrap();
            assert!(found.contains(says) && found.is_empty() == says.is_empty(), "{fault}: {found}");
        }
    }

    #[test]
    fn a_withdrawal_takes_no_more_than_it_may() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let account = store.write_exclusive(books).unwrap();
        // 95 are withdrawable of 5,000,095. amount, reserved, held by others → done
        let rows = [
            (0, 100, 0, false),
            (96, 100, 0, false),
            (95, 94, 0, false),
            (95, 95, 5_000_001, false),
            (94, 95, 5_000_001, true),
            (2, 2, 0, false),
            (1, 1, 5_000_000, true),
        ];
        for (amount, reserved, held, done) in rows {
            let wanted = Wanted { account, amount: MicroUsd::new(amount), note: String::new() };
            let (reserved, held) = (MicroUsd::new(reserved), MicroUsd::new(held));
            let asked = store.write_exclusive(|conn| withdrawals::request(conn, &wanted, reserved, held, "test", NOW));
            assert_eq!(asked.is_ok(), done, "{amount}: {asked:?}");
        }
        assert!(store.read_inline(audit::audit).is_ok_and(|report| report.ok));
    }
}
