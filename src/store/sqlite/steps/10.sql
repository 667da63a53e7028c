-- Machines that join: what a key allows of them, and whose rows are theirs.

ALTER TABLE keys ADD COLUMN max_machines INTEGER CHECK (max_machines > 0);
ALTER TABLE keys ADD COLUMN holds_machines INTEGER NOT NULL DEFAULT 0;
ALTER TABLE providers ADD COLUMN joined_with INTEGER REFERENCES keys (id);
ALTER TABLE providers ADD COLUMN joined_as TEXT;
