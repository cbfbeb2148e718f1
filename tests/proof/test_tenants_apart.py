"""Invariant I9: tenants never meet. One attacks another on every route, and through SQL.

Whatever the victim has carries the word CANARY in what it says; its ids, SKUs, codes and keys,
which the attacker knows, do not. So no answer to the attacker may hold that word.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from typing import Any, NamedTuple

import asyncpg
import httpx
import msgspec
import pytest

from api.app import endpoints
from api.endpoint import Endpoint
from deploy.bootstrap import found_tenant
from deploy.commands.key import make_key
from deploy.settings import Settings
from deploy.wiring import house_at
from ledger.domain.registry import COMMANDS
from ledger.ports import Meta
from ledger.store import tenant_transaction
from ledger.submission import Item, Rendered, Submission
from projections.known_snapshots import fingerprint
from schemas.webhook import CreateWebhookEndpoint
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer

CANARY = "CANARY"
FEED = "/api/integrations/v1/ingestion/order-lines"
# An import batch is named after the Idempotency-Key that it came under.
BATCH = sha256(b"order-lines\nvictims-feed").hexdigest()[:32]
KNOWN: Mapping[str, Any] = {
    "id": 5,
    "product_id": 5,
    "location_id": 5,
    "table": "movement",
    "warehouse_id": 5,
    "from_warehouse_id": 5,
    "to_warehouse_id": 4,
    "from_location_id": 5,
    "to_location_id": 4,
    "key_id": 1,
    "user_id": 1,
    "supplier_id": 5,
    "customer_id": 5,
    "category_id": 5,
    "price_tier_id": 5,
    "order_id": 5,
    "order_item_id": 5001,
    "purchase_order_id": 5,
    "fulfilment": 1,
    "sku": "VICTIM-5",
    "location": "VICTIM-5",
    "code": "VICTIM-5",
    "system": "mipos",
    "store_id": "VICTIM-5",
    "external_id": "VICTIM-5",
    "reservation_id": "victim-hold",
    "batch": BATCH,
    "batch_id": BATCH,
    "transfer_id": 1,
    "position": 30,
    "delivery": "msg_2_30_5_0",
    "replay": 30,
    "url": "https://example.com/hook",
    "topics": ["stock.low"],
    "quantity": 1,
    "stock": 1,
    "expires_at": "2030-01-01T00:00:00Z",
}
"""What the attacker sends under each name: what is the victim's, and not the attacker's."""

# What is made there is the attacker's own, and must not take the victim's names.
CREATING = ("/api/products", "/api/warehouses")
# Never ends by itself; tests/integration/test_feed.py holds the feed behind it to one tenant.
LIVE = "/api/ledger/events/stream"
NOT_FOUND = {"product_not_found", "location_not_found", "not_found", "movement_not_found",
             "api_key_not_found", "import_batch_not_found", "order_not_found",
             "purchase_order_not_found", "rest_product_not_found", "moment_not_found"}  # fmt: skip


class Attack(NamedTuple):
    """A service with two tenants: the attacker, whose ``service`` it is, and the victim."""

    service: Service
    victim_id: int
    victim_key: str


@pytest.fixture(scope="module")
async def attack(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Attack]:
    """An attacker with next to nothing, and a victim with plenty."""
    async with (
        postgres.fresh_database() as address,
        house_at(Settings(data_dir=tmp_path_factory.mktemp("attack")), address) as house,
        running_service(house) as service,
    ):
        victim = await found_tenant(house, f"{CANARY} Ltd", email="canary@victim.example")
        for number in range(1, 6):
            await _victims(service, victim.api_key, number)
        for kind, linked in (("stores", {"warehouse": "VICTIM-5"}), ("items", {"product_id": 5})):
            link = {"system": "mipos", "external_id": f"VICTIM-{CANARY}", **linked}
            told = await service.post(f"/api/integrations/v1/{kind}", link, key=victim.api_key)
            assert told.status_code == 200, told.text
        lines = [{"sku": CANARY, "quantity": 7, "orderDate": "2026-01-01"}]
        fed = await service.post(
            FEED, {"externalSourceId": CANARY, "lines": lines}, key=victim.api_key,
            headers={"Idempotency-Key": "victims-feed"},
        )  # fmt: skip
        assert fed.json()["importBatchId"] == BATCH
        hold = {
            "product_id": 5, "location_id": 5, "quantity": 2, "reservation_id": "victim-hold",
            "owner": CANARY,
        }  # fmt: skip
        ship = {
            "product_id": 5, "from_location_id": 5, "to_location_id": 4, "quantity": 3,
            "notes": CANARY,
        }  # fmt: skip
        await _do(service, victim.api_key, ("ReserveStock", hold), ("ShipTransfer", ship))
        await _push(service, victim.tenant_id)
        await _subscribe(service, victim.tenant_id)
        await service.stocked(sku="MINE")
        yield Attack(service, victim.tenant_id, victim.api_key)


async def _push(service: Service, tenant_id: int) -> None:
    """Have an outside system push to the victim, which logs such requests."""
    house = service.house
    _, secret = await make_key(house, tenant_id, CANARY, ("webhook",))
    async with tenant_transaction(house.pool, tenant_id) as connection:
        await connection.execute(
            "INSERT INTO access.webhook_log_switch VALUES ($1, true, now(), $2)", tenant_id, CANARY
        )
    told = await service.client.post(
        "/wp-json/mulopimfwc/v1/webhook/inventory-update",
        json={"sku": CANARY, "location_id": 1, "stock": 1},
        headers={"X-Webhook-Secret": secret},
    )
    assert told.status_code == 404, told.text


async def _subscribe(service: Service, tenant_id: int) -> None:
    """Have the victim's receivers told of something, and one of them told it again."""
    hook = CreateWebhookEndpoint(
        url="https://victim.example/CANARY", topics=("stock.low",), description=CANARY
    )
    await service.house.committer.submit(
        Submission(
            tenant_id=tenant_id,
            items=[Item(hook)] * 5,
            meta=Meta(actor="user:1", source="test"),
            render=lambda _outcomes: Rendered(200, b""),
        )
    )
    models = fingerprint(service.house.engine)
    async with tenant_transaction(service.house.pool, tenant_id) as connection:
        await connection.execute(
            f"""
            INSERT INTO webhook.lane VALUES ({tenant_id}, 5);
            INSERT INTO webhook.delivery (tenant_id, endpoint_id, position, n, topic, item, state,
                                          problem, created_at)
            VALUES ({tenant_id}, 5, 30, 0, 'stock.low', '{CANARY}', 'parked', '{CANARY}', now());
            INSERT INTO webhook.attempt VALUES
                ({tenant_id}, 5, 30, 0, now(), 1, 5, 500, '{CANARY}', '{CANARY}');
            INSERT INTO webhook.replay VALUES ({tenant_id}, 30, 5, 1, 30, 30, 1, now());
            INSERT INTO known.snapshot VALUES
                ({tenant_id}, 1, 30, NULL, '{models}', 'failed', 0, now(), now(), NULL, '{CANARY}');
            """
        )


