"""The real shop's file through miPOS's pages: the same stock as by our own bulk endpoint.

One tenant is told of it line by line as a point of sale tells it, another by commands in bulk. What
must be there in the end is added up in plain Python, which knows nothing of the ledger.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec
import pytest
from python_calamine import CalamineWorkbook

from deploy.address import DatabaseAddress
from deploy.bootstrap import found_tenant
from deploy.wiring import House
from tests.support.api import Service, running_service
from tests.support.proving import prove

RETAIL = "online-retail/online_retail.xlsx"
LINES = 1_500
TILLS = 8
LONDON = ZoneInfo("Europe/London")
STORE = "/api/v1/inventory/pos/store/london/system"


class Line(NamedTuple):
    """A line of the file: how much went out of (or, below zero, into) which item's stock, when."""

    item: str
    name: str
    sold: int
    at: datetime
    price: Decimal


def read_lines(path: Path) -> list[Line]:
    """Return the first lines of the workbook that move something."""
    rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    places = {str(heading): place for place, heading in enumerate(rows[0])}
    lines: list[Line] = []
    for row in rows[1:]:
        said: dict[str, Any] = {heading: row[place] for heading, place in places.items()}
        code = said["StockCode"]
        # One item, however the file spells its code; whole numbers are read as 71053.0.
        item = (str(int(code)) if isinstance(code, float) else str(code)).strip().upper()
        sold = int(said["Quantity"])
        if item and sold:
            price = Decimal(str(said["UnitPrice"]))
            lines.append(
                Line(item, str(said["Description"]).strip(), sold, said["InvoiceDate"], price)
            )
        if len(lines) == LINES:
            break
    return lines


def opening(lines: list[Line]) -> Counter[str]:
    """Return what must be there at first, for stock never to be below zero."""
    balance, lowest = Counter[str](), Counter[str]()
    for line in lines:
        balance[line.item] -= line.sold
        lowest[line.item] = min(lowest[line.item], balance[line.item])
    return Counter({item: -lowest[item] for item in balance})


@pytest.mark.data
async def test_the_same_stock_by_mipos_as_by_commands_in_bulk(
    house: House, database: DatabaseAddress, test_data: Path
) -> None:
    lines = read_lines(test_data / RETAIL)
    at_first = opening(lines)
    expected = Counter(at_first)
    for line in lines:
        expected[line.item] -= line.sold
    assert len(lines) == LINES
    assert len(expected) > 500
    async with running_service(house) as service:
        other = await found_tenant(house, "Bulk", email="bulk@example.com")
        warehouse = {"name": "London", "code": "london", "time_zone": "Europe/London"}
        for key in (service.api_key, other.api_key):
            made = await service.post("/api/warehouses", warehouse, key=key)
            assert made.status_code == 201, made.text
        await by_pos(service, lines, at_first)
        await by_commands(service, other.api_key, lines, at_first)
        wanted = {item: Decimal(quantity) for item, quantity in expected.items()}
        assert await stock(service, service.api_key) == wanted
        assert await stock(service, other.api_key) == wanted
        divergences = (await service.get("/api/integrations/v1/divergences?limit=1")).json()
        assert divergences["total"] == 0, "every figure of the point of sale was the books' as well"
        for tenant_id in (service.tenant_id, other.tenant_id):
            verdict = await prove(database, house.pool, house.engine, tenant_id)
            assert verdict.ok, verdict


async def by_pos(service: Service, lines: list[Line], at_first: Counter[str]) -> None:
    """Synchronise all items at once; then tell each movement, each item's in their order."""
    linked = await service.post(
        "/api/integrations/v1/stores",
        {"system": "mipos", "external_id": "london", "warehouse": "london"},
    )
    assert linked.status_code == 200, linked.text
    ids = (await service.get("/api/integrations/v1/inventory-system")).json()
    known = {line.item: line for line in lines}
    sync = {
        **ids,
        "units": [{"name": "Piece", "short_name": "pc", "external_id": "1"}],
        "suppliers": [{"name": "Unknown", "external_id": "0"}],
        "items": [
            {
                "name": line.name or item,
                "external_id": item,
                "purchase_unit_external_id": "1",
                "consumption_unit_external_id": "1",
                "supplier_external_id": "0",
                "cost": str(abs(line.price)),
                "stock": "0",
            }
            for item, line in known.items()
        ],
    }
    synced = await service.post(f"{STORE}/sync", sync)
    assert synced.status_code == 200, synced.text
    # The opening stock came in before the file's first line.
    before = min(line.at for line in lines).replace(hour=0, minute=0)
    await by_commands_of(
        service, service.api_key, [received(item, n, before) for item, n in at_first.items() if n]
    )
    balance = Counter(at_first)

    async def till(number: int) -> None:
        for line in lines:
            if crc32(line.item.encode()) % TILLS != number:
                continue
            balance[line.item] -= line.sold
            told = await service.post(
                f"{STORE}/stock/update",
                {
                    **ids,
                    "external_id": line.item,
                    "quantity": str(abs(line.sold)),
                    "movement_type": 2 if line.sold > 0 else 1,
                    "current_stock": str(balance[line.item]),
                    "date": line.at.strftime("%Y-%m-%d %H:%M:%S"),
                },
            )
            assert told.status_code == 200, (line, told.text)

    await asyncio.gather(*map(till, range(TILLS)))


def received(item: str, quantity: int, at: datetime) -> dict[str, Any]:
    return moved("ReceiveStock", item, quantity, at)


def moved(kind: str, item: str, quantity: int, at: datetime) -> dict[str, Any]:
    data = {
        "sku": item,
        "location": "london",
        "quantity": quantity,
        "effective_at": at.replace(tzinfo=LONDON).astimezone(UTC).isoformat(),
    }
    return {"type": kind, "data": data}


async def by_commands(
    service: Service, key: str, lines: list[Line], at_first: Counter[str]
) -> None:
    """Register the products and move the stock by our own bulk endpoint."""
    before = min(line.at for line in lines).replace(hour=0, minute=0)
    await by_commands_of(
        service,
        key,
        [
            {"type": "RegisterProduct", "data": {"name": item, "sku": item, "base_price": 1}}
            for item in at_first
        ]
        + [received(item, n, before) for item, n in at_first.items() if n]
        + [
            moved("IssueStock" if line.sold > 0 else "ReceiveStock", line.item, abs(line.sold),
                  line.at)
            for line in lines
        ],
    )  # fmt: skip


async def by_commands_of(service: Service, key: str, commands: list[dict[str, Any]]) -> None:
    for start in range(0, len(commands), 1_000):
        sent = await service.post(
            "/api/ledger/commands", {"commands": commands[start : start + 1_000]}, key=key
        )
        assert sent.status_code == 200, sent.text[:2_000]


async def stock(service: Service, key: str) -> dict[str, Decimal]:
    """Return what is on hand by SKU, read exactly."""
    found: dict[str, Decimal] = {}
    for page in range(1, 100):
        answer = await service.get(f"/api/external/inventory?limit=200&page={page}", key=key)
        rows = msgspec.json.decode(answer.content, type=_Page).inventory
        found |= {row.sku: row.quantity for row in rows}
        if len(rows) < 200:
            break
    # What never was anywhere has no level.
    return found


class _Row(msgspec.Struct):
    sku: str
    quantity: Decimal


class _Page(msgspec.Struct):
    inventory: list[_Row]
