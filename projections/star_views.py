"""The schema ``analysis``: views for analysts on the read models, all as of one position.

Each reader logs in as a role of its own (`deploy.commands.analyst`), and ``access.analyst`` says
of which tenant. What holds a reader to that tenant, whatever it sets or asks:

- it may read the views and call the functions here, and nothing else of ours;
- ``analysis.tenant()`` goes by ``session_user``, which only a superuser can change;
- the views belong to a role that row-level security holds to that same tenant (a restrictive
  policy on every table), besides the condition in each view;
- they are security barriers, so that no condition of the reader's sees a row before ours has.

For the service's own sessions, whose role is ``stockledger_app``, the tenant is the transaction's.

The views are dropped before a table below them is, and made again in the same transaction.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from projections.projection import Connection
from projections.star_dimensions import DIMENSIONS
from projections.star_facts import FACTS
from projections.star_trade import TRADE
from projections.star_value import VALUE
from projections.star_view import PARTS, SCHEMA, View

VIEWS: Final[tuple[View, ...]] = tuple(
    sorted((*DIMENSIONS, *FACTS, *TRADE, *VALUE), key=lambda view: view.name)
)
OWNER: Final = "stockledger_analysis"
"""Whom the views and functions belong to: a role that nobody logs in as."""
READERS: Final = "stockledger_reader"
"""What every reader is a member of: who may read the views."""
TABLES: Final[tuple[str, ...]] = (
    "ledger.event",
    "projections.checkpoint",
    "projections.movement",
    "projections.star_stock_level",
    "projections.star_reservation",
    "projections.star_product",
    "projections.star_location",
    "projections.star_category",
    "projections.star_supplier",
    "projections.star_customer",
    "projections.star_sales_order",
    "projections.star_order_line",
    "projections.star_order_fulfilment",
    "projections.star_order_return",
    "projections.star_purchase_order",
    "projections.star_purchase_line",
    "projections.star_purchase_receipt",
    "projections.star_purchase_return",
    "projections.stock_by_day",
    "projections.sales_day",
    "projections.demand",
    "projections.cost_movement",
    "projections.cost_day",
    "projections.cost_removal",
    "projections.cost_standard",
    "projections.cost_average",
    "projections.cost_product",
    "projections.cost_books",
)
"""What the views rest on; `OWNER` may read these, and of each the reader's tenant alone."""

_POSITION_ABOUT: Final = (
    "The position of the log that every view shows in this transaction: all events up to it, and "
    "none behind it."
)
_TENANT_ABOUT: Final = "The tenant whose rows the session sees; null for none."

log = structlog.get_logger(__name__)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


async def roles_are_there(connection: Connection) -> bool:
    """Tell whether the roles that the schema needs have been made, and the login may use them."""
    return await connection.fetchval(
        """
        SELECT count(*) = 2 AND coalesce(bool_or(pg_has_role(session_user, oid, 'SET'))
                                         FILTER (WHERE rolname = $1), false)
        FROM pg_roles WHERE rolname IN ($1, $2)
        """,
        OWNER,
        READERS,
    )


async def drop_views(connection: Connection) -> None:
    """Take the views away, as the owner, in a transaction that will change what is below them."""
    await connection.execute(
        "".join(
            f"DROP VIEW IF EXISTS {SCHEMA}.{view} CASCADE;" for view in await _found(connection)
        )
        + "DELETE FROM access.analysis_views"
    )


async def _found(connection: Connection) -> Sequence[str]:
    rows = await connection.fetch(
        "SELECT viewname FROM pg_views WHERE schemaname = $1 ORDER BY 1", SCHEMA
    )
    return [row[0] for row in rows]


async def create_views(connection: Connection) -> bool:
    """Make the schema, its functions and its views, as the owner, in the caller's transaction.

    Does nothing when they are there as they should be, or when the database lacks the roles they
    need, which `deploy.database` makes where it may; returns whether they are there now.
    """
    if not await roles_are_there(connection):
        log.warning("analysis_left_out", reason=f"there are no roles {OWNER} and {READERS} for us")
        return False
    if await connection.fetchval(
        "SELECT bool_or(to_regclass(name) IS NULL) FROM unnest($1::text[]) AS t (name)", TABLES
    ):
        return False
    script = _script()
    digest = hashlib.sha256(script.encode()).hexdigest()
    present = await connection.fetchval("SELECT digest FROM access.analysis_views")
    if present != digest:
        await drop_views(connection)
        await connection.execute(script)
        await connection.execute("INSERT INTO access.analysis_views (digest) VALUES ($1)", digest)
    return True


def _script() -> str:
    """Return all that makes the schema, whatever of it but views is there already.

    Functions and views are made by their owner: nobody else may replace them.
    """
    return "\n".join(
        [
            _SCHEMA,
            f"SET LOCAL ROLE {OWNER};",
            _FUNCTIONS,
            "SET LOCAL ROLE stockledger_owner;",
            *(_protect(table) for table in TABLES),
            f"SET LOCAL ROLE {OWNER};",
            *map(_view, VIEWS),
            "SET LOCAL ROLE stockledger_owner;",
        ]
    )


