"""Invariant I9 for analysts: a hostile reader sees no other tenant's row, by any query.

Two tenants have data, and all that the victim says holds the word CANARY. The attacker logs in as
a reader of its own tenant, and tries what SQL lets anybody try.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import asyncpg
import pytest

from deploy.analysts import create_analyst, list_analysts, revoke_analyst
from deploy.commands.key import make_key
from projections.following import catch_up
from projections.star_views import OWNER, TABLES, VIEWS
from tests.proof.test_tenants_apart import CANARY, _victims
from tests.support.api import Service
from tests.support.postgres import TestServer
from tests.support.tenants import lasting_service, new_tenant

VIEW_NAMES = [view.name for view in VIEWS]
TELLTALE = (CANARY, "VICTIM", "victim", "acme", "Acme")
OURS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"


class Attack(NamedTuple):
    """Where both are: the service, the two tenants, and how the readers log in."""

    service: Service
    victim: int
    attacker: int
    attackers_uri: str
    victims_uri: str

    @asynccontextmanager
    async def reader(self, uri: str | None = None) -> AsyncGenerator[Any]:
        """Give a connection as the attacker's reader."""
        connection = await asyncpg.connect(uri or self.attackers_uri)
        try:
            yield connection
        finally:
            await connection.close()


@pytest.fixture(scope="module")
async def attack(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attack]:
    """A victim with five of everything, an attacker with one product, readers of both."""
    async with lasting_service(postgres, tmp_path_factory.mktemp("analysts")) as victim:
        house = victim.house
        _, key = await make_key(house, victim.tenant_id, "all", ("read", "write"))
        for number in range(1, 6):
            await _victims(victim, key, number)
        attacker = await new_tenant(victim)
        await attacker.stocked(3, "OWN-1")
        for tenant_id in (victim.tenant_id, attacker.tenant_id):
            for projection in house.engine.following:
                await catch_up(house.pool, projection, tenant_id)
        async with house.admin() as connection:
            await connection.execute("ANALYZE")
        yield Attack(
            victim,
            victim.tenant_id,
            attacker.tenant_id,
            await create_analyst(house.address, attacker.tenant_id, "mallory"),
            await create_analyst(house.address, victim.tenant_id, f"{CANARY} reader"),
        )


def telling(rows: Any) -> bool:
    """Tell whether anything in rows is the victim's."""
    text = repr(rows)
    return any(word in text for word in TELLTALE)


async def test_the_victims_own_reader_sees_the_canary(attack: Attack) -> None:
    """So that the tests below can fail: every view has rows of the victim's, most with the word."""
    empty: set[str] = set()
    async with attack.reader(attack.victims_uri) as reader:
        assert await reader.fetchval("SELECT analysis.tenant()") == attack.victim
        shown = {name: await reader.fetch(f"SELECT * FROM {name}") for name in VIEW_NAMES}
        empty = {name for name, rows in shown.items() if not rows}
        assert telling(shown["dim_product"])
        assert telling(shown["event"])
        assert await reader.fetchval("SELECT analysis.position()") == len(shown["event"])
    # What the victim has nothing of.
    assert empty == {
        "demand_by_day", "fulfilment", "fulfilment_line", "purchase_return_line",
        "sales_by_day", "sales_return_line",
    }  # fmt: skip


TRICKS = (
    "SELECT 1",
    "SET ledger.tenant = '{victim}'",
    "SET SESSION ledger.tenant = '{victim}'; SET row_security = on",
    "SET search_path = projections, ledger, access, analysis, public",
    "SET search_path = pg_temp, analysis",
    "SET default_transaction_read_only = off; SET ledger.tenant = '{victim}'",
    "RESET ALL; SET ledger.tenant = '{victim}'",
    "SELECT set_config('ledger.tenant', '{victim}', false)",
    "SET role = none; SET ledger.tenant = '{victim}'",
    "SET enable_seqscan = off; SET enable_material = off; SET ledger.tenant = '{victim}'",
    "SET plan_cache_mode = force_generic_plan; SET from_collapse_limit = 1",
    "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET debug_parallel_query = on",
)


@pytest.mark.parametrize("trick", TRICKS)
async def test_no_setting_shows_the_victims_rows(attack: Attack, trick: str) -> None:
    """Every view, whatever was set before; what it shows is the attacker's own."""
    async with attack.reader() as reader:
        await reader.execute(trick.format(victim=attack.victim))
        assert await reader.fetchval("SELECT analysis.tenant()") == attack.attacker
        for name in VIEW_NAMES:
            rows = await reader.fetch(f"SELECT * FROM analysis.{name}")
            assert not telling(rows), name
        assert [
            tuple(row) for row in await reader.fetch("SELECT sku FROM analysis.dim_product")
        ] == [("OWN-1",)]


