"""A real shop's stock, day by day, through the WooCommerce API and through the native one.

Every evening the shop tells what it has of what moved that day, as a POS does that knows only its
own figures. In two tenants, by two ways, that comes to what plain Python comes to.
"""

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from python_calamine import CalamineWorkbook

from deploy.address import DatabaseAddress
from deploy.bootstrap import found_tenant
from deploy.wiring import House
from tests.support.api import Service, running_service
from tests.support.imports import Importing
from tests.support.woocommerce import BASE

RETAIL = "online-retail/online_retail.xlsx"
BATCH = 1_000


class Evening(NamedTuple):
    """What the shop says one evening: what is on hand of each code, spelt as it was that day."""

    figures: dict[str, int]


def _lines(path: Path) -> list[tuple[str, str, int]]:
    """Return each line's day, its code as it is spelt, and what it changed."""
    rows = CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    heading = [str(cell) for cell in rows[0]]
    code, quantity, date = (
        heading.index(name) for name in ("StockCode", "Quantity", "InvoiceDate")
    )
    return [
        (str(row[date])[:10], _text(row[code]), -int(str(row[quantity]).partition(".")[0]))
        for row in rows[1:]
    ]


def _text(cell: object) -> str:
    return str(int(cell)) if isinstance(cell, float) else str(cell).strip()


def shop_of(path: Path) -> tuple[list[Evening], dict[str, int]]:
    """Return the evenings, and what is there in the end of each code, its case ignored.

    The shop begins with just what keeps its stock from going below zero.
    """
    lines = _lines(path)
    running: dict[str, int] = {}
    lowest: dict[str, int] = {}
    for _, code, change in lines:
        key = code.casefold()
        running[key] = running.get(key, 0) + change
        lowest[key] = min(lowest.get(key, 0), running[key])
    held = {key: -low for key, low in lowest.items()}
    evenings: dict[str, Evening] = {}
    for day, code, change in lines:
        held[code.casefold()] += change
        told = evenings.setdefault(day, Evening({})).figures
        told.pop(code.swapcase(), None)
        told[code] = held[code.casefold()]
    return list(evenings.values()), held


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The service, with the tenant that WooCommerce syncs to."""
    async with running_service(house) as service:
        yield service


async def _open(service: Service, key: str, codes: list[str]) -> None:
    """Make the place and the catalogue, each code once however it is spelt."""
    commands: list[dict[str, Any]] = [
        {"type": "OpenLocation", "data": {"name": "Main", "code": "MAIN"}}
    ]
    commands += [
        {"type": "RegisterProduct", "data": {"name": code, "sku": code, "base_price": 1}}
        for code in codes
    ]
    for start in range(0, len(commands), BATCH):
        body = {"commands": commands[start : start + BATCH]}
        response = await service.post("/api/ledger/commands", body, key=key)
        assert response.status_code == 200, response.text[:500]


async def test_bulk_sync_and_the_native_way_and_plain_python_agree(
    service: Service, database: DatabaseAddress, test_data: Path
) -> None:
    """On what is on hand of every product, and event by event on how it came to that."""
    evenings, final = shop_of(test_data / RETAIL)
    native = await found_tenant(service.house, "Native", email="native@example.com")
    for key in (service.api_key, native.api_key):
        await _open(service, key, sorted(final))

    told = 0
    for evening in evenings:
        figures = list(evening.figures.items())
        for start in range(0, len(figures), BATCH):
            batch = figures[start : start + BATCH]
            told += len(batch)
            items = [
                {"sku": code, "location_slug": "main", "stock": str(figure)}
                for code, figure in batch
            ]
            synced = await service.call(
                "POST",
                f"{BASE}/inventory/bulk-sync",
                {"items": items, "rollback": "all-or-nothing"},
                key=service.api_key,
            )
            assert synced.status_code == 200, synced.text[:500]
            assert [result["stock"] for result in synced.json()["results"]] == [
                figure for _, figure in batch
            ]
            commands = [
                {"type": "SetStock", "data": {"sku": code, "location": "MAIN", "quantity": figure}}
                for code, figure in batch
            ]
            done = await service.post(
                "/api/ledger/commands", {"commands": commands}, key=native.api_key
            )
            assert done.status_code == 200, done.text[:500]

    assert told > 10_000, "the shop has told much"
    importing = Importing(service.house, database)
    by_sync, by_commands = [
        await importing.on_hand(tenant) for tenant in (service.tenant_id, native.tenant_id)
    ]
    expected = {key: Decimal(figure) for key, figure in final.items()}
    assert {key: by_sync.get(key, 0) for key in expected} == expected
    assert by_sync == by_commands
    histories = [
        await importing.fetch(
            tenant,
            "SELECT stream, version, type, data::text FROM ledger.event"
            " WHERE stream LIKE 'stock-%' ORDER BY position",
        )
        for tenant in (service.tenant_id, native.tenant_id)
    ]
    assert [tuple(row) for row in histories[0]] == [tuple(row) for row in histories[1]]
    assert len(histories[0]) > 1_000
