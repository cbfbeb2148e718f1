"""Large tables: all rows of one position while others write, in pieces, and nothing left behind."""

import asyncio
import csv
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import openpyxl
import pytest

from api import tabular_reply
from api.app import endpoints
from api.tabular import PAGE_ROWS
from api.tabular_reply import TABLES_AT_ONCE_MAX
from deploy.wiring import House
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer
from tests.support.served import Served, served

MOVEMENTS = PAGE_ROWS + 300
LIST = "/api/inventory/movements"


class Running(NamedTuple):
    service: Served
    folder: Path

    def client(self) -> httpx.Client:
        headers = {"X-API-Key": self.service.founded.api_key}
        return httpx.Client(base_url=self.service.url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def running(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with so many movements that a table of them takes several pages."""
    folder = tmp_path_factory.mktemp("streamed")
    with served(postgres, folder) as service:
        running = Running(service, folder)
        with running.client() as client:
            for path, body in (
                ("/api/products", {"name": "P", "sku": "P", "base_price": 1}),
                ("/api/warehouses", {"name": "W", "code": "W"}),
            ):
                assert client.post(path, json=body).is_success
            _adjust(client, MOVEMENTS)
        yield running


def _adjust(client: httpx.Client, count: int) -> None:
    command = {
        "type": "AdjustStock",
        "data": {"product_id": 1, "location_id": 1, "quantity": 1, "reason": "=found"},
    }
    body = {"mode": "atomic", "commands": [command] * count}
    reply = client.post("/api/ledger/commands", json=body)
    assert reply.is_success, reply.text


def _nothing_left(running: Running) -> None:
    """Assert that no file is left, and that no table is still being made."""
    deadline = time.monotonic() + 10
    while list((running.folder / "tables").iterdir()):
        assert time.monotonic() < deadline, list((running.folder / "tables").iterdir())
        time.sleep(0.05)
    with running.client() as client:
        # Were a place taken for good by each of these, there would be none left.
        for _ in range(TABLES_AT_ONCE_MAX + 1):
            assert client.get("/api/warehouses?format=csv").status_code == 200


@pytest.mark.parametrize("path", [LIST, "/api/ledger/events"])
def test_a_table_is_of_one_position_while_others_write(running: Running, path: str) -> None:
    """Every row up to Ledger-Position and none behind it, though the log grows meanwhile."""
    stop = threading.Event()

    def write() -> None:
        with running.client() as client:
            while not stop.is_set():
                _adjust(client, 50)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        with running.client() as client:
            as_csv = client.get(path, params={"format": "csv"})
            as_xlsx = client.get(path, params={"format": "xlsx"})
    finally:
        stop.set()
        writing.join()
    # Two events made the product and the warehouse; two more are of the tenant's own founding.
    lines = list(csv.DictReader(io.StringIO(as_csv.text, newline="")))
    _whole([int(line.get("id") or line["position"]) for line in lines], as_csv, path)
    book = openpyxl.load_workbook(io.BytesIO(as_xlsx.content), read_only=True)
    header, *rows = book[book.sheetnames[0]].iter_rows(values_only=True)
    place = header.index("id" if path == LIST else "position")
    _whole([int(str(row[place])) for row in rows], as_xlsx, path)
    _nothing_left(running)


def _whole(positions: list[int], reply: httpx.Response, path: str) -> None:
    head = int(reply.headers["ledger-position"])
    assert len(positions) >= MOVEMENTS
    assert max(positions) == head
    assert sorted(positions) == list(range(min(positions), head + 1))
    assert min(positions) == 1 or path == LIST
    assert positions == sorted(positions, reverse=path == LIST)


def test_csv_comes_in_pieces_and_xlsx_with_its_length(running: Running) -> None:
    """A CSV's first rows are there before the last are read; a workbook is whole."""
    with running.client() as client:
        with client.stream("GET", LIST, params={"format": "csv"}) as reply:
            pieces = list(reply.iter_raw())
        assert "content-length" not in reply.headers
        assert len(pieces) > 1
        reply = client.get(LIST, params={"format": "xlsx"})
    assert int(reply.headers["content-length"]) == len(reply.content)


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_client_that_goes_away_leaves_nothing_behind(running: Running, kind: str) -> None:
    """Neither a file, nor a place among those that may be made at once, nor a connection."""
    for _ in range(TABLES_AT_ONCE_MAX + 1):
        with running.client() as client:
            if kind == "xlsx":
                with pytest.raises(httpx.ReadTimeout):
                    client.get(LIST, params={"format": kind}, timeout=0.15)
                continue
            with client.stream("GET", LIST, params={"format": kind}) as reply:
                next(reply.iter_raw(100))
    _nothing_left(running)


@pytest.fixture
async def shop(house: House) -> Any:
    async with running_service(house) as service:
        await service.stocked()
        yield service


async def test_all_pages_are_of_one_snapshot(shop: Service) -> None:
    """Two products that are only ever changed together are alike, though pages apart."""
    for number in range(2, 5):
        body = {"name": "P", "sku": f"P{number}", "base_price": 1}
        assert (await shop.post("/api/products", body)).status_code == 201
    both = [
        {"type": "AdjustStock", "data": {"sku": sku, "location_id": 1, "quantity": 1}}
        for sku in ("P2", "P3", "P4")
    ]
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            body = {"mode": "atomic", "commands": both}
            assert (await shop.post("/api/ledger/commands", body)).status_code == 200

    (route,) = (each.tabulated for each in endpoints() if each.path == "/api/inventory")
    assert route is not None
    seen: set[str] = set()
    msgspec.structs.force_setattr(route.table, "page_rows", 1)
    writing = asyncio.create_task(write())
    try:
        while len(seen) < 8:
            reply = await shop.get("/api/inventory?format=csv")
            lines = list(csv.DictReader(io.StringIO(reply.text)))
            held = {line["quantity"] for line in lines if line["sku"] != "WGT-500"}
            assert len(held) <= 1
            seen |= held
    finally:
        stop.set()
        await writing
        msgspec.structs.force_setattr(route.table, "page_rows", PAGE_ROWS)


async def test_more_than_can_be_made_at_once_are_refused(shop: Service) -> None:
    """With a time to come back at; JSON is answered all the while."""
    making = asyncio.Semaphore(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tabular_reply, "_making", making)
        async with making:
            refused = await shop.get("/api/inventory?format=csv")
            answered = await shop.get("/api/inventory")
        taken = await shop.get("/api/inventory?format=csv")
    assert (refused.status_code, refused.json()["code"]) == (503, "too_many_tables")
    assert int(refused.headers["retry-after"]) > 0
    assert (answered.status_code, taken.status_code) == (200, 200)


async def test_what_is_wrong_is_said_with_a_status(shop: Service) -> None:
    """Nothing of a file has been sent by then."""
    for path, status, said in (
        ("/api/inventory?format=pdf", 400, "format"),
        ("/api/inventory?rows=inventory", 400, "rows"),
        ("/api/inventory?format=xlsx&rows=inventory", 400, "rows"),
        ("/api/inventory?format=csv&rows=orders", 400, "rows"),
        ("/api/inventory?format=csv&low_stock=maybe", 400, "low_stock"),
        ("/api/reports/demand?format=csv&sku=NOPE", 404, "product_not_found"),
        ("/api/reports/demand?format=csv&skew=1", 400, "skew"),
        ("/api/orders/99?format=xlsx", 404, "order_not_found"),
        ("/api/inventory?format=csv&min_position=9999999", 412, "not_yet"),
    ):
        reply = await shop.get(path)
        assert reply.status_code == status, reply.text
        assert said in (reply.json().get("field"), reply.json()["code"])


async def test_the_format_is_what_the_query_says_or_else_what_is_accepted_best(
    shop: Service,
) -> None:
    for query, accept, media_type in (
        ("", "text/csv", "text/csv"),
        ("", "application/json, text/csv;q=0.5", "application/json"),
        ("", "text/csv;q=0.4, application/json;q=0.9", "application/json"),
        ("", "text/csv, */*;q=0.1", "text/csv"),
        ("", "text/csv;q=0", "application/json"),
        ("", f"{tabular_reply.XLSX_TYPE};q=0.9, text/csv;q=0.8", tabular_reply.XLSX_TYPE),
        ("?format=json", "text/csv", "application/json"),
        ("?format=csv", "application/json", "text/csv"),
    ):
        reply = await shop.get(f"/api/inventory{query}", headers={"Accept": accept})
        assert reply.status_code == 200
        assert reply.headers["content-type"].partition(";")[0] == media_type


async def test_who_asks_for_a_page_gets_that_page(shop: Service) -> None:
    """Also by cursor; without page, limit and cursor all rows are there."""
    for number in range(5):
        assert (await shop.post("/api/suppliers", {"name": f"S{number}"})).status_code == 201

    async def names(query: str) -> list[str]:
        reply = await shop.get(f"/api/suppliers?format=csv{query}")
        return [line["name"] for line in csv.DictReader(io.StringIO(reply.text))]

    assert await names("") == ["S0", "S1", "S2", "S3", "S4"]
    assert await names("&limit=2") == ["S0", "S1"]
    assert await names("&limit=2&page=3") == ["S4"]
    assert await names("&cursor=3") == ["S3", "S4"]
    assert await names("&search=s3") == ["S3"]


async def test_a_table_of_the_past_stays_the_same(shop: Service) -> None:
    """With known_at, byte for byte, whatever is recorded since; it says which position that is."""
    head = int((await shop.get("/api/inventory")).headers["ledger-position"])
    query = f"/api/inventory?format=csv&known_at={head}"
    before = await shop.get(query)
    adjusted = {"product_id": 1, "warehouse_id": 1, "quantity": 1}
    assert (await shop.post("/api/inventory/adjust", adjusted)).status_code == 200
    after = await shop.get(query)
    assert (before.status_code, before.content) == (200, after.content)
    assert after.headers["ledger-known-position"] == str(head)
    assert (await shop.get("/api/inventory?format=csv")).content != after.content


async def test_a_table_needs_the_rights_that_the_list_needs(shop: Service) -> None:
    """A key may not list the keys, in no format, and nobody unknown anything."""
    for query in ("", "?format=csv", "?format=xlsx"):
        by_key = await shop.get(f"/api/api-keys{query}", key=shop.api_key)
        unknown = await shop.client.get(f"/api/inventory{query}")
        assert (by_key.status_code, unknown.status_code) == (403, 401)


async def test_the_tables_of_a_report_are_sheets_or_asked_for_by_name(shop: Service) -> None:
    """A workbook has them all; a CSV the one that rows names. Lines follow their parent's key."""
    placed = await shop.post("/api/orders", {"items": [{"product_id": 1, "quantity": 2}]})
    order_id = placed.json()["id"]
    path = f"/api/orders/{order_id}"
    book = openpyxl.load_workbook(io.BytesIO((await shop.get(f"{path}?format=xlsx")).content))
    assert book.sheetnames == [
        "items",
        "items.reserved_at",
        "fulfilments",
        "fulfilments.items",
        "returns",
        "returns.items",
        "figures",
    ]
    order = (await shop.get(path)).json()
    (held,) = csv.DictReader(
        io.StringIO((await shop.get(f"{path}?format=csv&rows=items.reserved_at")).text)
    )
    assert held == {"items.id": str(order["items"][0]["id"]), "warehouse_id": "1", "quantity": "2"}
    figures = csv.reader(io.StringIO((await shop.get(f"{path}?format=csv&rows=figures")).text))
    assert ["order_number", order["order_number"]] in list(figures)
