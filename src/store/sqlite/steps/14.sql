-- The rows of usage by account: the index that SQLite would keep costs a page for each row where many accounts take
-- turns, so it is written behind the rows, in their accounts' order (src/store/tables/usage_index.rs).
CREATE TABLE usage_by_account (
  account_id INTEGER NOT NULL,
  usage_id INTEGER NOT NULL,
  PRIMARY KEY (account_id, usage_id)
) STRICT, WITHOUT ROWID;

-- How far that is: every row up to `indexed_to` is in it; a row up to `indexing_to` that is settled now is put in at once.
CREATE TABLE usage_indexed (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  indexed_to INTEGER NOT NULL,
  indexing_to INTEGER NOT NULL CHECK (indexing_to >= indexed_to)
) STRICT;
INSERT INTO usage_by_account SELECT account_id, id FROM usage ORDER BY account_id, id;
INSERT INTO usage_indexed SELECT 1, coalesce(max(id), 0), coalesce(max(id), 0) FROM usage;
DROP INDEX usage_account;

-- The rows of usage, for whoever asks for an account's.
CREATE VIEW account_usage AS
  SELECT i.usage_id AS id, i.account_id AS account_id,
    u.key_id, u.provider_id, u.provider_account_id, u.price_id, u.model, u.endpoint, u.prompt_tokens,
    u.cached_tokens, u.completion_tokens, u.cost_micro_usd, u.charged_micro_usd,
    u.charged_withdrawable_micro_usd, u.shortfall_micro_usd, u.fee_micro_usd, u.earned_micro_usd, u.outcome,
    u.metered_by, u.created_at, u.cache_write_tokens, u.cache_write_1h_tokens, u.translated, u.own_use
  FROM usage_by_account i CROSS JOIN usage u ON u.id = i.usage_id
  WHERE i.usage_id <= (SELECT indexed_to FROM usage_indexed)
  UNION ALL
  SELECT id, account_id,
    key_id, provider_id, provider_account_id, price_id, model, endpoint, prompt_tokens, cached_tokens,
    completion_tokens, cost_micro_usd, charged_micro_usd, charged_withdrawable_micro_usd, shortfall_micro_usd,
    fee_micro_usd, earned_micro_usd, outcome, metered_by, created_at, cache_write_tokens, cache_write_1h_tokens,
    translated, own_use
  FROM usage WHERE id > (SELECT indexed_to FROM usage_indexed);
