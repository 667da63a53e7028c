-- How a provider is spoken to: the header that its key goes into, and whether its reasoning stands in the text.
ALTER TABLE providers ADD COLUMN auth TEXT NOT NULL DEFAULT 'bearer' CHECK (auth IN ('bearer', 'x-api-key'));
ALTER TABLE providers ADD COLUMN think_tags INTEGER NOT NULL DEFAULT 0 CHECK (think_tags IN (0, 1));
