-- The whole truth of the database. Money is integer micro-USD (1 USD = 1,000,000), prices are micro-USD
-- per 1,000,000 tokens, times are milliseconds since 1970 UTC, ids are 63-bit and ordered by time.
-- An upgrade is a numbered step in src/store/sqlite/schema.rs; a test proves that old + steps = this file.

-- Who owns money. `withdrawable` is the part of the balance that was earned as a provider, `debt` what the
-- account owes the house of earnings that were refunded when they had left it, `fee_carry` what the fee on its
-- earnings has not reached yet of the next micro-USD, in ten-thousandths of one.
-- Account 1 is the house: it gets the fee, and exists once there is one. Whoever owns the account is told when its
-- balance falls below `alert_below_micro_usd`. `may_provide`: it may make keys that machines join with; an admin is to
-- enable each machine that comes with one.
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
  email TEXT UNIQUE CHECK (length(email) BETWEEN 3 AND 320),
  balance_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (balance_micro_usd >= 0),
  withdrawable_micro_usd INTEGER NOT NULL DEFAULT 0
    CHECK (withdrawable_micro_usd BETWEEN 0 AND balance_micro_usd),
  suspended_at INTEGER,
  created_at INTEGER NOT NULL,
  debt_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (debt_micro_usd >= 0),
  fee_carry INTEGER NOT NULL DEFAULT 0 CHECK (fee_carry BETWEEN 0 AND 9999),
  alert_below_micro_usd INTEGER CHECK (alert_below_micro_usd > 0),
  may_provide INTEGER NOT NULL DEFAULT 0 CHECK (may_provide IN (0, 1))
) STRICT;
-- An address is looked for whatever its case and composition: by the first in ASCII, and by reading through the second.
CREATE INDEX accounts_email ON accounts (email COLLATE NOCASE);
CREATE INDEX accounts_email_wide ON accounts (email) WHERE email GLOB '*[^ -~]*';

-- Who may add credit. Without a password an admin has only keys.
CREATE TABLE admins (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 200),
  password_hash TEXT,
  created_at INTEGER NOT NULL
) STRICT;

-- Who is signed in to the admin page. The token itself is only in the browser's cookie; `id` is its SHA-256.
CREATE TABLE sessions (
  id BLOB PRIMARY KEY CHECK (length(id) = 32),
  admin_id INTEGER NOT NULL REFERENCES admins (id),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Credentials, of an account or of an admin. The secret is nowhere: `hash` is an argon2id PHC string and,
-- after a blank, a fast keyed hash (keys from before there was one get it when they are first used).
-- `window_spent_micro_usd` is what the key was charged since `window_started_at`, for its spend limit.
-- `max_machines`: how many machines may join with it; `holds_machines`: an admin is to enable each new one.
-- (Of NULL, `json_valid` said 0 before SQLite 3.41: its tools would call the rows damaged.)
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
  max_machines INTEGER CHECK (max_machines > 0),
  holds_machines INTEGER NOT NULL DEFAULT 0,
  CHECK ((account_id IS NULL) <> (admin_id IS NULL)),
  CHECK ((scopes = 'admin') = (admin_id IS NOT NULL))
) STRICT;
CREATE INDEX keys_account ON keys (account_id) WHERE account_id IS NOT NULL;

-- What a model costs, a row a version. The one not retired is in force; a usage row keeps its own. `max_running`:
-- how many requests an account may have running at once; the others wait.
CREATE TABLE prices (
  id INTEGER PRIMARY KEY,
  model TEXT NOT NULL CHECK (length(model) BETWEEN 1 AND 256),
  display_name TEXT NOT NULL,
  input_price INTEGER NOT NULL CHECK (input_price BETWEEN 0 AND 1000000000000),
  output_price INTEGER NOT NULL CHECK (output_price BETWEEN 0 AND 1000000000000),
  cache_read_price INTEGER CHECK (cache_read_price BETWEEN 0 AND 1000000000000),
  context_length INTEGER CHECK (context_length > 0),
  max_output INTEGER CHECK (max_output > 0),
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  retired_at INTEGER,
  cache_write_price INTEGER CHECK (cache_write_price BETWEEN 0 AND 1000000000000),
  cache_write_1h_price INTEGER CHECK (cache_write_1h_price BETWEEN 0 AND 1000000000000),
  max_running INTEGER CHECK (max_running > 0)
) STRICT;
CREATE UNIQUE INDEX prices_in_force ON prices (model) WHERE retired_at IS NULL;

