-- Debts of refunded earnings, the fee's remainder, withdrawals that refunds reduced; the scope `provide`, and a
-- CHECK that older SQLite reads as it is meant.

ALTER TABLE accounts ADD COLUMN debt_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (debt_micro_usd >= 0);
ALTER TABLE accounts ADD COLUMN fee_carry INTEGER NOT NULL DEFAULT 0 CHECK (fee_carry BETWEEN 0 AND 9999);
ALTER TABLE ledger ADD COLUMN debt_micro_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE withdrawals ADD COLUMN reduced_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (reduced_micro_usd >= 0);

-- A CHECK cannot be changed in place. Not renamed: SQLite would write the new name in quotes.
CREATE TABLE keys_before AS SELECT * FROM keys;
DROP TABLE keys;
CREATE TABLE keys (
  id INTEGER PRIMARY KEY,
  account_id INTEGER REFERENCES accounts (id),
  admin_id INTEGER REFERENCES admins (id),
  name TEXT NOT NULL CHECK (length(name) <= 200),
  hash TEXT NOT NULL,
  scopes TEXT NOT NULL CHECK (scopes IN ('inference', 'manage', 'inference manage', 'provide', 'inference provide',
    'manage provide', 'inference manage provide', 'admin')),
  limit_micro_usd INTEGER CHECK (limit_micro_usd >= 0),
  limit_reset TEXT NOT NULL DEFAULT 'none' CHECK (limit_reset IN ('none', 'daily', 'weekly', 'monthly')),
  rpm_limit INTEGER CHECK (rpm_limit > 0),
  max_concurrent INTEGER CHECK (max_concurrent > 0),
  allowed_models TEXT CHECK (allowed_models IS NULL OR json_valid(allowed_models)),
  expires_at INTEGER,
  window_started_at INTEGER NOT NULL DEFAULT 0,
  window_spent_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (window_spent_micro_usd >= 0),
  revoked_at INTEGER,
  created_at INTEGER NOT NULL,
  CHECK ((account_id IS NULL) <> (admin_id IS NULL)),
  CHECK ((scopes = 'admin') = (admin_id IS NOT NULL))
) STRICT;
INSERT INTO keys SELECT * FROM keys_before;
DROP TABLE keys_before;
CREATE INDEX keys_account ON keys (account_id) WHERE account_id IS NOT NULL;

-- Until now, what an account paid to itself became withdrawable. From now on it does not; what it was until now
-- is written down, so that the rows still add up to the balances.
INSERT INTO ledger (id, account_id, kind, amount_micro_usd, withdrawable_micro_usd, balance_after_micro_usd, actor,
  note, created_at)
SELECT (SELECT coalesce(max(id), 0) FROM ledger) + row_number() OVER (ORDER BY own.account_id), own.account_id,
  'adjustment', 0, sum(own.amount), a.balance_micro_usd, 'coordinator',
  'paid to itself before an upgrade, and withdrawable since', CAST(unixepoch('subsec') * 1000 AS INTEGER)
FROM (
  SELECT account_id, earned_micro_usd AS amount FROM usage WHERE account_id = provider_account_id
  UNION ALL
  SELECT account_id, fee_micro_usd FROM usage WHERE account_id = 1
) own JOIN accounts a ON a.id = own.account_id
GROUP BY own.account_id HAVING sum(own.amount) > 0;
