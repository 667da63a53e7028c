-- Prices of cache writes, how much was written, and what a provider may be asked to do beside generating.
ALTER TABLE prices ADD COLUMN cache_write_price INTEGER CHECK (cache_write_price BETWEEN 0 AND 1000000000000);
ALTER TABLE prices ADD COLUMN cache_write_1h_price INTEGER CHECK (cache_write_1h_price BETWEEN 0 AND 1000000000000);
ALTER TABLE providers ADD COLUMN allow TEXT NOT NULL DEFAULT '';
ALTER TABLE provider_endpoints ADD COLUMN output_fields TEXT;
ALTER TABLE usage ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_tokens BETWEEN 0 AND prompt_tokens - cached_tokens);
ALTER TABLE usage ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_1h_tokens BETWEEN 0 AND cache_write_tokens);
