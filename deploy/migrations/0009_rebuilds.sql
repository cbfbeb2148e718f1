-- Which read models are installed, where a writer that holds the head sees it; and the rebuilds
-- that were asked for.
--
-- A release writes its inline read models in the transaction that appends. `models` names their
-- versions: whoever puts other versions in place changes it in every head, while it holds them
-- all, so that a process of the release before can append nothing any more.

CREATE TABLE ledger.read_models (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    models    text NOT NULL
);

CREATE FUNCTION ledger.installed_models() RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
BEGIN ATOMIC
    SELECT coalesce((SELECT models FROM ledger.read_models), '');
END;

-- What heads there are get theirs when the read models of this release are installed.
ALTER TABLE ledger.head ADD COLUMN models text NOT NULL DEFAULT '';
ALTER TABLE ledger.head ALTER COLUMN models SET DEFAULT ledger.installed_models();

-- A rebuild concerns the tables of all tenants; its row belongs to the tenant that asked.
-- `beat_at` is moved by the process that does it, for as long as it lives.
CREATE TABLE ledger.rebuild (
    tenant_id         integer NOT NULL REFERENCES ledger.tenant,
    rebuild_id        bigint NOT NULL CHECK (rebuild_id > 0),
    projections       text[] NOT NULL,
    replace_different boolean NOT NULL,
    requested_by      text NOT NULL,
    requested_at      timestamptz NOT NULL,
    state             text NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    step              text,
    events_done       bigint NOT NULL DEFAULT 0,
    events_total      bigint,
    started_at        timestamptz,
    beat_at           timestamptz,
    finished_at       timestamptz,
    tables            json,
    reason            text,
    PRIMARY KEY (tenant_id, rebuild_id)
);

ALTER TABLE ledger.rebuild ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own_tenant ON ledger.rebuild USING (tenant_id = (SELECT ledger.current_tenant()));
GRANT SELECT, INSERT, UPDATE ON ledger.rebuild TO stockledger_app;
