-- Who may use a tenant. Credentials are ordinary rows, not events; that one was made or
-- revoked is an event too. Only hashes are kept, of keys and of passwords.

CREATE SCHEMA access;
GRANT USAGE ON SCHEMA access TO stockledger_app;

CREATE TABLE access.app_user (
    tenant_id     integer NOT NULL REFERENCES ledger.tenant,
    user_id       bigint NOT NULL,
    name          text NOT NULL,
    email         text NOT NULL,
    password_hash text NOT NULL,
    role          text NOT NULL CHECK (role IN ('owner', 'admin', 'manager', 'staff')),
    is_active     boolean NOT NULL DEFAULT true,
    created_at    timestamptz NOT NULL,
    last_login_at timestamptz,
    PRIMARY KEY (tenant_id, user_id),
    UNIQUE (tenant_id, email)
);

-- Signing in names no tenant, so an address must lead to one. Only its SHA-256 is here, and
-- only access.tenant_of_login reads it.
CREATE TABLE access.login_directory (
    email_digest bytea PRIMARY KEY CHECK (length(email_digest) = 32),
    tenant_id    integer NOT NULL REFERENCES ledger.tenant,
    user_id      bigint NOT NULL
);

CREATE TABLE access.api_key (
    tenant_id    integer NOT NULL REFERENCES ledger.tenant,
    key_id       bigint NOT NULL,
    name         text NOT NULL,
    key_prefix   text NOT NULL,
    key_hash     bytea NOT NULL CHECK (length(key_hash) = 32),
    permissions  text[] NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    PRIMARY KEY (tenant_id, key_id),
    UNIQUE (tenant_id, key_hash)
);

CREATE TABLE access.api_key_log (
    tenant_id        integer NOT NULL,
    log_id           bigint NOT NULL,
    key_id           bigint NOT NULL,
    method           text NOT NULL,
    path             text NOT NULL,
    status_code      smallint NOT NULL,
    response_time_ms integer NOT NULL,
    ip_address       text NOT NULL,
    created_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, log_id)
);
CREATE INDEX api_key_log_by_age ON access.api_key_log USING brin (created_at);

ALTER TABLE access.app_user        ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE access.login_directory ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE access.api_key         ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE access.api_key_log     ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

CREATE POLICY own_tenant ON access.app_user        USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON access.login_directory USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON access.api_key         USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY own_tenant ON access.api_key_log     USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY administration ON access.login_directory FOR SELECT TO stockledger_owner USING (true);

GRANT SELECT, INSERT, UPDATE ON access.app_user TO stockledger_app;
GRANT INSERT ON access.login_directory TO stockledger_app;
GRANT SELECT, INSERT, UPDATE ON access.api_key TO stockledger_app;
GRANT SELECT, INSERT, DELETE ON access.api_key_log TO stockledger_app;

CREATE FUNCTION access.tenant_of_login(digest bytea) RETURNS TABLE (tenant_id integer, user_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
BEGIN ATOMIC
    SELECT d.tenant_id, d.user_id FROM access.login_directory d WHERE d.email_digest = digest;
END;

-- Raised inside the transaction of a read, so that a revoked credential is refused at once by
-- every process, with no extra round trip.
CREATE FUNCTION access.require_key(id bigint) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM access.api_key k
        WHERE k.tenant_id = ledger.current_tenant() AND k.key_id = id AND k.revoked_at IS NULL
    ) THEN
        RAISE EXCEPTION 'this API key is revoked' USING ERRCODE = 'invalid_authorization_specification';
    END IF;
END $$;

CREATE FUNCTION access.require_user(id bigint) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM access.app_user u
        WHERE u.tenant_id = ledger.current_tenant() AND u.user_id = id AND u.is_active
    ) THEN
        RAISE EXCEPTION 'this user is not active' USING ERRCODE = 'invalid_authorization_specification';
    END IF;
END $$;