async def _victims(service: Service, key: str, number: int) -> None:
    name = f"VICTIM-{number}"
    await _do(
        service,
        key,
        ("OpenLocation", {"name": f"{CANARY} {number}", "code": name, "address": CANARY}),
        (
            "RegisterProduct",
            {"name": f"{CANARY} {number}", "sku": name, "base_price": "7", "vendor": CANARY},
        ),
        ("RegisterSupplier", {"name": f"{CANARY} {number}", "code": name, "email": CANARY}),
        ("DefineCategory", {"name": f"{CANARY} {number}"}),
        ("DefinePriceTier", {"name": f"{CANARY} {number}"}),
        (
            "RegisterCustomer",
            {
                "name": f"{CANARY} {number}",
                "code": name,
                "email": f"{CANARY}-{number}@victim.example",
                "addresses": [{"type": "billing", "address": {"line1": CANARY}}],
            },
        ),
    )
    await _do(
        service,
        key,
        ("ListProduct", {"sku": name, "location": name, "regular_price": "77"}),
        ("ReceiveStock", {"sku": name, "location": name, "quantity": 77, "notes": CANARY}),
        (
            "PlaceOrder",
            {
                "lines": [{"sku": name, "quantity": 1}],
                "location": name,
                "customer_id": number,
                "shipping_address": {"line1": CANARY},
                "reference": CANARY,
            },
        ),
        (
            "CreatePurchaseOrder",
            {
                "supplier_id": number,
                "location": name,
                "lines": [{"sku": name, "quantity": 2, "unit_cost": 1}],
                "notes": CANARY,
            },
        ),
        (
            "ReceivePurchaseOrder",
            {
                "purchase_order_id": number,
                "lines": [{"line_id": number * 1000 + 1, "quantity": 1}],
                "notes": CANARY,
            },
        ),
    )


