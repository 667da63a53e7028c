-- What comparing providers' reports with our own count has found.

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
