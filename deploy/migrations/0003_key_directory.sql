-- A request's API key names no tenant, so the key must lead to one. Only its SHA-256 is here,
-- and only access.tenant_of_key reads it. A trigger keeps it in step with access.api_key.

CREATE TABLE access.key_directory (
    key_hash  bytea PRIMARY KEY CHECK (length(key_hash) = 32),
    tenant_id integer NOT NULL REFERENCES ledger.tenant,
    key_id    bigint NOT NULL
);

ALTER TABLE access.key_directory ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON access.key_directory USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY administration ON access.key_directory FOR SELECT TO stockledger_owner USING (true);
GRANT INSERT ON access.key_directory TO stockledger_app;

CREATE FUNCTION access.list_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access.key_directory (key_hash, tenant_id, key_id)
        VALUES (NEW.key_hash, NEW.tenant_id, NEW.key_id);
    RETURN NULL;
END $$;
CREATE TRIGGER list_key AFTER INSERT ON access.api_key
    FOR EACH ROW EXECUTE FUNCTION access.list_key();

CREATE FUNCTION access.tenant_of_key(digest bytea) RETURNS TABLE (tenant_id integer, key_id bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
BEGIN ATOMIC
    SELECT d.tenant_id, d.key_id FROM access.key_directory d WHERE d.key_hash = digest;
END;
