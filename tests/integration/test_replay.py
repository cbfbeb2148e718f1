"""Replaying: at the head it is what is live, and anywhere what an independent fold says."""

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.wiring import House
from ledger.replaying import Replay, exported_events, state_json
from ledger.store import Connection, tenant_transaction
from projections import figures
from projections.engine import FOLLOWING
from projections.following import catch_up
from projections.past import HAPPENINGS, Moment
from projections.replaying import replay_all, replay_item, replay_stream
from projections.stock_queries import LevelFilter, list_levels
from tests.support.api import Service, running_service
from tests.support.auditing import busy_shop

Shelf = tuple[int, int]
Json = dict[str, Any]


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The made-up shop after some weeks."""
    async with running_service(house) as service:
        await busy_shop(house, service)
        yield service


async def exported(service: Service) -> list[bytes]:
    """Return the log as an export has it, a line an event."""
    answer = await service.get("/api/ledger/events", headers={"Accept": "application/x-ndjson"})
    assert answer.status_code == 200
    return answer.content.splitlines(keepends=True)


def on_shelf(lines: list[bytes], position: int) -> dict[Shelf, Decimal]:
    """Add up what is free on each shelf, from nothing but what the events say."""
    free: dict[Shelf, Decimal] = defaultdict(Decimal)
    for line in lines[:position]:
        event = msgspec.json.decode(line)
        said: Json = event["data"]
        if not event["stream"].startswith("stock-"):
            continue
        quantity = Decimal(said.get("quantity", "0"))
        shelf = said["product_id"], said["location_id"]
        match event["type"]:
            case "StockReceived" | "StockAdjusted" | "CountVarianceRevised" | "TransferReceived":
                free[shelf] += quantity
            case "StockIssued" | "TransferShipped" | "StockQuarantined":
                free[shelf] -= quantity
            case "StockCounted":
                free[shelf] += Decimal(said["variance"])
            case "QuarantineReleased" if said.get("disposition", "restock") == "restock":
                free[shelf] += quantity
            case "MovementReversed":
                if said["from_account"] == "unrestricted":
                    free[shelf[0], said["from_location_id"]] -= quantity
                if said["to_account"] == "unrestricted":
                    free[shelf[0], said["to_location_id"]] += quantity
            case _:
                pass
    return {shelf: quantity for shelf, quantity in free.items() if quantity}


async def live_rows(connection: Connection, tenant_id: int, table: str) -> list[bytes]:
    """Return a live table as a replay writes it."""
    model = (await figures.read_models(connection, [table]))[table]
    rows = await connection.fetch(
        f"""
        SELECT {", ".join(model.columns)} FROM projections.{table} WHERE tenant_id = $1
        ORDER BY {", ".join(model.key) or "tenant_id"}
        """,
        tenant_id,
    )
    return [msgspec.json.encode(figures.row_of(model, row)) for row in rows]


async def test_all_of_it_at_the_head_is_what_is_live(
    house: House, service: Service, tmp_path: Path
) -> None:
    """Every row of every table, and every stream's state as an export alone gives it."""
    tenant_id = service.tenant_id
    for projection in FOLLOWING:
        await catch_up(house.pool, projection, tenant_id)
    told: list[tuple[int, int]] = []
    async with tenant_transaction(house.pool, tenant_id, isolation="repeatable read") as connection:
        head = await connection.fetchval("SELECT position FROM ledger.head")
        files = await replay_all(
            connection, tenant_id, Moment(head), tmp_path, lambda *done: told.append(done)
        )
        for file in files:
            written = (tmp_path / f"{file.table}.ndjson").read_bytes().splitlines()
            assert written == await live_rows(connection, tenant_id, file.table), file.table
            assert len(written) == file.rows
    assert {file.table for file in files} == set(figures.tables())
    assert sum(file.rows for file in files) > 1_000
    assert told[-1] == (head, head)
    manifest = msgspec.json.decode((tmp_path / "replay.json").read_bytes())
    assert manifest["position"] == head
    replay = Replay()
    for event in exported_events(await exported(service), lambda _stream: True):
        replay.take(event)
    states = (tmp_path / "states.ndjson").read_bytes().splitlines()
    assert states == [state_json(state) for state in replay.states]
    assert len(states) == manifest["streams"] > 100