@pytest.mark.parametrize("view", VIEW_NAMES)
async def test_no_condition_sees_a_row_before_the_views_own(attack: Attack, view: str) -> None:
    """A condition that fails, or tells, on the victim's rows is never asked of them."""
    query = f"SELECT count(*) FROM analysis.{view} t WHERE "
    async with attack.reader() as reader:
        own = await reader.fetchval(query + "true")
        for condition in (
            f"1 / (CASE WHEN t::text LIKE '%{CANARY}%' THEN 0 ELSE 1 END) = 1",
            "CASE WHEN t::text LIKE '%VICTIM%' THEN t::text::integer ELSE 1 END = 1",
            f"(SELECT 1 / (CASE WHEN t::text ~ '{CANARY}' THEN 0 ELSE 1 END)) = 1",
        ):
            assert await reader.fetchval(query + condition) == own, condition
        plan = await reader.fetch(f"EXPLAIN VERBOSE SELECT * FROM analysis.{view}")
        assert not telling(plan)


REFUSED = (
    "SET ROLE stockledger_app",
    "SET ROLE stockledger_owner",
    "SET ROLE stockledger_analysis",
    "SET ROLE stockledger_reader",
    "SET SESSION AUTHORIZATION stockledger_app",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "SELECT * FROM ledger.event",
    "SELECT * FROM ledger.tenant",
    "SELECT * FROM ledger.head",
    "SELECT * FROM access.analyst",
    "SELECT * FROM access.api_key",
    "SELECT * FROM projections.star_product",
    "SELECT * FROM projections.checkpoint",
    "TABLE projections.movement",
    "SELECT ledger.tenant_ids()",
    "SELECT ledger.current_tenant()",
    "SELECT access.tenant_of_key('x')",
    "SELECT access.tenant_of_login('x')",
    "SELECT starelid FROM pg_statistic",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_user_mapping",
    "SELECT * FROM pg_largeobject",
    "INSERT INTO analysis.dim_product (product_id) VALUES (5)",
    "INSERT INTO projections.product (tenant_id, product_id) VALUES (1, 5)",
    "INSERT INTO ledger.idempotency (tenant_id, key) VALUES (1, 'x')",
    "UPDATE analysis.dim_supplier SET name = 'x'",
    "DELETE FROM analysis.dim_supplier",
    "LOCK TABLE ledger.head",
    "LOCK TABLE projections.movement IN ACCESS SHARE MODE",
    "TRUNCATE projections.movement",
    "CREATE TABLE public.mine (a integer)",
    "CREATE TABLE analysis.mine (a integer)",
    "CREATE TEMPORARY TABLE mine (a integer)",
    "CREATE VIEW analysis.mine AS SELECT 1",
    "CREATE FUNCTION analysis.tell(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE FUNCTION pg_temp.tell(text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
    "CREATE OR REPLACE FUNCTION analysis.tenant() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE EXTENSION IF NOT EXISTS dblink",
    "ALTER VIEW analysis.dim_product RESET (security_barrier)",
    "ALTER ROLE stockledger_reader BYPASSRLS",
    "ALTER TABLE projections.movement DISABLE ROW LEVEL SECURITY",
    "GRANT stockledger_app TO CURRENT_USER",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO '/tmp/stockledger-hostile'",
    "COPY analysis.dim_product FROM PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_advisory_lock(7463109421)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_current_logfile()",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_log_backend_memory_contexts(pg_backend_pid())",
    "SELECT pg_stat_reset()",
    "SELECT pg_logical_slot_get_changes('x', NULL, NULL)",
    "SELECT query_to_xml('TABLE ledger.event', true, false, '')",
    "SELECT table_to_xml('ledger.event', true, false, '')",
    "SELECT database_to_xml(true, false, '')",
    "VACUUM ledger.event",
    "ANALYZE VERBOSE nosuchtable",
    "SELECT analysis.position(1)",
    "DO $$ BEGIN PERFORM 1 FROM ledger.event; END $$",
    "SET row_security = off; SELECT * FROM analysis.event",
    "EXPLAIN SELECT * FROM ledger.event",
    "SELECT nextval('ledger.anything')",
    "CREATE STATISTICS mine ON a, b FROM projections.movement",
    "CREATE POLICY mine ON projections.movement USING (true)",
    "COMMENT ON VIEW analysis.dim_product IS 'mine'",
)