async def _do(service: Service, key: str, *commands: tuple[str, dict[str, Any]]) -> None:
    body = {"commands": [{"type": kind, "data": data} for kind, data in commands]}
    answer = await service.post("/api/ledger/commands", body, key=key)
    assert answer.status_code == 200, answer.text
    assert answer.json()["refused"] == 0, answer.text


def _value(name: str, kind: Any) -> Any:
    """Return what the attacker says under a name, something of the right type if nothing else."""
    if name in KNOWN:
        return KNOWN[name]
    schema = msgspec.json.schema(kind)
    parts = schema.get("$defs", {})
    while "$ref" in schema:
        schema = parts[schema["$ref"].rsplit("/", 1)[1]]
    if schema.get("minItems"):
        return [_item(schema["items"], parts)]
    if "anyOf" in schema:
        schema = schema["anyOf"][0]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("format") == "decimal":
        return "1"
    return {
        "integer": 1, "number": 1, "boolean": True, "array": [], "object": {},
    }.get(schema.get("type", "string"), "x@example.com")  # fmt: skip


def _item(schema: dict[str, Any], parts: dict[str, Any]) -> Any:
    """Return the one item of a list that must have some."""
    while "$ref" in schema:
        schema = parts[schema["$ref"].rsplit("/", 1)[1]]
    if "properties" not in schema:
        return "x"
    item = {
        name: KNOWN.get(name, "1")
        for name in schema["properties"]
        if name in schema["required"] or name in KNOWN
    }
    return {name: item[name] for name in item if name != "sku" or "product_id" not in item}


def _body(struct: Any, *, with_known: bool = True) -> dict[str, Any]:
    """Return a body with all that is required, and what is the victim's wherever it fits."""
    return {
        field.encode_name: _value(field.name, field.type)
        for field in msgspec.structs.fields(struct)
        if field.required or (with_known and field.name in KNOWN)
    }


async def _send(attack: Attack, endpoint: Endpoint, **headers: str) -> httpx.Response:
    path = path_of = endpoint.path
    for name, value in {**KNOWN, "code": "not_found", "file": "swagger-ui.css"}.items():
        path = path.replace(f"{{{name}}}", str(value)).replace(f"{{{name}:path}}", str(value))
    parameters = {p.name: KNOWN[p.name] for p in endpoint.parameters if p.name in KNOWN}
    body = None if endpoint.body is None else _body(endpoint.body)
    if body is not None and ("{id}" in path_of or path_of in CREATING):
        body |= {name: f"FREE-{endpoint.method}" for name in ("sku", "code") if name in body}
    for ours, ledgers in (
        ("product_id", "sku"),
        ("warehouse_id", "location_id"),
        ("from_warehouse_id", "from_location_id"),
        ("to_warehouse_id", "to_location_id"),
        ("warehouse_id", "location"),
    ):
        if body is not None and {ours, ledgers} <= body.keys():
            del body[ledgers]
    # A key may only read and write stock; the owner may do all.
    return await attack.service.call(
        endpoint.method, path, body, params=parameters, headers=headers,
        key=attack.service.api_key if endpoint.role is None and endpoint.scope else None,
    )  # fmt: skip


ATTACKED = [e for e in endpoints() if not e.is_public and e.path != LIVE]