-- Who serves and earns. `api_key` is what the provider asks for (or `env:VARIABLE`), `flagged` counts
-- the requests whose reported usage was out of bounds (above what they could have used, or zero for what was sent or
-- delivered), and those whose output went on beyond its bound. `ca_pem` holds the certificates of
-- a private authority that is trusted for it: they travel with a backup, and no file can go missing. `allow` names
-- the fields and tools, with blanks between them, whose work at the provider may be asked for. A machine that is not
-- dialled but joins has no address: `joined_with` is the key that it came with last, `joined_as` what it calls itself.
CREATE TABLE providers (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  url TEXT NOT NULL,
  api_key TEXT,
  max_concurrent INTEGER CHECK (max_concurrent > 0),
  flagged INTEGER NOT NULL DEFAULT 0,
  disabled_at INTEGER,
  removed_at INTEGER,
  created_at INTEGER NOT NULL,
  ca_pem TEXT,
  allow TEXT NOT NULL DEFAULT '',
  auth TEXT NOT NULL DEFAULT 'bearer' CHECK (auth IN ('bearer', 'x-api-key')),
  think_tags INTEGER NOT NULL DEFAULT 0 CHECK (think_tags IN (0, 1)),
  joined_with INTEGER REFERENCES keys (id),
  joined_as TEXT
) STRICT;
CREATE UNIQUE INDEX providers_name ON providers (name) WHERE removed_at IS NULL;

-- Which models a provider offers, and what it calls them.
CREATE TABLE provider_models (
  model TEXT NOT NULL CHECK (length(model) BETWEEN 1 AND 256),
  provider_id INTEGER NOT NULL REFERENCES providers (id),
  upstream_model TEXT NOT NULL CHECK (length(upstream_model) BETWEEN 1 AND 256),
  PRIMARY KEY (model, provider_id)
) STRICT, WITHOUT ROWID;

-- How the last probe of a provider went. A provider that could not be reached keeps what was found before. `places`:
-- how many requests the server says that it takes at once.
CREATE TABLE provider_probes (
  provider_id INTEGER PRIMARY KEY REFERENCES providers (id),
  reached INTEGER NOT NULL CHECK (reached IN (0, 1)),
  latency_ms INTEGER CHECK (latency_ms >= 0),
  error TEXT,
  probed_at INTEGER NOT NULL,
  places INTEGER CHECK (places > 0)
) STRICT;

-- What each endpoint of a provider did in its last probe, per model. An endpoint counts as offered unless the last
-- probe showed that it is not served: no row, or `serves` NULL, means that it is not known. `output_fields` are those
-- that were seen to bound the output, with blanks between them, the preferred one first.
CREATE TABLE provider_endpoints (
  provider_id INTEGER NOT NULL REFERENCES providers (id),
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  stream INTEGER NOT NULL CHECK (stream IN (0, 1)),
  serves INTEGER CHECK (serves IN (0, 1)),
  reports_usage INTEGER NOT NULL CHECK (reports_usage IN (0, 1)),
  reports_cached INTEGER NOT NULL CHECK (reports_cached IN (0, 1)),
  total_ms INTEGER NOT NULL CHECK (total_ms >= 0),
  error TEXT,
  probed_at INTEGER NOT NULL,
  output_fields TEXT,
  PRIMARY KEY (provider_id, model, endpoint, stream)
) STRICT, WITHOUT ROWID;

-- How what a provider reports compares with our own count: how many answers were counted, and the sum and the sum
-- of squares of reported / counted, in thousandths. Halved when they are many, so that it tells of late.
CREATE TABLE recounts (
  provider_id INTEGER NOT NULL REFERENCES providers (id),
  model TEXT NOT NULL,
  part TEXT NOT NULL CHECK (part IN ('prompt', 'completion')),
  answers INTEGER NOT NULL CHECK (answers > 0),
  ratio_sum INTEGER NOT NULL CHECK (ratio_sum >= 0),
  ratio_square_sum INTEGER NOT NULL CHECK (ratio_square_sum >= 0),
  counted_at INTEGER NOT NULL,
  PRIMARY KEY (provider_id, model, part)
) STRICT, WITHOUT ROWID;

