"""Files of past demand, sent to a running service: every line told of, once, whatever happens."""

import asyncio
import csv
import io
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from python_calamine import CalamineWorkbook
from rich.console import Console

from api.imports.demand import KNOWN_HEADINGS, REQUIRED, DemandFile, DemandOptions
from api.imports.tables import Table
from api.imports.translation import choose_columns
from deploy.address import DatabaseAddress
from deploy.bootstrap import Founded, found_tenant
from deploy.commands._demo_northwind import _served
from deploy.commands._http_client import HttpClient, RequestRefused
from deploy.commands._import_demand import PATH, Ingested, take_in
from deploy.commands.import_ import command
from deploy.wiring import House
from ledger.store import tenant_transaction
from projections.demand import Demand, DemandFilter, demand_by_period
from projections.following import catch_up
from tests.support.imports import Interrupted
from tests.support.naive_demand import Told, demand_by_day, grouped
from tests.support.proving import prove

RETAIL = "online-retail/online_retail.xlsx"
DATES = (date(2010, 11, 1), date(2011, 2, 28))

MESSY = """\
when,article,how many,note
2026-03-02,TEA,2.5,fine
02.03.2026,TEA,1,not this form
2026-03-04 23:59,tea,"1",a time on the shop's clocks

2026-03-08T23:30:00-05:00,TEA,1,an offset
2026-03-05,NOPE,1,no such article
2026-03-05,,1,no article
2026-03-05,TEA,-3,below zero
2026-03-05,TEA,0.25,not in its scale
2026-03-05,TEA,=1+1,a formula
,TEA,1,no date
"""

Result = TypeVar("Result")


class Shop(NamedTuple):
    """A service on a port, with a tenant that sells TEA in tenths."""

    house: House
    url: str
    tenant: Founded


async def new_shop(house: House, url: str, name: str) -> Shop:
    """Make a tenant."""
    shop = Shop(house, url, await found_tenant(house, name, email=f"{name}@example.com"))
    await register(shop, [("TEA", 1)])
    return shop


async def register(shop: Shop, products: list[tuple[str, int]]) -> None:
    """Make products, by SKU and scale."""
    headers = {"X-API-Key": shop.tenant.api_key}
    async with httpx.AsyncClient(base_url=shop.url, headers=headers, timeout=60) as client:
        for start in range(0, len(products), 1_000):
            commands = [
                {
                    "type": "RegisterProduct",
                    "data": {"name": sku, "sku": sku, "base_price": "1", "scale": scale},
                }
                for sku, scale in products[start : start + 1_000]
            ]
            answer = await client.post("/api/ledger/commands", json={"commands": commands})
            assert answer.status_code == 200, answer.text


@pytest.fixture
async def shop(house: House) -> AsyncIterator[Shop]:
    """The service, listening."""
    async with _served(house) as url:
        yield await new_shop(house, url, "acme")


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A file with a line of every sort."""
    path = tmp_path / "messy.csv"
    path.write_text(MESSY, encoding="utf-8")
    return path


async def with_client(shop: Shop, work: Callable[[HttpClient], Result]) -> Result:
    """Run what waits for the service in a thread, since the service runs in this loop."""

    def run() -> Result:
        client = HttpClient(shop.url, shop.tenant.api_key, threading.Event())
        try:
            return work(client)
        finally:
            client.close()

    return await asyncio.to_thread(run)


async def sent(
    shop: Shop, path: Path, period: Any = "day", *, mapping: str | None = None, **options: Any
) -> tuple[Ingested, bool, Counter[str], Path]:
    """Import a file; return what came of it, and where its refused lines are."""
    target = path.with_name(f"{path.stem}-{shop.tenant.tenant_id}-refused.csv")

    def work(client: HttpClient) -> tuple[Ingested, bool, Counter[str]]:
        table = Table(path)
        columns = choose_columns(table, KNOWN_HEADINGS, REQUIRED, mapping)
        demand = DemandFile(table, DemandOptions(columns, period, **options))
        return take_in(client, table, demand, target, Console(file=io.StringIO()))

    return *await with_client(shop, work), target


async def by_day(shop: Shop, group_by: Any = "day") -> dict[tuple[str, date], Decimal]:
    """Return the report's rows, by folded SKU."""
    tenant_id = shop.tenant.tenant_id
    assert await catch_up(shop.house.pool, Demand(), tenant_id) is not None
    async with tenant_transaction(shop.house.pool, tenant_id) as connection:
        rows, total, _ = await demand_by_period(
            connection, tenant_id, DemandFilter(*DATES), group_by, 10**6, 0
        )
    assert total == len(rows)
    return {(row["sku"].casefold(), row["period"]): row["quantity"] for row in rows}


