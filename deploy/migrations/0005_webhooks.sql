-- What is to be sent to webhook endpoints, what came of it, and what it is signed with.
--
-- Endpoints and messages are read models of the log (projections.webhook_endpoint,
-- projections.webhook_message); here is what is no fact of the ledger.

CREATE SCHEMA webhook;
GRANT USAGE ON SCHEMA webhook TO stockledger_app;

-- The newest secret signs; one before it signs beside it until its time is over.
CREATE TABLE webhook.secret (
    tenant_id   integer NOT NULL REFERENCES ledger.tenant,
    endpoint_id bigint NOT NULL,
    number      integer NOT NULL,
    secret      text NOT NULL,
    created_at  timestamptz NOT NULL,
    signs_until timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id, number)
);

-- How far each tenant's messages have become deliveries: moved in the transaction that makes them.
CREATE TABLE webhook.dispatched (
    tenant_id integer PRIMARY KEY REFERENCES ledger.tenant,
    position  bigint NOT NULL CHECK (position >= 0)
);

-- One row an endpoint: who sends to it now, until when, and how it has gone so far. A higher
-- generation tells whoever sends that the queue has changed behind him.
CREATE TABLE webhook.lane (
    tenant_id     integer NOT NULL REFERENCES ledger.tenant,
    endpoint_id   bigint NOT NULL,
    holder        text,
    held_until    timestamptz,
    generation    bigint NOT NULL DEFAULT 0,
    failing_since timestamptz,
    delivered     bigint NOT NULL DEFAULT 0,
    failed        bigint NOT NULL DEFAULT 0,
    parked        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, endpoint_id)
);

-- One row a message and endpoint. Those of one item go out one after the other, by position.
CREATE TABLE webhook.delivery (
    tenant_id     integer NOT NULL,
    endpoint_id   bigint NOT NULL,
    position      bigint NOT NULL,
    n             smallint NOT NULL,
    topic         text NOT NULL,
    item          text COLLATE "C" NOT NULL,
    state         text COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'delivered', 'parked')),
    attempts      smallint NOT NULL DEFAULT 0,
    due_at        timestamptz,
    status        smallint,
    problem       text,
    created_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    PRIMARY KEY (tenant_id, endpoint_id, position, n)
) WITH (fillfactor = 80);
CREATE INDEX delivery_waiting ON webhook.delivery (tenant_id, endpoint_id, position, n)
    WHERE state = 'waiting';
CREATE INDEX delivery_waiting_of_item ON webhook.delivery (tenant_id, endpoint_id, item, position, n)
    WHERE state = 'waiting';
CREATE INDEX delivery_parked ON webhook.delivery (tenant_id, endpoint_id, position, n)
    WHERE state = 'parked';
CREATE INDEX delivery_by_age ON webhook.delivery USING brin (finished_at);

CREATE TABLE webhook.attempt (
    tenant_id   integer NOT NULL,
    endpoint_id bigint NOT NULL,
    position    bigint NOT NULL,
    n           smallint NOT NULL,
    started_at  timestamptz NOT NULL,
    attempt     smallint NOT NULL,
    latency_ms  integer NOT NULL,
    status      smallint,
    answer      text,
    problem     text,
    PRIMARY KEY (tenant_id, endpoint_id, position, n, started_at)
);
CREATE INDEX attempt_by_time ON webhook.attempt (tenant_id, endpoint_id, started_at);
CREATE INDEX attempt_by_age ON webhook.attempt USING brin (started_at);

-- Messages to be sent again: worked off in the background, from a position to another.
CREATE TABLE webhook.replay (
    tenant_id     integer NOT NULL REFERENCES ledger.tenant,
    replay_id     bigint NOT NULL,
    endpoint_id   bigint NOT NULL,
    from_position bigint NOT NULL,
    to_position   bigint NOT NULL,
    done_position bigint NOT NULL,
    messages      bigint NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    PRIMARY KEY (tenant_id, replay_id)
);
CREATE INDEX replay_running ON webhook.replay (tenant_id, replay_id) WHERE finished_at IS NULL;

ALTER TABLE webhook.secret     ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook.dispatched ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook.lane       ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook.delivery   ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook.attempt    ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE webhook.replay     ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON webhook.secret     USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON webhook.dispatched USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON webhook.lane       USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON webhook.delivery   USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON webhook.attempt    USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON webhook.replay     USING (tenant_id = (SELECT ledger.current_tenant()));

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook.secret   TO stockledger_app;
GRANT SELECT, INSERT, UPDATE ON webhook.dispatched       TO stockledger_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook.lane     TO stockledger_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook.delivery TO stockledger_app;
GRANT SELECT, INSERT, DELETE ON webhook.attempt          TO stockledger_app;
GRANT SELECT, INSERT, UPDATE ON webhook.replay           TO stockledger_app;
