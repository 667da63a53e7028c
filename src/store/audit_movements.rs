//! What the audit asks of withdrawals, refunds and invite codes: each has its ledger entries, and each such
//! entry its withdrawal, charge or redemption.

use super::audit::{Kind, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule {
        kind: Kind::Withdrawal,
        sql: "SELECT w.id, w.amount_micro_usd || ' asked for, the ledger took ' || coalesce(-l.amount_micro_usd, 'nothing')
              FROM withdrawals w LEFT JOIN ledger l
                ON l.id = w.ledger_id AND l.kind = 'withdrawal' AND l.account_id = w.account_id
              WHERE coalesce(l.amount_micro_usd <> -w.amount_micro_usd
                OR l.withdrawable_micro_usd <> -w.amount_micro_usd, true) LIMIT ?1",
        says: "withdrawal differs from its ledger entry",
    },
    Rule {
        kind: Kind::Withdrawal,
        sql: "SELECT w.id, w.amount_micro_usd || ' rejected, the ledger returned '
                || coalesce(l.amount_micro_usd, 'nothing')
              FROM withdrawals w LEFT JOIN ledger l
                ON l.id = w.returned_ledger_id AND l.kind = 'withdrawal_rejected' AND l.account_id = w.account_id
              WHERE w.status = 'rejected' AND coalesce(l.amount_micro_usd <> w.amount_micro_usd
                OR l.withdrawable_micro_usd <> w.amount_micro_usd, true) LIMIT ?1",
        says: "rejected withdrawal differs from its ledger entry",
    },
    Rule {
        kind: Kind::Withdrawal,
        sql: "SELECT id, status FROM withdrawals WHERE (status = 'rejected') <> (returned_ledger_id IS NOT NULL) LIMIT ?1",
        says: "returned without being rejected, or the other way round",
    },
    Rule {
        kind: Kind::Ledger,
        sql: "SELECT id, kind FROM ledger l WHERE
                (kind = 'withdrawal' AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.ledger_id = l.id))
                OR (kind = 'withdrawal_rejected'
                    AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.returned_ledger_id = l.id))
                OR (kind = 'invite_credit'
                    AND NOT EXISTS (SELECT 1 FROM invite_redemptions r WHERE r.ledger_id = l.id))
              LIMIT ?1",
        says: "entry without its withdrawal or redemption",
    },
    Rule {
        kind: Kind::Usage,
        sql: "SELECT u.id, u.charged_micro_usd || ' charged, ' || sum(l.amount_micro_usd) FILTER (WHERE l.kind = 'refund')
                || ' given back, ' || sum(l.amount_micro_usd) || ' over'
              FROM ledger l JOIN usage u ON u.id = l.request_id WHERE l.kind IN ('refund', 'refund_reversal')
              GROUP BY u.id
              HAVING sum(l.amount_micro_usd) <> 0
                OR coalesce(sum(l.amount_micro_usd) FILTER (WHERE l.kind = 'refund'), 0) <> u.charged_micro_usd LIMIT ?1",
        says: "refund differs from its charge, or from what was taken back",
    },
    Rule {
        kind: Kind::Invite,
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
