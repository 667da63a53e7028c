ALTER TABLE accounts ADD COLUMN alert_below_micro_usd INTEGER CHECK (alert_below_micro_usd > 0);

CREATE TABLE alerts (
  seq INTEGER PRIMARY KEY,
  id INTEGER NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL CHECK (json_valid(detail)),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX alerts_subject ON alerts (subject, kind, created_at);

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

CREATE TABLE alert_channels (
  channel TEXT PRIMARY KEY CHECK (channel IN ('webhook', 'email', 'holder')),
  settings TEXT NOT NULL CHECK (json_valid(settings)),
  muted TEXT NOT NULL CHECK (json_valid(muted))
) STRICT, WITHOUT ROWID;

CREATE TABLE alert_states (
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  since INTEGER NOT NULL,
  PRIMARY KEY (kind, subject)
) STRICT, WITHOUT ROWID;
