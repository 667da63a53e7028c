-- Debits that the command line asks a running server for.

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
