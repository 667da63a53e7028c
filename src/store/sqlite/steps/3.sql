-- The certificates of a private authority that is trusted for a provider, PEM.
ALTER TABLE providers ADD COLUMN ca_pem TEXT;
