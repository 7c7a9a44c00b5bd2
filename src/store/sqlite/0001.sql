CREATE TABLE claims (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    holder TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    began INTEGER NOT NULL,
    held_until INTEGER NOT NULL,
    result TEXT,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX claims_expire ON claims (expires);
CREATE TABLE streams (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    stream TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (stream, sequence)
) WITHOUT ROWID;
CREATE INDEX entries_expire ON entries (expires);
CREATE TABLE leases (name TEXT PRIMARY KEY, holder TEXT NOT NULL, held_until INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE records (
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    value BLOB NOT NULL,
    due INTEGER,
    expires INTEGER NOT NULL,
    PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE INDEX records_of_owner ON records (kind, owner, id);
CREATE INDEX records_due ON records (kind, due) WHERE due IS NOT NULL;
CREATE INDEX records_expire ON records (expires);
