-- A key may get a new secret while the one before it stays good for a while. The secrets of a
-- key are counted from 0; its credential is the key's id and, 40 bits up, its secret's number,
-- so that a request tells which of them it came with.

ALTER TABLE access.api_key
    ADD COLUMN generation integer NOT NULL DEFAULT 0,
    ADD COLUMN rotated_at timestamptz,
    ADD COLUMN previous_hash bytea CHECK (length(previous_hash) = 32),
    ADD COLUMN previous_valid_until timestamptz,
    ADD CHECK ((previous_hash IS NULL) = (previous_valid_until IS NULL));
CREATE UNIQUE INDEX api_key_by_previous_hash ON access.api_key (tenant_id, previous_hash)
    WHERE previous_hash IS NOT NULL;

CREATE TRIGGER list_new_secret AFTER UPDATE OF key_hash ON access.api_key
    FOR EACH ROW WHEN (NEW.key_hash IS DISTINCT FROM OLD.key_hash)
    EXECUTE FUNCTION access.list_key();

-- Asked in the transaction of every read and write, by the database's clock: a secret that has
-- ended is refused at once by every process. In PL/pgSQL, which keeps the plan.
CREATE FUNCTION access.is_good_key(credential bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM access.api_key k
        WHERE k.tenant_id = ledger.current_tenant()
          AND k.key_id = credential & ((1::bigint << 40) - 1)
          AND k.revoked_at IS NULL
          AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
          AND (k.generation = credential >> 40
               OR (k.generation = (credential >> 40) + 1
                   AND k.previous_valid_until > clock_timestamp()))
    );
END $$;

CREATE OR REPLACE FUNCTION access.require_key(id bigint) RETURNS void LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT access.is_good_key(id) THEN
        RAISE EXCEPTION 'this API key is no longer good' USING ERRCODE = 'invalid_authorization_specification';
    END IF;
END $$;