async def log(shop: Shop) -> list[Any]:
    """Return the events of all batches but what they are called by."""
    async with tenant_transaction(shop.house.pool, shop.tenant.tenant_id) as connection:
        return await connection.fetch(
            "SELECT type, data::jsonb - 'batch_id' - 'source_name' - 'options' AS data"
            " FROM ledger.event WHERE stream LIKE 'import-%' ORDER BY position"
        )


COLUMNS = "sku=article,quantity=how many,date=when"


async def test_every_line_is_demand_or_a_refusal_with_its_reason(shop: Shop, messy: Path) -> None:
    """The batch, the answer and the refused file say the same, by the file's own numbers."""
    ingested, replayed, codes, target = await sent(
        shop, messy, "week", mapping=COLUMNS, time_zone="UTC"
    )
    assert (ingested.lines, ingested.accepted, ingested.refused) == (10, 3, 7)
    assert not replayed
    assert codes == {"invalid_line": 5, "product_not_found": 1, "quantity_not_in_scale": 1}
    rows = list(csv.DictReader(target.open(newline="")))
    originals = MESSY.splitlines()
    assert [row["line"] for row in rows] == ["3", "7", "8", "9", "10", "11", "12"]
    assert all(row["article"] in originals[int(row["line"]) - 1] for row in rows)
    assert rows[5]["how many"] == "'=1+1"
    assert rows[0]["detail"].startswith("orderDate must be a date such as")
    # 2.5 and 1 in the week of the second of March; the ninth by the clocks of UTC.
    found = await by_day_of(shop, date(2026, 3, 2), date(2026, 3, 15))
    assert found == grouped(
        demand_by_day(
            [
                ("tea", Decimal("3.5"), date(2026, 3, 2), "week"),
                ("tea", Decimal(1), date(2026, 3, 9), "week"),
            ],
            {"tea": 1},
        ),
        date(2026, 3, 2),
        date(2026, 3, 15),
        "day",
    )


async def by_day_of(shop: Shop, first: date, last: date) -> dict[tuple[str, date], Decimal]:
    """Return the report by day of a range."""
    tenant_id = shop.tenant.tenant_id
    assert await catch_up(shop.house.pool, Demand(), tenant_id) is not None
    async with tenant_transaction(shop.house.pool, tenant_id) as connection:
        rows, _, _ = await demand_by_period(
            connection, tenant_id, DemandFilter(first, last), "day", 10**6, 0
        )
    return {(row["sku"].casefold(), row["period"]): row["quantity"] for row in rows}


async def test_the_same_file_again_adds_nothing(shop: Shop, messy: Path) -> None:
    """Under another name too; read in another way it is another batch."""
    first, _, codes, target = await sent(shop, messy, mapping=COLUMNS)
    told = target.read_text()
    before = await log(shop)
    copy = messy.rename(messy.with_name("copy.csv"))
    again, replayed, codes_again, target = await sent(shop, copy, mapping=COLUMNS)
    assert replayed
    assert again == first
    assert codes_again == codes
    assert target.read_text() == told
    assert await log(shop) == before
    other, replayed, _, _ = await sent(shop, copy, "month", mapping=COLUMNS)
    assert not replayed
    assert other.import_batch_id != first.import_batch_id


async def test_a_run_that_was_stopped_goes_on(shop: Shop, tmp_path: Path) -> None:
    """Wherever it was: the batch is that of a run that was not."""
    path = tmp_path / "long.csv"
    lines = [
        f"2026-01-{n % 28 + 1:02},{'TEA' if n % 9 else 'NOPE'},{n % 5 + 1}" for n in range(4_200)
    ]
    path.write_text("date,sku,qty\n" + "\n".join(lines) + "\n")
    whole = await new_shop(shop.house, shop.url, "whole")
    expected, _, _, target = await sent(whole, path)
    for stop_after in (1, 4, 8):
        stopped = await new_shop(shop.house, shop.url, f"stopped-{stop_after}")

        def work(client: HttpClient, stop_after: int = stop_after) -> None:
            table = Table(path)
            columns = choose_columns(table, KNOWN_HEADINGS, REQUIRED)
            demand = DemandFile(table, DemandOptions(columns, "day"))

            def pieces() -> Iterator[bytes]:
                for number, piece in enumerate(demand.pieces()):
                    if number == stop_after:
                        raise Interrupted
                    yield piece

            client.stream(PATH, pieces, "application/x-ndjson", demand.key)

        with pytest.raises(Interrupted):
            await with_client(stopped, work)
        ingested, replayed, _, refused = await sent(stopped, path)
        assert not replayed
        assert msgspec.structs.replace(ingested, import_batch_id="") == (
            msgspec.structs.replace(expected, import_batch_id="")
        )
        assert refused.read_text() == target.read_text()
        assert await log(stopped) == await log(whole)


