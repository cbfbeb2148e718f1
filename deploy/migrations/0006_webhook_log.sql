-- Requests that outside systems make to a tenant's inbound webhook, kept for a time where the
-- tenant has switched that on: sizes, and the first bytes of what came and what was answered.

CREATE TABLE access.webhook_log_switch (
    tenant_id  integer PRIMARY KEY REFERENCES ledger.tenant,
    enabled    boolean NOT NULL,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL
);

CREATE TABLE access.webhook_log (
    tenant_id      integer NOT NULL,
    log_id         bigint NOT NULL,
    received_at    timestamptz NOT NULL,
    key_id         bigint NOT NULL,
    path           text NOT NULL,
    status_code    smallint NOT NULL,
    duration_ms    integer NOT NULL,
    request_bytes  bigint NOT NULL,
    response_bytes bigint NOT NULL,
    ip_address     text NOT NULL,
    request_head   text NOT NULL,
    response_head  text NOT NULL,
    PRIMARY KEY (tenant_id, log_id)
);
CREATE INDEX webhook_log_by_time ON access.webhook_log (tenant_id, received_at, log_id);

ALTER TABLE access.webhook_log_switch ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE access.webhook_log        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON access.webhook_log_switch USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON access.webhook_log        USING (tenant_id = (SELECT ledger.current_tenant()));
GRANT SELECT, INSERT, UPDATE ON access.webhook_log_switch TO stockledger_app;
GRANT SELECT, INSERT, DELETE ON access.webhook_log TO stockledger_app;