@pytest.mark.parametrize("statement", REFUSED)
async def test_what_a_reader_may_not_do(attack: Attack, statement: str) -> None:
    """Refused, and the refusal tells nothing, with writing switched on as a reader may."""
    async with attack.reader() as reader:
        await reader.execute(
            f"SET default_transaction_read_only = off; SET ledger.tenant = '{attack.victim}'"
        )
        with pytest.raises(asyncpg.PostgresError) as refused:
            await reader.fetch(statement)
        assert not telling(str(refused.value) + str(refused.value.detail))


async def test_no_catalogue_or_statistic_holds_the_victims_values(attack: Attack) -> None:
    """All of pg_catalog and information_schema, while the victim's own queries run."""
    house = attack.service.house
    async with attack.reader() as reader, attack.reader(attack.victims_uri) as busy:
        await busy.execute(f"SET application_name = 'x'; PREPARE secret AS SELECT '{CANARY}'")
        await busy.fetch(f"SELECT * FROM dim_product WHERE name = '{CANARY}'")
        async with house.pool.acquire() as serving:
            await serving.execute(f"SELECT '{CANARY}'")
            relations = await reader.fetch(
                "SELECT c.oid::regclass::text FROM pg_class c "
                "WHERE c.relnamespace IN ('pg_catalog'::regnamespace, "
                "'information_schema'::regnamespace) AND c.relkind IN ('r', 'v')"
            )
            looked_at = 0
            for (relation,) in relations:
                try:
                    rows = await reader.fetch(
                        f"SELECT t::text FROM {relation} t WHERE t::text ~ '{'|'.join(TELLTALE)}'"
                    )
                except (asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError):
                    continue
                # Which its own query is in, of course.
                rows = [row for row in rows if "t::text ~" not in row[0]]
                assert not rows, (relation, rows)
                looked_at += 1
    assert looked_at > 100


async def test_no_statistics_of_columns_are_shown(attack: Attack) -> None:
    """What the planner knows of values is in pg_stats, for those who may read the tables."""
    async with attack.reader() as reader:
        for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
            assert not await reader.fetch(f"SELECT FROM {view} WHERE schemaname {OURS}")


async def test_nothing_but_the_views_may_be_read_and_nothing_written(attack: Attack) -> None:
    """By the rights themselves: so no unique key can be probed, by error or by timing."""
    async with attack.reader() as reader:
        rows = await reader.fetch(
            f"""
            SELECT c.oid::regclass::text AS name, c.relkind, p.privilege
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'REFERENCES',
                                    'TRIGGER', 'TRUNCATE']) AS p (privilege)
            WHERE n.nspname {OURS} AND c.relkind IN ('r', 'v', 'm', 'p', 'f')
              AND (has_table_privilege(c.oid, p.privilege)
                   OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                      AND has_any_column_privilege(c.oid, p.privilege))
            """
        )
        assert {(row["name"], row["privilege"]) for row in rows} == {
            (name, "SELECT") for name in VIEW_NAMES
        }
        assert not await reader.fetch("SELECT FROM pg_class WHERE relkind = 'S'")
        schemas = await reader.fetch(
            f"SELECT nspname FROM pg_namespace WHERE nspname {OURS} "
            "AND has_schema_privilege(oid, 'USAGE')"
        )
        assert {row[0] for row in schemas} <= {"analysis", "public"}
        assert not await reader.fetch(
            f"SELECT FROM pg_namespace WHERE nspname {OURS} AND has_schema_privilege(oid, 'CREATE')"
        )
        rights = await reader.fetchrow(
            "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication, "
            "has_database_privilege(current_database(), 'TEMPORARY, CREATE') "
            "FROM pg_roles WHERE rolname = session_user"
        )
        assert not any(rights)


async def test_every_function_of_ours_that_can_be_called_tells_nothing(attack: Attack) -> None:
    """There are four; each says the same whatever the session sets."""
    async with attack.reader() as reader:
        rows = await reader.fetch(
            f"SELECT p.oid::regprocedure::text FROM pg_proc p "
            f"JOIN pg_namespace n ON n.oid = p.pronamespace "
            f"WHERE n.nspname {OURS} AND has_function_privilege(p.oid, 'EXECUTE')"
        )
        assert {row[0] for row in rows} == {
            "ledger.current_tenant()", '"position"()', "tenant()", "tenant_at_position(text[])",
        }  # fmt: skip
        own = await reader.fetchval("SELECT count(*) FROM event")
        await reader.execute(f"SET ledger.tenant = '{attack.victim}'")
        assert await reader.fetchval("SELECT tenant()") == attack.attacker
        assert await reader.fetchval("SELECT analysis.position()") == own
        every = "ARRAY['star', 'valuation', 'webhook_messages', 'nosuch', NULL]"
        for names in ("NULL", "ARRAY[]::text[]", every):
            with suppress(asyncpg.ObjectNotInPrerequisiteStateError):
                shown = await reader.fetchval(f"SELECT tenant_at_position({names})")
                assert shown == attack.attacker