async def test_at_any_position_it_is_what_an_independent_fold_says(
    house: House, service: Service, tmp_path: Path
) -> None:
    """Of shelves, in the states of streams and in the read model, here and there in the log."""
    lines = await exported(service)
    for position in (len(lines) // 3, len(lines) * 2 // 3, len(lines) - 5):
        expected = on_shelf(lines, position)
        folder = tmp_path / str(position)
        async with tenant_transaction(house.pool, service.tenant_id) as connection:
            await replay_all(
                connection, service.tenant_id, Moment(position), folder, lambda _done, _of: None
            )
        rows = [
            msgspec.json.decode(line)
            for line in (folder / "stock_level.ndjson").read_bytes().splitlines()
        ]
        assert expected == {
            (row["product_id"], row["location_id"]): Decimal(row["unrestricted"])
            for row in rows
            if Decimal(row["unrestricted"])
        }
        states = [
            msgspec.json.decode(line)
            for line in (folder / "states.ndjson").read_bytes().splitlines()
        ]
        assert expected == {
            (each["state"]["product_id"], each["state"]["location_id"]): free
            for each in states
            if each["stream"].startswith("stock-")
            and (free := Decimal(each["state"]["unrestricted"]))
        }


async def test_a_stream_and_a_product_are_replayed_by_themselves(
    house: House, service: Service
) -> None:
    """To the state and the rows that all of it gives, and a product's levels as they are live."""
    tenant_id = service.tenant_id
    lines = await exported(service)
    head = len(lines)
    for stream in ("stock-1-1", "order-1", "product-2", "purchase-1", "books-1"):
        for position in (head // 2, head):
            async with tenant_transaction(house.pool, tenant_id) as connection:
                made = await replay_stream(connection, tenant_id, stream, Moment(position))
            replay = Replay()
            for event in exported_events(lines, lambda name: name == stream, position):  # noqa: B023
                replay.take(event)
            assert ([made.state] if made.state else []) == replay.states
            if stream == "stock-1-1":
                expected = on_shelf(lines, position).get((1, 1), Decimal(0))
                assert made.rows["stock_level"][0]["unrestricted"] == expected
    async with tenant_transaction(house.pool, tenant_id) as connection:
        item = await replay_item(connection, tenant_id, 1, None, Moment(head))
    async with tenant_transaction(house.pool, tenant_id) as connection:
        live = await list_levels(connection, tenant_id, LevelFilter(product_id=1), limit=50)
    assert item.product is not None
    assert {row["location_id"]: row["on_hand"] for row in item.levels} == {
        row["location_id"]: row["on_hand"] for row in live
    }
    assert sum(row["value"] for row in item.value) > 0
    async with tenant_transaction(house.pool, tenant_id) as connection:
        one = await replay_item(connection, tenant_id, 1, 1, Moment(head))
    assert [row["location_id"] for row in one.levels] == [1]


async def test_as_of_leaves_out_what_happened_later(house: House, service: Service) -> None:
    """In an export as in the database; what is said of things is as it was known."""
    tenant_id = service.tenant_id
    lines = await exported(service)
    times = sorted(
        msgspec.json.decode(line)["effective_at"]
        for line in lines
        if b'"type":"StockIssued"' in line
    )
    as_of = msgspec.convert(times[len(times) // 2], type=datetime)
    async with tenant_transaction(house.pool, tenant_id) as connection:
        made = await replay_stream(connection, tenant_id, "stock-1-1", Moment(len(lines), as_of))
    replay = Replay()
    for event in exported_events(lines, lambda name: name == "stock-1-1", None, as_of, HAPPENINGS):
        replay.take(event)
    assert [made.state] == replay.states
    whole = Replay()
    for event in exported_events(lines, lambda name: name == "stock-1-1"):
        whole.take(event)
    assert whole.events > replay.events > 0


async def test_an_export_with_a_hole_is_not_replayed(service: Service) -> None:
    """The line is named; so is one that is no event."""
    lines = await exported(service)
    with pytest.raises(ValueError, match="line 8 has position 9 after 7"):
        list(exported_events([*lines[:7], *lines[8:]], lambda _stream: True))
    with pytest.raises(ValueError, match="line 3 is no event"):
        list(exported_events([*lines[:2], b"{}\n"], lambda _stream: True))