-- One row per request that was metered. What the payer is charged is what the provider earns, less the
-- fee; `charged_withdrawable_micro_usd` is the part that came out of the payer's own earnings. What comes back to
-- the payer itself (its own provider's earning, the house's own fee) is no withdrawable money.
-- Its `cached_tokens` were read from the provider's cache, its `cache_write_tokens` written to it (some for an hour).
-- `translated`: the provider speaks chat alone, and was asked in chat. `own_use`: the payer's own provider served it, and
-- that was free (`serve --own-use-free`).
-- No list of three in a CHECK here: SQLite would make a table of it, in memory, for each row that is written.
CREATE TABLE usage (
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  key_id INTEGER NOT NULL REFERENCES keys (id),
  provider_id INTEGER NOT NULL REFERENCES providers (id),
  provider_account_id INTEGER NOT NULL REFERENCES accounts (id),
  price_id INTEGER NOT NULL REFERENCES prices (id),
  model TEXT NOT NULL,
  endpoint TEXT NOT NULL,
  prompt_tokens INTEGER NOT NULL CHECK (prompt_tokens >= 0),
  cached_tokens INTEGER NOT NULL CHECK (cached_tokens BETWEEN 0 AND prompt_tokens),
  completion_tokens INTEGER NOT NULL CHECK (completion_tokens >= 0),
  cost_micro_usd INTEGER NOT NULL CHECK (cost_micro_usd >= 0),
  charged_micro_usd INTEGER NOT NULL CHECK (charged_micro_usd >= 0),
  charged_withdrawable_micro_usd INTEGER NOT NULL
    CHECK (charged_withdrawable_micro_usd BETWEEN 0 AND charged_micro_usd),
  shortfall_micro_usd INTEGER NOT NULL CHECK (shortfall_micro_usd >= 0),
  fee_micro_usd INTEGER NOT NULL CHECK (fee_micro_usd >= 0),
  earned_micro_usd INTEGER NOT NULL CHECK (earned_micro_usd >= 0),
  outcome TEXT NOT NULL CHECK (outcome = 'completed' OR outcome = 'client_disconnected' OR outcome = 'provider_error'),
  metered_by TEXT NOT NULL CHECK (metered_by IN ('provider', 'estimate')),
  created_at INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_tokens BETWEEN 0 AND prompt_tokens - cached_tokens),
  cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_1h_tokens BETWEEN 0 AND cache_write_tokens),
  translated INTEGER NOT NULL DEFAULT 0 CHECK (translated IN (0, 1)),
  own_use INTEGER NOT NULL DEFAULT 0
    CHECK (own_use = 0 OR (own_use = 1 AND cost_micro_usd = 0 AND account_id = provider_account_id)),
  CHECK (cost_micro_usd = charged_micro_usd + shortfall_micro_usd),
  CHECK (charged_micro_usd = fee_micro_usd + earned_micro_usd)
) STRICT;
CREATE INDEX usage_provider_account ON usage (provider_account_id);

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
INSERT INTO usage_indexed VALUES (1, 0, 0);

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

