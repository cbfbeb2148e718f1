"""The log and the analysts' tables as Parquet over HTTP."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pyarrow.parquet as pq
import pytest

from api import table_exports
from api.house import EXPORTS_MAX
from api.table_exports import PARQUET
from deploy.bootstrap import found_tenant
from deploy.wiring import House, following
from ledger.store import read_after, tenant_transaction
from tests.support.api import Service, running_service

WITHIN_S = 30.0


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service whose read models follow, with some stock."""
    async with following(house), running_service(house) as service:
        for number in range(3):
            await service.stocked(100 + number, sku=f"SKU-{number}")
        async with tenant_transaction(house.pool, service.tenant_id) as connection:
            await connection.execute(
                "INSERT INTO proof.tree (tenant_id) VALUES ($1)", service.tenant_id
            )
        yield service


async def _caught_up(service: Service, key: str | None = None) -> int:
    """Wait until the tables are at the head; return that."""

    async def position(path: str) -> int:
        return (await service.call("GET", path, key=key)).json()["position"]

    head = await position("/api/ledger/head")
    async with asyncio.timeout(WITHIN_S):
        while await position("/api/ledger/export/tables") < head:
            await asyncio.sleep(0.05)
    return head


def _table(content: bytes) -> Any:
    return pq.read_table(io.BytesIO(content))


async def test_the_log_comes_as_it_is_stored(service: Service) -> None:
    """All of it, or the part that is asked for; nothing behind the end."""
    head = await _caught_up(service)
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        stored = [tuple(event) for event in await read_after(connection, service.tenant_id, 0, 999)]
    whole = await service.get("/api/ledger/export/log")
    assert whole.status_code == 200, whole.text
    assert whole.headers["content-type"] == PARQUET
    assert whole.headers["ledger-position"] == str(head)
    assert [tuple(row.values()) for row in _table(whole.content).to_pylist()] == stored
    part = await service.get("/api/ledger/export/log?after=3&limit=2")
    table = _table(part.content)
    assert [tuple(row.values()) for row in table.to_pylist()] == stored[3:5]
    assert table.schema.metadata[b"first_position"] == b"4"
    assert table.schema.metadata[b"last_position"] == b"5"
    behind = await service.get("/api/ledger/export/log?after=999999")
    assert _table(behind.content).num_rows == 0