_SCHEMA: Final = f"""
    CREATE SCHEMA IF NOT EXISTS {SCHEMA};
    COMMENT ON SCHEMA {SCHEMA} IS
        'What analysts read: one tenant''s stock, orders, value and events, as of one position.';
    GRANT USAGE ON SCHEMA {SCHEMA} TO {OWNER}, {READERS}, stockledger_app;
    GRANT CREATE ON SCHEMA {SCHEMA} TO {OWNER};
    GRANT USAGE ON SCHEMA ledger, access, projections TO {OWNER};
    GRANT SELECT (tenant_id, role_name, revoked_at) ON access.analyst TO {OWNER};
    DROP POLICY IF EXISTS own_role ON access.analyst;
    CREATE POLICY own_role ON access.analyst FOR SELECT TO {OWNER}
        USING (role_name = session_user);
    GRANT EXECUTE ON FUNCTION ledger.current_tenant TO {OWNER}, {READERS};
"""

_FUNCTIONS: Final = f"""
    CREATE OR REPLACE FUNCTION {SCHEMA}.tenant() RETURNS integer
        LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''
    BEGIN ATOMIC
        SELECT coalesce(
            (SELECT a.tenant_id FROM access.analyst a
             WHERE a.role_name = session_user AND a.revoked_at IS NULL),
            CASE WHEN pg_has_role(session_user, 'stockledger_app', 'MEMBER')
                 THEN ledger.current_tenant() END
        );
    END;

    CREATE OR REPLACE FUNCTION {SCHEMA}.position() RETURNS bigint
        LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''
    BEGIN ATOMIC
        -- They move together; where one is held up, the position is that of the others.
        SELECT coalesce(c.position, 0)
        FROM unnest('{{{", ".join(PARTS)}}}'::text[]) AS p (name)
        LEFT JOIN projections.checkpoint c
            ON c.tenant_id = {SCHEMA}.tenant() AND c.name = p.name
        WHERE {SCHEMA}.tenant() IS NOT NULL
        GROUP BY coalesce(c.position, 0) ORDER BY count(*) DESC, 1 LIMIT 1;
    END;

    CREATE OR REPLACE FUNCTION {SCHEMA}.tenant_at_position(names text[]) RETURNS integer
        LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''
    AS $$
    DECLARE
        own integer := {SCHEMA}.tenant();
        shown bigint := {SCHEMA}.position();
        odd record;
    BEGIN
        SELECT p.name, coalesce(c.position, 0) AS position, c.parked_at IS NOT NULL AS is_parked
        INTO odd
        FROM unnest(names) AS p (name)
        LEFT JOIN projections.checkpoint c ON c.tenant_id = own AND c.name = p.name
        WHERE coalesce(c.position, 0) <> shown AND own IS NOT NULL
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'this view rests on %, which is at position %, while the others are '
                'at %', odd.name, odd.position, shown
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = CASE
                    WHEN odd.is_parked THEN 'An event could not be folded. Ask the operator to '
                        'run: stockledger rebuild ' || odd.name
                    ELSE 'They are about to meet; try again in a moment.' END;
        END IF;
        RETURN own;
    END $$;

    COMMENT ON FUNCTION {SCHEMA}.position() IS {_text(_POSITION_ABOUT)};
    COMMENT ON FUNCTION {SCHEMA}.tenant() IS {_text(_TENANT_ABOUT)};
    COMMENT ON FUNCTION {SCHEMA}.tenant_at_position(text[]) IS
        'For the views: the tenant, once the read models named are seen to be at the position.';
    REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} FROM PUBLIC;
    GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {SCHEMA} TO {READERS}, stockledger_app;
"""


def _protect(table: str) -> str:
    """Let the views' owner read a table, and of it the session's tenant alone."""
    return f"""
    GRANT SELECT ON {table} TO {OWNER};
    DO $do$ BEGIN
        IF NOT EXISTS (SELECT FROM pg_policy
                       WHERE polrelid = '{table}'::regclass AND polname = 'analysis_only') THEN
            CREATE POLICY analysis ON {table} FOR SELECT TO {OWNER} USING (true);
            CREATE POLICY analysis_only ON {table} AS RESTRICTIVE FOR SELECT TO {OWNER}
                USING (tenant_id = (SELECT {SCHEMA}.tenant()));
        END IF;
    END $do$;
    """


def _view(view: View) -> str:
    name = f"{SCHEMA}.{view.name}"
    comments = "".join(
        f"COMMENT ON COLUMN {name}.{column.name} IS {_text(column.about)};"
        for column in view.columns
    )
    return f"""
    CREATE VIEW {name} WITH (security_barrier) AS {view.sql};
    COMMENT ON VIEW {name} IS {_text(view.about)};
    {comments}
    GRANT SELECT ON {name} TO {READERS}, stockledger_app;
    """


class Described(NamedTuple):
    """A column of a view as the database tells of it, and what it says of the view."""

    view: str
    view_about: str | None
    name: str
    type: str
    about: str | None


async def described(connection: Connection) -> list[Described]:
    """Return every column of the views, as the database tells of it, in their order."""
    return [Described(*row) for row in await connection.fetch(_DESCRIBED, SCHEMA)]


_DESCRIBED: Final = """
SELECT c.relname AS view, obj_description(c.oid, 'pg_class') AS view_about, a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type, col_description(c.oid, a.attnum) AS about
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = $1::regnamespace AND c.relkind = 'v'
ORDER BY c.relname COLLATE "C", a.attnum
"""
