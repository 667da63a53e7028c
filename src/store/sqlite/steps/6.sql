-- How many requests an account may have running at once for a model.

ALTER TABLE prices ADD COLUMN max_running INTEGER CHECK (max_running > 0);
