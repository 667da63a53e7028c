-- How many requests may run at once: of an account for a model, and at a server as it says itself.

ALTER TABLE prices ADD COLUMN max_running INTEGER CHECK (max_running > 0);
ALTER TABLE provider_probes ADD COLUMN places INTEGER CHECK (places > 0);
