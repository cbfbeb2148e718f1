-- Who reads the schema `analysis`: each reader is a role of the database's own, and this says of
-- which tenant. The views look it up by the name that was logged in with, which no setting changes.
--
-- The schema, its functions and its views are made by projections.star_views, beside the read
-- models that they show; `analysis_views` tells which text of them is in place.

CREATE TABLE access.analyst (
    tenant_id  integer NOT NULL REFERENCES ledger.tenant,
    role_name  name NOT NULL,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    PRIMARY KEY (tenant_id, role_name),
    UNIQUE (role_name)
);

ALTER TABLE access.analyst ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON access.analyst USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY administration ON access.analyst TO stockledger_owner USING (true);

CREATE TABLE access.analysis_views (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    digest   text NOT NULL
);
ALTER TABLE access.analysis_views ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY administration ON access.analysis_views TO stockledger_owner USING (true);

-- What the service calls, and nobody else does.
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger, access FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger, access TO stockledger_app;
REVOKE EXECUTE ON FUNCTION ledger.create_tenant FROM stockledger_app;