@pytest.mark.parametrize("endpoint", ATTACKED, ids=lambda e: f"{e.method} {e.path}")
async def test_no_route_shows_or_changes_what_is_another_tenants(
    attack: Attack, endpoint: Endpoint
) -> None:
    """With the other's ids and names: as if they were not there; and the other's log stays."""
    before = await _state(attack)
    answer = await _send(attack, endpoint)
    assert CANARY not in answer.text
    assert "canary" not in answer.text.casefold()
    assert answer.status_code < 500, answer.text
    if (
        "{id}" in endpoint.path
        or "{batch}" in endpoint.path
        or "{sku:path}" in endpoint.path
        or "{position}" in endpoint.path
    ):
        assert answer.status_code == 404, (endpoint.path, answer.text)
    if endpoint.body is not None and "product_id" in _body(endpoint.body):
        assert answer.status_code in (404, 422), (endpoint.path, answer.text)
        assert answer.json().get("code") in NOT_FOUND | {"invalid_field"}, answer.text
    assert await _state(attack) == before


@pytest.mark.parametrize("kind", COMMANDS)
async def test_no_command_reaches_another_tenant(attack: Attack, kind: str) -> None:
    """Each command, with the victim's ids and then with its names."""
    before = await _state(attack)
    for without in (
        {"product_id", "location_id", "from_location_id", "to_location_id"},
        {"sku", "location"},
    ):
        data = {k: v for k, v in _body(COMMANDS[kind]).items() if k not in without}
        if "from_location_id" in COMMANDS[kind].__struct_fields__ and "sku" in data:
            data |= {"from_location": "VICTIM-5", "to_location": "VICTIM-4"}
        answer = await attack.service.post(
            "/api/ledger/commands", {"commands": [{"type": kind, "data": data}]}
        )
        assert CANARY not in answer.text
        assert answer.status_code < 500, answer.text
    assert await _state(attack) == before


async def test_the_same_key_is_another_tenants_own(attack: Attack) -> None:
    """An Idempotency-Key that the victim has used leads to nothing of the victim's."""
    service, headers = attack.service, {"Idempotency-Key": "shared"}
    body = {"name": f"{CANARY} again", "sku": "NEW", "base_price": "1"}
    first = await service.post("/api/products", body, key=attack.victim_key, headers=headers)
    assert first.status_code == 201
    mine = {"name": "mine", "sku": "NEW", "base_price": "2"}
    second = await service.post("/api/products", mine, key=service.api_key, headers=headers)
    assert second.status_code == 201, second.text
    assert "Idempotent-Replayed" not in second.headers
    assert CANARY not in second.text


async def test_the_public_routes_tell_nothing_of_tenants(attack: Attack) -> None:
    """Health, metrics and documentation are anybody's; sign-in says nothing of who exists."""
    for endpoint in (e for e in endpoints() if e.is_public and e.method == "GET"):
        answer = await _send(attack, endpoint)
        assert "canary" not in answer.text.casefold(), endpoint.path
    told: list[tuple[int, Any]] = []
    for email in ("canary@victim.example", "nobody@victim.example"):
        answer = await attack.service.client.post(
            "/api/auth/login", json={"email": email, "password": "a wrong password"}
        )
        told.append((answer.status_code, answer.json().get("detail")))
    assert told[0] == told[1]
    assert told[0][0] == 401


async def _state(attack: Attack) -> dict[str, Any]:
    """Return how the victim's log stands, and all its credentials."""
    async with _as_tenant(attack, attack.victim_id) as connection:
        head = await connection.fetchrow("SELECT position, root FROM ledger.head")
        keys = await connection.fetch("SELECT key_id, revoked_at FROM access.api_key ORDER BY 1")
        users = await connection.fetch("SELECT user_id, email FROM access.app_user ORDER BY 1")
    return {"head": head, "keys": keys, "users": users}


def _as_tenant(attack: Attack, tenant_id: int) -> AbstractAsyncContextManager[Any]:
    return tenant_transaction(attack.service.house.pool, tenant_id)


# --- through SQL, with the application's own role ---------------------------------------------

_TABLES = """
SELECT n.nspname || '.' || c.relname AS name,
       has_table_privilege('stockledger_app', c.oid, 'SELECT') AS readable,
       EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')
           AS of_tenant,
       c.relrowsecurity AND c.relforcerowsecurity AS protected
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('ledger', 'access', 'projections') AND c.relkind IN ('r', 'p', 'v', 'm')
"""