async def test_the_command_says_what_became_of_the_file(shop: Shop, messy: Path) -> None:
    """Counts by reason; a second run that nothing was added; a service that is not there."""
    refused = messy.with_name("refused.csv")
    arguments = [
        "demand", str(messy), "--period", "day", "--map", COLUMNS, "--url", shop.url,
        "--api-key", shop.tenant.api_key, "--refused", str(refused),
    ]  # fmt: skip

    def run(*more: str) -> Any:
        return CliRunner().invoke(command, [*arguments, *more])

    first = await asyncio.to_thread(run)
    assert first.exit_code == 0, first.output
    assert "refused: product_not_found" in first.output
    assert "nothing was added" not in first.output
    assert str(refused) in first.output
    second = await asyncio.to_thread(run)
    assert "This file was taken in before; nothing was added." in second.output
    wrong = await asyncio.to_thread(run, "--api-key", "sl_live_1_wrong-and-long-enough")
    assert wrong.exit_code == 1
    assert "This API key is not valid" in wrong.output
    nobody = await asyncio.to_thread(run, "--url", "http://127.0.0.1:9")
    assert nobody.exit_code == 1
    told = " ".join(nobody.output.replace("│", " ").split())
    assert "no service answers at http://127.0.0.1:9" in told
    zone = await asyncio.to_thread(run, "--timezone", "Mars/Base")
    told = " ".join(zone.output.replace("│", " ").split())
    assert "timeZone: 'Mars/Base' is no time zone" in told


async def test_a_client_takes_only_addresses_of_services() -> None:
    """Told before anything is sent."""
    for url in ("ftp://x", "localhost:8000", "http://"):
        with pytest.raises(ValueError, match="is no address of a service"):
            HttpClient(url, "k", threading.Event())
    with pytest.raises(RequestRefused, match="no service answers"):
        HttpClient("https://127.0.0.1:9", "k", threading.Event()).check("/")


# --- the real shop ----------------------------------------------------------------------


def the_shops_lines(path: Path) -> Iterator[tuple[str, Decimal, date]]:
    """Read the real shop's file by itself: SKU, quantity and day of every line."""
    rows: Any = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    for _, code, _, quantity, at, *_ in rows[1:]:
        sku = str(int(code)) if isinstance(code, float) else str(code).strip()
        yield sku, Decimal(int(quantity)), at.date()


@pytest.mark.data
async def test_the_real_shop_by_file_and_by_api_is_the_same_demand(
    shop: Shop, test_data: Path, database: DatabaseAddress
) -> None:
    """Also in plain Python: 50,999 lines, weeks of them, to the unit on every day."""
    path = test_data / RETAIL
    lines = list(the_shops_lines(path))
    assert len(lines) == 50_999
    # The shop keeps no stock of what has letters alone for a code: POST, M, D and such.
    skus = {sku.casefold(): sku for sku, _, _ in lines if any(c.isdigit() for c in sku)}
    scales = {folded: len(folded) % 3 for folded in skus}
    by_api = await new_shop(shop.house, shop.url, "by-api")
    for each in (shop, by_api):
        await register(each, [(sku, scales[folded]) for folded, sku in skus.items()])

    told: list[Told] = [
        (sku.casefold(), quantity, day, "week")
        for sku, quantity, day in lines
        if sku.casefold() in skus and quantity > 0
    ]
    ingested, _, codes, _ = await sent(shop, path, "week")
    assert (ingested.lines, ingested.accepted) == (50_999, len(told))
    negative = sum(quantity <= 0 for _, quantity, _ in lines)
    unknown = sum(quantity > 0 and sku.casefold() not in skus for sku, quantity, _ in lines)
    assert codes == {"invalid_line": negative, "product_not_found": unknown}

    body = {
        "externalSourceId": "the real shop",
        "periodKind": "week",
        "lines": [
            {"sku": sku, "quantity": str(quantity), "orderDate": day.isoformat()}
            for sku, quantity, day in lines
        ],
    }
    headers = {"X-API-Key": by_api.tenant.api_key, "Idempotency-Key": "shop"}
    async with httpx.AsyncClient(base_url=shop.url, headers=headers, timeout=120) as client:
        answer = await client.post(PATH, content=msgspec.json.encode(body),
                                   headers={"Content-Type": "application/json"})  # fmt: skip
        assert answer.status_code == 201, answer.text
        assert answer.json()["accepted"] == len(told)

    expected = demand_by_day(told, scales)
    assert len(expected) > 50_000
    for group_by in ("day", "week", "month"):
        figures = grouped(expected, *DATES, group_by)
        assert await by_day(shop, group_by) == figures
        assert await by_day(by_api, group_by) == figures
    for each in (shop, by_api):
        verdict = await prove(database, each.house.pool, each.house.engine, each.tenant.tenant_id)
        faults = {check.name: check.faults for check in verdict.checks if check.faults}
        assert faults == {}
