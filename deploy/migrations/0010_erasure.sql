-- What opens personal data. Events and read models hold it sealed; these rows are no events, so
-- they can be deleted, and what they open is then closed for ever.
--
-- Every key is wrapped by a master key that is not in the database: what is left of a deleted row
-- in dead tuples, in the write-ahead log and in backups opens nothing without it.

CREATE TABLE access.subject_key (
    tenant_id   integer NOT NULL REFERENCES ledger.tenant,
    subject     text COLLATE "C" NOT NULL CHECK (subject ~ '^[0-9a-f]{32}$'),
    wrapped_key bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, subject)
);

-- One a tenant, for keyed digests: of e-mail addresses, and of requests with personal data.
CREATE TABLE access.tenant_key (
    tenant_id   integer PRIMARY KEY REFERENCES ledger.tenant,
    wrapped_key bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- E-mail addresses are unique: an address, as a keyed digest, has a random name here, and it is
-- that name which events hold. Without this row the name tells nothing.
CREATE TABLE access.email_name (
    tenant_id  integer NOT NULL REFERENCES ledger.tenant,
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    name       text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, digest),
    UNIQUE (tenant_id, name)
);

ALTER TABLE access.subject_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE access.tenant_key  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE access.email_name  ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON access.subject_key USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON access.tenant_key  USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON access.email_name  USING (tenant_id = (SELECT ledger.current_tenant()));

-- UPDATE is for wrapping anew, when the master key is changed.
GRANT SELECT, INSERT, UPDATE, DELETE ON access.subject_key TO stockledger_app;
GRANT SELECT, INSERT, UPDATE ON access.tenant_key TO stockledger_app;
GRANT SELECT, INSERT, DELETE ON access.email_name TO stockledger_app;