async def test_no_table_shows_another_tenants_rows(attack: Attack) -> None:
    """Every table there is: protected, and empty of the victim's rows and without a tenant."""
    house = attack.service.house
    async with house.admin() as owner:
        tables = await owner.fetch(_TABLES)
    of_tenants = [table for table in tables if table["of_tenant"]]
    assert len(of_tenants) >= 15
    assert [table["name"] for table in of_tenants if not table["protected"]] == []
    # The engine's own note of which projections there are is everybody's.
    others = {table["name"] for table in tables if table["readable"]} - {
        table["name"] for table in of_tenants
    }
    assert others <= {"projections.installed", "ledger.migration"}
    seen = 0
    for table in of_tenants:
        if not table["readable"]:
            continue
        count = f"SELECT count(*) FROM {table['name']}"
        theirs = f"{count} WHERE tenant_id = {attack.victim_id}"
        async with _as_tenant(attack, attack.service.tenant_id) as connection:
            assert await connection.fetchval(theirs) == 0, table["name"]
        async with house.pool.acquire() as connection:
            assert await connection.fetchval(count) == 0, table["name"]
        async with _as_tenant(attack, attack.victim_id) as connection:
            seen += await connection.fetchval(theirs) > 0
    assert seen >= 8


FORBIDDEN = [
    "UPDATE ledger.event SET data = '{}'",
    "DELETE FROM ledger.event",
    "TRUNCATE ledger.event",
    "ALTER TABLE ledger.event DISABLE TRIGGER event_append_only",
    "ALTER TABLE ledger.event DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE projections.stock_level NO FORCE ROW LEVEL SECURITY",
    "DROP POLICY own_tenant ON ledger.event",
    "SET ROLE stockledger_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION stockledger_owner",
    "SET session_replication_role = replica",
    "ALTER ROLE stockledger_app BYPASSRLS",
    "GRANT stockledger_owner TO stockledger_app",
    "CREATE TABLE ledger.mine (a int)",
    "CREATE FUNCTION ledger.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SELECT ledger.create_tenant('x', 'x', 'UTC', gen_random_uuid(), now())",
    "SELECT * FROM access.key_directory",
    "SELECT * FROM access.login_directory",
    "UPDATE ledger.tenant SET name = 'x'",
    "DELETE FROM ledger.head",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_applications_role_may_not(attack: Attack, statement: str) -> None:
    """Neither change history nor lift what holds it."""
    with pytest.raises(
        (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidAuthorizationSpecificationError)
    ):
        async with _as_tenant(attack, attack.service.tenant_id) as connection:
            await connection.execute(statement)


async def test_no_row_can_be_written_for_another_tenant(attack: Attack) -> None:
    """Nor one of one's own be given to another."""
    victim = attack.victim_id
    for statement in (
        (
            f"INSERT INTO ledger.event SELECT {victim}, 9999, stream, 1, type, 1, data, meta,"
            " effective_at, recorded_at, leaf_hash FROM ledger.event LIMIT 1"
        ),
        f"UPDATE ledger.head SET tenant_id = {victim}",
        f"UPDATE projections.stock_level SET tenant_id = {victim}",
        f"INSERT INTO ledger.snapshot VALUES ({victim}, 'stock-5-5', 9999, 1, '{{}}')",
        f"INSERT INTO access.key_directory VALUES (sha256('x'), {victim}, 1)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with _as_tenant(attack, attack.service.tenant_id) as connection:
                await connection.execute(statement)


async def test_functions_that_look_beyond_a_tenant_tell_only_ids(attack: Attack) -> None:
    """Their results hold no name, hash or secret; those of `known` make tables and tell nothing."""
    async with attack.service.house.admin() as owner:
        rows = await owner.fetch(
            "SELECT n.nspname || '.' || p.proname AS name,"
            " pg_get_function_result(p.oid) AS result"
            " FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            " WHERE n.nspname IN ('ledger', 'access', 'projections', 'known')"
            " AND p.prosecdef"
        )
    assert {row["name"]: row["result"] for row in rows} == {
        "ledger.tenant_ids": "SETOF integer",
        "access.tenant_of_login": "TABLE(tenant_id integer, user_id bigint)",
        "access.tenant_of_key": "TABLE(tenant_id integer, key_id bigint)",
        "ledger.installed_models": "text",
        "known.wanted": "TABLE(tenant_id integer, slot smallint)",
        "known.prepare": "void",
        "known.finish": "void",
    }
