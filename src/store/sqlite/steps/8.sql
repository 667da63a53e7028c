-- Which requests were translated, for a provider that speaks chat alone.
ALTER TABLE usage ADD COLUMN translated INTEGER NOT NULL DEFAULT 0 CHECK (translated IN (0, 1));
