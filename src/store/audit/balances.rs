//! What the audit asks of balances and usage rows: each follows from the others.

use super::rule::{Rule, RuleKind};

/// Stored balances against the sum of all rows. Money enters through the ledger alone; a usage row
/// moves it from the payer to the provider and the operator's account. What a payer pays to itself is not withdrawable.
const REPLAY: &str = "
  WITH movements (account_id, amount, withdrawable) AS (
    SELECT account_id, amount_micro_usd, withdrawable_micro_usd FROM ledger
    UNION ALL
    SELECT account_id, -sum(charged_micro_usd), -sum(charged_withdrawable_micro_usd) FROM usage GROUP BY account_id
    UNION ALL
    SELECT provider_account_id, sum(earned_micro_usd), sum(earned_micro_usd * (provider_account_id <> account_id))
    FROM usage GROUP BY provider_account_id
    UNION ALL
    SELECT 1, sum(fee_micro_usd), sum(fee_micro_usd * (account_id <> 1)) FROM usage WHERE fee_micro_usd > 0
  ), replayed AS (
    SELECT account_id, sum(amount) AS amount, sum(withdrawable) AS withdrawable FROM movements GROUP BY account_id
  )
  SELECT id, balance_micro_usd || ' stored, ' || coalesce(amount, 0) || ' by its rows; withdrawable '
    || withdrawable_micro_usd || ' stored, ' || coalesce(withdrawable, 0) || ' by its rows'
  FROM accounts LEFT JOIN replayed ON account_id = id
  WHERE balance_micro_usd <> coalesce(amount, 0) OR withdrawable_micro_usd <> coalesce(withdrawable, 0)
  LIMIT ?1";

pub const RULES: &[Rule] = &[
    Rule { kind: RuleKind::Account, sql: REPLAY, says: "balance differs from its rows" },
    Rule {
        kind: RuleKind::Account,
        sql: "SELECT id, balance_micro_usd || ', withdrawable ' || withdrawable_micro_usd FROM accounts
              WHERE balance_micro_usd < 0 OR withdrawable_micro_usd NOT BETWEEN 0 AND balance_micro_usd LIMIT ?1",
        says: "balance out of range",
    },
    Rule {
        kind: RuleKind::Usage,
        sql: "SELECT id, cost_micro_usd || ' = ' || charged_micro_usd || ' + ' || shortfall_micro_usd || ', '
                || earned_micro_usd || ' + ' || fee_micro_usd FROM usage
              WHERE cost_micro_usd <> charged_micro_usd + shortfall_micro_usd
                OR charged_micro_usd <> earned_micro_usd + fee_micro_usd
                OR min(charged_micro_usd, shortfall_micro_usd, earned_micro_usd, fee_micro_usd,
                       prompt_tokens, cached_tokens, completion_tokens) < 0 LIMIT ?1",
        says: "cost is not charged + shortfall, or charged is not earned + fee",
    },
    Rule {
        kind: RuleKind::Usage,
        sql: "SELECT id, cost_micro_usd FROM usage WHERE outcome = 'provider_error' AND cost_micro_usd <> 0 LIMIT ?1",
        says: "a failure of the provider has a cost",
    },
    Rule {
        kind: RuleKind::Usage,
        sql: "SELECT id, cost_micro_usd || ' to ' || provider_account_id FROM usage
              WHERE own_use <> 0 AND (cost_micro_usd <> 0 OR provider_account_id <> account_id) LIMIT ?1",
        says: "free as the payer's own use, and it has a cost or is another's",
    },
    Rule {
        kind: RuleKind::Usage,
        sql: "SELECT indexed_to, rows || ' rows up to it, ' || entries || ' in the index' FROM (
                SELECT indexed_to, (SELECT count(*) FROM usage WHERE id <= indexed_to) AS rows,
                  (SELECT count(*) FROM usage_by_account WHERE usage_id <= indexed_to) AS entries FROM usage_indexed)
              WHERE rows <> entries LIMIT ?1",
        says: "the index of usage by account is not what it should be",
    },
    Rule {
        kind: RuleKind::Ledger,
        sql: "SELECT l.id, l.balance_after_micro_usd FROM ledger l WHERE l.balance_after_micro_usd < 0 LIMIT ?1",
        says: "balance after is negative",
    },
];
