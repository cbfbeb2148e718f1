-- The log: tenants, events, the head that sequences them, idempotency and snapshots.
--
-- stockledger_owner owns everything and runs migrations; stockledger_app is what the service
-- logs in as. Every table is keyed by tenant first and row-level security holds each
-- transaction to the one tenant that it set with ledger.tenant; with none set it sees no row.

CREATE SCHEMA ledger;
GRANT USAGE ON SCHEMA ledger TO stockledger_app;

CREATE FUNCTION ledger.current_tenant() RETURNS integer
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN nullif(current_setting('ledger.tenant', true), '')::integer;

CREATE TABLE ledger.tenant (
    tenant_id           integer PRIMARY KEY CHECK (tenant_id > 0),
    slug                text NOT NULL UNIQUE CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name                text NOT NULL,
    time_zone           text NOT NULL DEFAULT 'UTC',
    inventory_system_id uuid NOT NULL UNIQUE,
    created_at          timestamptz NOT NULL
);

-- One row a tenant: its only sequencer. A writer locks it, appends at position + 1 and moves
-- it, all in one transaction; so positions have no gap and appear in commit order (I2).
-- frontier holds the roots of the perfect subtrees of the Merkle tree, largest first
-- (RFC 9162); counters the last id given out of each kind.
CREATE TABLE ledger.head (
    tenant_id   integer PRIMARY KEY REFERENCES ledger.tenant,
    position    bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    root        bytea NOT NULL,
    frontier    bytea[] NOT NULL DEFAULT '{}',
    counters    jsonb NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL
) WITH (fillfactor = 10);

-- data and meta are json, not jsonb: json keeps the exact text that was hashed.
CREATE TABLE ledger.event (
    tenant_id      integer NOT NULL,
    position       bigint NOT NULL CHECK (position > 0),
    stream         text COLLATE "C" NOT NULL,
    version        bigint NOT NULL CHECK (version > 0),
    type           text COLLATE "C" NOT NULL,
    schema_version smallint NOT NULL CHECK (schema_version > 0),
    data           json NOT NULL,
    meta           json NOT NULL,
    effective_at   timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL,
    leaf_hash      bytea NOT NULL CHECK (length(leaf_hash) = 32),
    PRIMARY KEY (tenant_id, position),
    UNIQUE (tenant_id, stream, version)
);

CREATE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger.event is append-only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Record a correcting event, such as MovementReversed, instead.';
END $$;

CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE ON ledger.event
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE TRIGGER event_no_truncate BEFORE TRUNCATE ON ledger.event
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- A response is stored with the events it tells of (I3). response and request are the exact
-- bytes, compressed with zlib where *_compressed says so.
CREATE TABLE ledger.idempotency (
    tenant_id           integer NOT NULL,
    key                 text COLLATE "C" NOT NULL,
    fingerprint         bytea NOT NULL,
    request             bytea NOT NULL,
    request_compressed  boolean NOT NULL,
    status              smallint NOT NULL,
    response            bytea NOT NULL,
    response_compressed boolean NOT NULL,
    position            bigint NOT NULL,
    created_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, key)
);
CREATE INDEX idempotency_by_age ON ledger.idempotency USING brin (created_at);

-- A decider's state as of a stream's version, so that a long stream is not replayed (it can
-- be dropped and made again from the events at any time).
CREATE TABLE ledger.snapshot (
    tenant_id     integer NOT NULL,
    stream        text COLLATE "C" NOT NULL,
    version       bigint NOT NULL,
    state_version smallint NOT NULL,
    state         bytea NOT NULL,
    PRIMARY KEY (tenant_id, stream)
);

ALTER TABLE ledger.tenant      ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.head        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.event       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.idempotency ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE ledger.snapshot    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON ledger.tenant      USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON ledger.head        USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON ledger.event       USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON ledger.idempotency USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON ledger.snapshot    USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY administration ON ledger.tenant TO stockledger_owner USING (true);

GRANT SELECT ON ledger.tenant TO stockledger_app;
GRANT SELECT, UPDATE ON ledger.head TO stockledger_app;
GRANT SELECT, INSERT ON ledger.event TO stockledger_app;
GRANT SELECT, INSERT, DELETE ON ledger.idempotency TO stockledger_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ledger.snapshot TO stockledger_app;

-- What the service's own loops (housekeeping, following projections) go through.
CREATE FUNCTION ledger.tenant_ids() RETURNS SETOF integer
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
BEGIN ATOMIC
    SELECT tenant_id FROM ledger.tenant ORDER BY tenant_id;
END;

-- A tenant begins with an empty tree, whose root is SHA-256 of nothing (RFC 9162, 2.1.1).
CREATE FUNCTION ledger.create_tenant(
    slug text, name text, time_zone text, inventory_system_id uuid, created_at timestamptz
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    new_id integer;
    before text := current_setting('ledger.tenant', true);
BEGIN
    LOCK TABLE ledger.tenant IN SHARE ROW EXCLUSIVE MODE;
    SELECT coalesce(max(t.tenant_id), 0) + 1 INTO new_id FROM ledger.tenant t;
    PERFORM set_config('ledger.tenant', new_id::text, true);
    INSERT INTO ledger.tenant VALUES (new_id, slug, name, time_zone, inventory_system_id, created_at);
    INSERT INTO ledger.head (tenant_id, root, recorded_at)
        VALUES (new_id, sha256(''::bytea), created_at);
    PERFORM set_config('ledger.tenant', coalesce(before, ''), true);
    RETURN new_id;
END $$;
REVOKE EXECUTE ON FUNCTION ledger.create_tenant FROM PUBLIC;
