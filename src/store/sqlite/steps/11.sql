-- A list of more than two values in a CHECK is made a table of at each row that is written, in memory, at the cost of
-- writing three more rows. The rows that are there obey the new text as they did the old one, so only the text is
-- written: see "Making Other Kinds Of Table Schema Changes" in https://sqlite.org/lang_altertable.html.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(
  sql,
  'CHECK (outcome IN (''completed'', ''client_disconnected'', ''provider_error''))',
  'CHECK (outcome = ''completed'' OR outcome = ''client_disconnected'' OR outcome = ''provider_error'')'
) WHERE type = 'table' AND name = 'usage';
PRAGMA writable_schema = RESET;
-- Tells other connections that the schema is another one.
CREATE TABLE told (x);
DROP TABLE told;