async def test_each_table_is_held_to_the_tenant_by_itself(attack: Attack) -> None:
    """Beside the views' own condition: whoever writes a view that forgets it shows nothing more."""
    async with attack.service.house.admin() as connection:
        held = await connection.fetch(
            """
            SELECT t.name FROM unnest($1::text[]) AS t (name)
            JOIN pg_class c ON c.oid = t.name::regclass
            JOIN pg_policy p ON p.polrelid = c.oid AND NOT p.polpermissive
            WHERE c.relrowsecurity AND c.relforcerowsecurity
              AND p.polroles = ARRAY[$2::regrole::oid]
              AND pg_get_expr(p.polqual, c.oid)
                  = '(tenant_id = ( SELECT analysis.tenant() AS tenant))'
            """,
            TABLES,
            OWNER,
        )
        assert {row[0] for row in held} == set(TABLES)
        rows = await connection.fetch(
            """
            SELECT DISTINCT r.ev_class::regclass::text AS view, d.refobjid::regclass::text AS below
            FROM pg_rewrite r
            JOIN pg_depend d ON d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
            WHERE r.ev_class IN (SELECT oid FROM pg_class
                                 WHERE relnamespace = 'analysis'::regnamespace)
              AND d.refobjid <> r.ev_class
            """
        )
        assert {row["below"] for row in rows} <= set(TABLES)
        views = await connection.fetch(
            "SELECT relname, relowner::regrole::text AS owner, reloptions FROM pg_class "
            "WHERE relnamespace = 'analysis'::regnamespace AND relkind = 'v'"
        )
        assert {row["relname"] for row in views} == set(VIEW_NAMES)
        assert {(row["owner"], *row["reloptions"]) for row in views} == {
            (OWNER, "security_barrier=true")
        }


async def test_what_a_plan_tells_of_the_whole_database_is_sizes(attack: Attack) -> None:
    """Row counts of all tenants together are no secret: the guide says so. Values are."""
    async with attack.reader() as reader:
        whole = await reader.fetchval("SELECT reltuples FROM pg_class WHERE relname = 'event'")
        assert whole is not None
        plan = await reader.fetch("EXPLAIN ANALYZE SELECT * FROM event WHERE data::text ~ 'x'")
        assert not telling(plan)


async def test_readers_know_each_other_by_names_that_tell_nothing(attack: Attack) -> None:
    """Role names are readable by all, and so are comments on them and their settings."""
    async with attack.reader() as reader:
        rows = await reader.fetch("SELECT rolname, rolconfig FROM pg_roles")
        assert not telling(rows)
        members = await reader.fetch("SELECT * FROM pg_auth_members")
        assert members


async def test_a_reader_that_is_revoked_is_gone_at_once(attack: Attack) -> None:
    """Its session ends, and it cannot log in; who is not a reader sees nothing."""
    address = attack.service.house.address
    uri = await create_analyst(address, attack.attacker, "short-lived")
    connection = await asyncpg.connect(uri)
    assert await connection.fetchval("SELECT count(*) FROM dim_product") == 1
    assert await revoke_analyst(address, attack.victim, "short-lived") == 0
    assert await revoke_analyst(address, attack.attacker, "short-lived") == 1
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await connection.fetchval("SELECT count(*) FROM dim_product")
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(uri)
    states = {a.name: a.revoked_at for a in await list_analysts(address, attack.attacker)}
    assert states["mallory"] is None
    assert states["short-lived"] is not None


async def test_the_services_role_sees_the_transactions_tenant(attack: Attack) -> None:
    """For exports: the same views, held to the tenant as all of the service's queries are."""
    pool = attack.service.house.pool
    async with pool.acquire() as connection:
        assert await connection.fetch("SELECT * FROM analysis.dim_product") == []
        assert await connection.fetchval("SELECT analysis.position()") is None
        for tenant_id, count in ((attack.victim, 5), (attack.attacker, 1)):
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ledger.tenant = '{tenant_id}'")
                rows = await connection.fetch("SELECT * FROM analysis.dim_product")
                assert len(rows) == count
