-- The tree over each log, as far as it has been signed: what proofs are made from, and the
-- checkpoints themselves. All of it follows from the log, but for the signatures.

CREATE SCHEMA proof;
GRANT USAGE ON SCHEMA proof TO stockledger_app;

-- `frontier` is that of the tree over the first `size` events; `log_id` names the log to those who
-- compare checkpoints. `stopped` says why no more are signed.
CREATE TABLE proof.tree (
    tenant_id integer PRIMARY KEY REFERENCES ledger.tenant,
    log_id    uuid NOT NULL DEFAULT gen_random_uuid(),
    size      bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    frontier  bytea[] NOT NULL DEFAULT '{}',
    stopped   text
);

-- The roots of the perfect subtrees of 256, 65,536, … leaves: `number` counts those of one height.
CREATE TABLE proof.node (
    tenant_id integer NOT NULL REFERENCES ledger.tenant,
    height    smallint NOT NULL CHECK (height > 0 AND height % 8 = 0),
    number    bigint NOT NULL CHECK (number >= 0),
    hash      bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (tenant_id, height, number)
);

CREATE TABLE proof.checkpoint (
    tenant_id integer NOT NULL REFERENCES ledger.tenant,
    size      bigint NOT NULL CHECK (size > 0),
    root      bytea NOT NULL CHECK (length(root) = 32),
    note      text NOT NULL,
    keys      text[] NOT NULL,
    signed_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, size)
);

ALTER TABLE proof.tree       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE proof.node       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE proof.checkpoint ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON proof.tree       USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON proof.node       USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON proof.checkpoint USING (tenant_id = (SELECT ledger.current_tenant()));
GRANT SELECT, INSERT, UPDATE ON proof.tree TO stockledger_app;
GRANT SELECT, INSERT ON proof.node, proof.checkpoint TO stockledger_app;