-- Every movement of money that is not a usage charge. The amounts are signed; `debt_micro_usd` is by how much it
-- changed what the account owes.
CREATE TABLE ledger (
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  kind TEXT NOT NULL CHECK (kind IN
    ('top_up', 'adjustment', 'refund', 'refund_reversal', 'withdrawal', 'withdrawal_rejected', 'invite_credit')),
  amount_micro_usd INTEGER NOT NULL,
  withdrawable_micro_usd INTEGER NOT NULL,
  balance_after_micro_usd INTEGER NOT NULL CHECK (balance_after_micro_usd >= 0),
  request_id INTEGER REFERENCES usage (id),
  actor TEXT NOT NULL,
  note TEXT NOT NULL CHECK (length(note) <= 1000),
  created_at INTEGER NOT NULL,
  debt_micro_usd INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX ledger_account ON ledger (account_id);
-- A charge is refunded once.
CREATE UNIQUE INDEX ledger_refund ON ledger (request_id) WHERE kind = 'refund';

-- Debits that the command line asks a running server for, since only that one knows what its requests hold.
-- The server writes the `answer` in the debit's transaction; who asked takes the row away.
CREATE TABLE debit_requests (
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  amount_micro_usd INTEGER NOT NULL CHECK (amount_micro_usd > 0),
  note TEXT NOT NULL,
  actor TEXT NOT NULL,
  answer TEXT CHECK (answer IS NULL OR json_valid(answer)),
  created_at INTEGER NOT NULL
) STRICT;

-- Answers to money writes that carried an Idempotency-Key: written in the same transaction as the money.
CREATE TABLE idempotency (
  actor TEXT NOT NULL,
  key TEXT NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  body_hash BLOB NOT NULL,
  status INTEGER NOT NULL,
  answer TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

-- Idempotency keys of inference requests that were charged: hashes only, kept for a day.
CREATE TABLE request_keys (
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  key_hash BLOB NOT NULL CHECK (length(key_hash) = 32),
  body_hash BLOB NOT NULL CHECK (length(body_hash) = 32),
  request_id INTEGER NOT NULL REFERENCES usage (id),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (account_id, key_hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_keys_age ON request_keys (created_at);

-- Who did what, when. Append-only.
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL CHECK (json_valid(detail)),
  created_at INTEGER NOT NULL
) STRICT;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT raise(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT raise(ABORT, 'events are append-only'); END;

-- Earnings that an account asked to be paid out. The money left its balance at once (`ledger_id`); a rejected
-- one came back (`returned_ledger_id`). `reduced_micro_usd` is what refunds took back before it was decided; the
-- amount is what is left. `reference` is what the admin notes of the payment.
CREATE TABLE withdrawals (
  id INTEGER PRIMARY KEY,
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  amount_micro_usd INTEGER NOT NULL CHECK (amount_micro_usd > 0),
  note TEXT NOT NULL CHECK (length(note) <= 1000),
  status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'rejected')),
  ledger_id INTEGER NOT NULL UNIQUE REFERENCES ledger (id),
  returned_ledger_id INTEGER UNIQUE REFERENCES ledger (id),
  created_at INTEGER NOT NULL,
  decided_at INTEGER,
  decided_by TEXT,
  reason TEXT CHECK (length(reason) <= 1000),
  reference TEXT CHECK (length(reference) <= 1000),
  reduced_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (reduced_micro_usd >= 0),
  CHECK ((status = 'pending') = (decided_at IS NULL)),
  CHECK ((status = 'pending') = (decided_by IS NULL)),
  CHECK ((status = 'rejected') = (returned_ledger_id IS NOT NULL))
) STRICT;
CREATE INDEX withdrawals_account ON withdrawals (account_id);

-- Codes that credit each account that redeems one. A removed code credits nobody any more.
CREATE TABLE invite_codes (
  id INTEGER PRIMARY KEY,
  code TEXT NOT NULL UNIQUE CHECK (length(code) BETWEEN 1 AND 64),
  amount_micro_usd INTEGER NOT NULL CHECK (amount_micro_usd > 0),
  max_redemptions INTEGER NOT NULL CHECK (max_redemptions > 0),
  redeemed INTEGER NOT NULL DEFAULT 0 CHECK (redeemed BETWEEN 0 AND max_redemptions),
  expires_at INTEGER,
  note TEXT NOT NULL CHECK (length(note) <= 1000),
  actor TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  removed_at INTEGER
) STRICT;

-- Who redeemed which code: once an account.
CREATE TABLE invite_redemptions (
  invite_id INTEGER NOT NULL REFERENCES invite_codes (id),
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  ledger_id INTEGER NOT NULL UNIQUE REFERENCES ledger (id),
  created_at INTEGER NOT NULL,
  PRIMARY KEY (invite_id, account_id)
) STRICT, WITHOUT ROWID;

-- What needs somebody's attention, written in the transaction of what caused it, in this order. `subject` is what it is
-- about: an account's id, a provider's, or nothing. The oldest go: src/store/tables/alerts.rs.
CREATE TABLE alerts (
  seq INTEGER PRIMARY KEY,
  id INTEGER NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL CHECK (json_valid(detail)),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX alerts_subject ON alerts (subject, kind, created_at);

-- Where an alert goes: to the operator's webhook, to the operator by e-mail, to the account's holder by e-mail. Each
-- channel delivers in the order of writing; one that `lets_pass` others was itself what the receiver would not take.
CREATE TABLE alert_deliveries (
  channel TEXT NOT NULL CHECK (channel IN ('webhook', 'email', 'holder')),
  alert_seq INTEGER NOT NULL REFERENCES alerts (seq) ON DELETE CASCADE,
  state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
  tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
  next_at INTEGER NOT NULL,
  lets_pass INTEGER NOT NULL DEFAULT 0 CHECK (lets_pass IN (0, 1)),
  error TEXT,
  done_at INTEGER,
  PRIMARY KEY (channel, alert_seq),
  CHECK ((state = 'waiting') = (done_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_deliveries_waiting ON alert_deliveries (channel, alert_seq) WHERE state = 'waiting';
CREATE INDEX alert_deliveries_alert ON alert_deliveries (alert_seq);

-- The channels that are on. `settings` holds their secrets, too: a webhook's, a mail server's password (or
-- `env:VARIABLE`). The kinds in `muted` are written, and go nowhere.
CREATE TABLE alert_channels (
  channel TEXT PRIMARY KEY CHECK (channel IN ('webhook', 'email', 'holder')),
  settings TEXT NOT NULL CHECK (json_valid(settings)),
  muted TEXT NOT NULL CHECK (json_valid(muted))
) STRICT, WITHOUT ROWID;

-- What is wrong right now and was told, so that it is told once, whatever restarts meanwhile.
CREATE TABLE alert_states (
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;

-- The published prices.
INSERT INTO prices (id, model, display_name, input_price, output_price, created_at, created_by) VALUES
  (1, 'mlx-community/gemma-4-26b-a4b-it-8bit', 'Gemma 4 26B', 65000, 200000, 0, 'published'),
  (2, 'qwen3.5-27b-claude-opus-8bit', 'Qwen3.5 27B', 100000, 780000, 0, 'published'),
  (3, 'mlx-community/Qwen3.5-122B-A10B-8bit', 'Qwen3.5 122B', 130000, 1040000, 0, 'published'),
  (4, 'mlx-community/MiniMax-M2.5-8bit', 'MiniMax M2.5', 60000, 500000, 0, 'published');