async def test_every_table_that_is_listed_can_be_had(service: Service) -> None:
    """Each as of the position that its header tells, with the columns that the list tells."""
    head = await _caught_up(service)
    listed = (await service.get("/api/ledger/export/tables")).json()
    assert len(listed["tables"]) > 15
    for entry in listed["tables"]:
        answer = await service.get(f"/api/ledger/export/tables/{entry['name']}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["ledger-position"] == str(head)
        table = _table(answer.content)
        assert table.schema.metadata[b"position"] == str(head).encode()
        assert [(f.name, str(f.type)) for f in table.schema] == [
            (column["name"], column["type"]) for column in entry["columns"]
        ]
        assert all(column["description"] for column in entry["columns"]), entry["name"]
        assert "double" not in {str(field.type) for field in table.schema}
    movements = _table((await service.get("/api/ledger/export/tables/movement")).content)
    assert movements.num_rows == 3
    (last,) = movements.column("position").to_pylist()[2:]
    newer = await service.get(f"/api/ledger/export/tables/movement?after={last - 1}")
    assert _table(newer.content).num_rows == 1


async def test_a_file_holds_one_tenants_rows(service: Service) -> None:
    """Compressed as it is, no search of its bytes would show another's: its rows are looked at."""
    other = await found_tenant(service.house, "Other", email="other@example.com")
    for path, body in (
        ("/api/products", {"name": "CANARY", "sku": "CANARY", "base_price": 1}),
        ("/api/warehouses", {"name": "CANARY", "code": "CANARY"}),
        (
            "/api/inventory/receive",
            {"sku": "CANARY", "warehouse": "CANARY", "quantity": 77, "reason": "CANARY"},
        ),
    ):
        made = await service.call("POST", path, body, key=other.api_key)
        assert made.is_success, made.text
    async with tenant_transaction(service.house.pool, other.tenant_id) as connection:
        await connection.execute("INSERT INTO proof.tree (tenant_id) VALUES ($1)", other.tenant_id)
    await _caught_up(service)
    await _caught_up(service, other.api_key)
    tables = (await service.get("/api/ledger/export/tables")).json()["tables"]
    paths = ["log", *(f"tables/{table['name']}" for table in tables)]
    shown = 0
    for path in paths:
        own = await service.get(f"/api/ledger/export/{path}")
        theirs = await service.call("GET", f"/api/ledger/export/{path}", key=other.api_key)
        assert "CANARY" not in repr(_table(own.content).to_pylist()), path
        assert "SKU-" not in repr(_table(theirs.content).to_pylist()), path
        shown += "CANARY" in repr(_table(theirs.content).to_pylist())
    assert shown >= 3, "it would be seen if it were there"


async def test_what_there_is_not_is_refused(service: Service) -> None:
    """Unknown tables and parameters, ``after`` where nothing only grows, and who may not read."""
    for path, status in (
        ("tables/nothing", 404),
        ("tables/movement%22%3B", 404),
        ("tables/stock_level?after=3", 400),
        ("tables/movement?since=3", 400),
        ("tables?page=2", 400),
        ("log?limit=1000001", 400),
        ("log?offset=1", 400),
    ):
        answer = await service.get(f"/api/ledger/export/{path}")
        assert answer.status_code == status, (path, answer.text)
    for path in ("tables/movement", "tables", "log"):
        answer = await service.client.get(f"/api/ledger/export/{path}")
        assert answer.status_code == 401
    made = await service.post("/api/api-keys", {"name": "writer", "permissions": ["write"]})
    key = made.json()["key"]
    answer = await service.call("GET", "/api/ledger/export/log", key=key)
    assert answer.status_code == 403


async def test_more_than_there_are_turns_for_are_told_to_wait(service: Service) -> None:
    """And a turn, with its connection, is given back by each that has ended."""
    for _ in range(3 * EXPORTS_MAX):
        assert (await service.get("/api/ledger/export/tables/nothing")).status_code == 404
    for _ in range(EXPORTS_MAX):
        await table_exports._exporting.acquire()
    try:
        refused = await service.get("/api/ledger/export/log")
    finally:
        for _ in range(EXPORTS_MAX):
            table_exports._exporting.release()
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "10"
    assert (await service.get("/api/ledger/export/log")).status_code == 200


async def test_a_client_that_goes_away_leaves_nothing_open(service: Service) -> None:
    """Its turn and its connection are free again, however far it had come."""
    await _caught_up(service)
    for messages in range(6):
        await _read_a_little(service, messages)
        assert not table_exports._exporting.locked()
        assert table_exports._exporting._value == EXPORTS_MAX
    open_now = await _transactions(service)
    assert open_now == 0
    assert (await service.get("/api/ledger/export/tables/event")).status_code == 200


async def _read_a_little(service: Service, messages: int) -> None:
    """Ask for a file and go away after so many messages."""
    app = service.client._transport.app  # type: ignore[attr-defined]
    seen: list[Any] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if not seen and messages:
            await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        seen.append(message)
        if len(seen) >= messages:
            gone.set()

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": "",
        "path": "/api/ledger/export/tables/event", "raw_path": b"/api/ledger/export/tables/event",
        "query_string": b"", "client": ("127.0.0.1", 1), "server": ("service", 80),
        "headers": [(b"x-api-key", service.api_key.encode())], "state": {},
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), WITHIN_S)


async def _transactions(service: Service) -> int:
    connection = await asyncpg.connect(**service.house.address.administrator)
    try:
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%'"
        )
    finally:
        await connection.close()
