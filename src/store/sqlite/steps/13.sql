-- Accounts that may invite their own machines, and requests that an account's own machine served for nothing.

ALTER TABLE accounts ADD COLUMN may_provide INTEGER NOT NULL DEFAULT 0 CHECK (may_provide IN (0, 1));
ALTER TABLE usage ADD COLUMN own_use INTEGER NOT NULL DEFAULT 0 CHECK (own_use = 0 OR (own_use = 1 AND cost_micro_usd = 0 AND account_id = provider_account_id));
