-- Read models as they were at a moment of the past, kept so that they need not be folded again.
--
-- They are in schemas known_1, known_2 … with tables like those of `projections`, which all tenants
-- share as they share those: a tenant has one moment in each. The service may make no schema: a
-- function does it, of what is installed and of nothing that a request says. The tables are not
-- logged: what is in them can be made again from the events.

CREATE SCHEMA known;
GRANT USAGE ON SCHEMA known TO stockledger_app;

-- `folded` is the position up to which the log is folded; `models` names the projections and
-- their versions, whose tables they are.
CREATE TABLE known.snapshot (
    tenant_id    integer NOT NULL REFERENCES ledger.tenant,
    slot         smallint NOT NULL CHECK (slot BETWEEN 1 AND 16),
    position     bigint NOT NULL CHECK (position >= 0),
    as_of        timestamptz,
    models       text NOT NULL,
    state        text NOT NULL CHECK (state IN ('waiting', 'building', 'ready', 'failed')),
    folded       bigint NOT NULL DEFAULT 0,
    requested_at timestamptz NOT NULL,
    read_at      timestamptz NOT NULL,
    ready_at     timestamptz,
    reason       text,
    PRIMARY KEY (tenant_id, slot)
);

ALTER TABLE known.snapshot ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON known.snapshot USING (tenant_id = (SELECT ledger.current_tenant()));
CREATE POLICY administration ON known.snapshot FOR SELECT TO stockledger_owner USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON known.snapshot TO stockledger_app;

-- The one that was asked for first among those that are not ready, of any tenant. `models` is the
-- asking release's: another one's is not for it to make.
CREATE FUNCTION known.wanted(models text) RETURNS TABLE (tenant_id integer, slot smallint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
BEGIN ATOMIC
    SELECT s.tenant_id, s.slot FROM known.snapshot s
    WHERE s.state IN ('waiting', 'building') AND s.models = wanted.models
    ORDER BY s.requested_at, s.tenant_id, s.slot LIMIT 1;
END;

-- Have the tables of some projections in a slot, with nothing of the current tenant in them.
-- Made anew where they are of other models, or where nobody else has anything in them.
CREATE FUNCTION known.prepare(slot integer, models text, projections text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET client_min_messages = warning
AS $$
DECLARE
    tenant integer := ledger.current_tenant();
    place text := 'known_' || slot;
    relation text;
BEGIN
    IF NOT EXISTS (
        SELECT FROM known.snapshot s WHERE s.tenant_id = tenant AND s.slot = prepare.slot
    ) THEN
        RAISE EXCEPTION 'this tenant has no snapshot in slot %', slot USING ERRCODE = 'no_data_found';
    END IF;
    PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('known.prepare'), slot);
    IF EXISTS (
        SELECT FROM known.snapshot s
        WHERE s.slot = prepare.slot AND s.tenant_id <> tenant AND s.models = prepare.models
          AND s.state IN ('building', 'ready')
    ) AND pg_catalog.obj_description(pg_catalog.to_regnamespace(place), 'pg_namespace') = models THEN
        FOR relation IN
            SELECT c.relname FROM pg_catalog.pg_class c
            WHERE c.relnamespace = place::regnamespace AND c.relkind = 'r'
        LOOP
            EXECUTE format('DELETE FROM %I.%I WHERE tenant_id = $1', place, relation) USING tenant;
        END LOOP;
    ELSE
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', place);
        EXECUTE format('CREATE SCHEMA %I', place);
        EXECUTE format('COMMENT ON SCHEMA %I IS %L', place, models);
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO stockledger_app', place);
        FOR relation IN
            SELECT t.name FROM projections.installed i
            CROSS JOIN LATERAL unnest(i.tables) AS t (name)
            WHERE i.name = ANY (projections)
        LOOP
            EXECUTE format(
                'CREATE UNLOGGED TABLE %I.%I (LIKE projections.%I INCLUDING ALL)',
                place, relation, relation
            );
        END LOOP;
        -- Rows that go when the database crashes, as all that is in these tables does.
        EXECUTE format('CREATE UNLOGGED TABLE %I.begun (tenant_id integer PRIMARY KEY)', place);
        EXECUTE format('CREATE UNLOGGED TABLE %I.complete (tenant_id integer PRIMARY KEY)', place);
        FOR relation IN
            SELECT c.relname FROM pg_catalog.pg_class c
            WHERE c.relnamespace = place::regnamespace AND c.relkind = 'r'
        LOOP
            EXECUTE format(
                'ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY',
                place, relation
            );
            EXECUTE format(
                'CREATE POLICY own_tenant ON %I.%I '
                'USING (tenant_id = (SELECT ledger.current_tenant()))', place, relation
            );
            EXECUTE format(
                'GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO stockledger_app', place, relation
            );
        END LOOP;
    END IF;
    EXECUTE format('INSERT INTO %I.begun VALUES ($1)', place) USING tenant;
END $$;

-- Say that all of the log is folded, and let the planner know what there is.
CREATE FUNCTION known.finish(slot integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
    place text := 'known_' || slot;
    relation text;
BEGIN
    IF NOT EXISTS (
        SELECT FROM known.snapshot s
        WHERE s.tenant_id = ledger.current_tenant() AND s.slot = finish.slot
    ) THEN
        RAISE EXCEPTION 'this tenant has no snapshot in slot %', slot USING ERRCODE = 'no_data_found';
    END IF;
    FOR relation IN
        SELECT c.relname FROM pg_catalog.pg_class c
        WHERE c.relnamespace = place::regnamespace AND c.relkind = 'r'
    LOOP
        EXECUTE format('ANALYZE %I.%I', place, relation);
    END LOOP;
    EXECUTE format('INSERT INTO %I.complete VALUES ($1)', place) USING ledger.current_tenant();
END $$;

REVOKE EXECUTE ON FUNCTION known.wanted, known.prepare, known.finish FROM PUBLIC;
GRANT EXECUTE ON FUNCTION known.wanted, known.prepare, known.finish TO stockledger_app;
