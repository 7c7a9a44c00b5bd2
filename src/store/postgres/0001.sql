CREATE FUNCTION goldcrest.now() RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;
CREATE TABLE goldcrest.claims (
    name text PRIMARY KEY,
    digest text NOT NULL,
    holder text NOT NULL,
    attempt integer NOT NULL,
    began bigint NOT NULL,
    held_until bigint NOT NULL,
    result text,
    expires bigint NOT NULL
);
CREATE INDEX claims_expire ON goldcrest.claims (expires);
CREATE TABLE goldcrest.streams (name text PRIMARY KEY, last bigint NOT NULL);
CREATE TABLE goldcrest.entries (
    stream text NOT NULL,
    sequence bigint NOT NULL,
    at bigint NOT NULL,
    expires bigint NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (stream, sequence)
);
CREATE INDEX entries_expire ON goldcrest.entries (expires);
CREATE TABLE goldcrest.leases (name text PRIMARY KEY, holder text NOT NULL, held_until bigint NOT NULL);
CREATE TABLE goldcrest.records (
    kind text NOT NULL,
    id text NOT NULL,
    owner text NOT NULL,
    value bytea NOT NULL,
    due bigint,
    expires bigint NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX records_of_owner ON goldcrest.records (kind, owner, id);
CREATE INDEX records_due ON goldcrest.records (kind, due) WHERE due IS NOT NULL;
CREATE INDEX records_expire ON goldcrest.records (expires);
