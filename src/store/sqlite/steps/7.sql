-- An e-mail address is one account's, whatever its case and composition. Accounts that have one address already keep it.

CREATE INDEX accounts_email ON accounts (email COLLATE NOCASE);
CREATE INDEX accounts_email_wide ON accounts (email) WHERE email GLOB '*[^ -~]*';
