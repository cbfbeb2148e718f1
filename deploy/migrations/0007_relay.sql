-- How far the relay to NATS JetStream is, for each tenant, and which relay is at it.
--
-- The stream itself says where to go on from; this is what is told of it while NATS is away, and
-- the lease by which one relay at a time is at work. Counters only ever grow.

CREATE SCHEMA relay;
GRANT USAGE ON SCHEMA relay TO stockledger_app;

CREATE TABLE relay.checkpoint (
    tenant_id    integer PRIMARY KEY REFERENCES ledger.tenant,
    position     bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    published    bigint NOT NULL DEFAULT 0 CHECK (published >= 0),
    failures     bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    holder       text NOT NULL,
    held_until   timestamptz NOT NULL,
    is_connected boolean NOT NULL DEFAULT false,
    stopped      text
);

ALTER TABLE relay.checkpoint ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON relay.checkpoint USING (tenant_id = (SELECT ledger.current_tenant()));
GRANT SELECT, INSERT, UPDATE ON relay.checkpoint TO stockledger_app;
