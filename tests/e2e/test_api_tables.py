"""Every list and report as CSV and XLSX: the same rows as the JSON pages have, and no formula."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import httpx
import openpyxl
import pytest

from api.app import endpoints
from api.endpoint import Endpoint, Media
from api.formula_guard import unguard
from api.tabular_reply import CSV_TYPE, XLSX_TYPE
from tests.support.postgres import TestServer
from tests.support.served import Served, served

# Why what answers with JSON cannot be had as a table: it is neither a list nor a report.
NO_TABLE: Final = {
    "/api/suppliers/{id}": "one supplier",
    "/api/import-batches/{batch}": "one batch; the list has the same columns",
    "/api/books/products/{id}": "one product's method",
    "/api/listings/{product_id}/{location_id}": "one listing; the list has the same columns",
    "/api/tenant": "one tenant",
    "/api/webhook-log/switch": "a switch",
    "/api/integrations/v1/inventory-system": "one id",
    "/api/integrations/v1/webhooks/{id}": "one endpoint; the list has the same columns",
    "/api/integrations/v1/webhooks/{id}/replays/{replay}": "one replay",
    "/api/ledger/head": "one position",
    "/api/ledger/known/{position}": "how far a moment is prepared",
    "/api/ledger/proof/inclusion": "a proof, for a program",
    "/api/ledger/proof/consistency": "a proof, for a program",
    "/api/ledger/events/{position}/receipt": "a proof, for a program",
    "/health/live": "for a monitor",
    "/health/ready": "for a monitor",
    "/problems/{code}": "one kind of problem",
    # What a foreign API answers is as its own document says.
    "/api/integrations/v1/keys": "Mihwar's",
    "/wp-json/mulopimfwc/v1/inventory/export": "WooCommerce's, with a format of its own",
    "/wp-json/mulopimfwc/v1/locations": "WooCommerce's",
    "/wp-json/mulopimfwc/v1/products": "WooCommerce's",
    "/api/v1/integration/webhooks": "miPOS's",
}
EVIL: Final = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "http://x.example", "12,5", 'a "b"')
PATHS: Final = {
    "{id}": "1",
    "{sku:path}": "EVIL-0",
    "{table}": "stock_level",
}
# There is nothing in these here; their rows are made as all the others' are.
EMPTY: Final = {
    "/api/ledger/checkpoints",
    "/api/ledger/keys",
    "/api/ledger/rebuilds",
    "/api/webhook-log",
    "/api/integrations/v1/divergences",
    "/api/integrations/v1/webhooks/{id}/deliveries",
    "/api/integrations/v1/webhooks/{id}/attempts",
    "/api/integrations/v1/webhooks/{id}/replays",
}


def _json_routes() -> list[Endpoint]:
    return [
        endpoint
        for endpoint in endpoints()
        if endpoint.method == "GET"
        and any(
            not isinstance(reply, Media)
            for kind in endpoint.replies.values()
            for reply in (kind if isinstance(kind, tuple) else (kind,))
        )
    ]


TABULATED: Final = [endpoint for endpoint in _json_routes() if endpoint.tabulated is not None]


@pytest.fixture(scope="module")
def service(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A shop with something in nearly every list."""
    with served(postgres, tmp_path_factory.mktemp("tables"), follows=True) as service:
        with _client(service) as client:
            _stock(client)
        yield service


def _client(service: Served, **headers: str) -> httpx.Client:
    if not headers:
        headers = {"Authorization": f"Bearer {service.token}"}
    return httpx.Client(base_url=service.url, headers=headers, timeout=60)


def _post(client: httpx.Client, path: str, body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.is_success, (path, body, reply.text)
    return reply.json()


def _stock(client: httpx.Client) -> None:
    """Fill the lists, with names that a spreadsheet would run."""
    for place in ("SYD", "MEL"):
        _post(client, "/api/warehouses", {"name": f"={place}", "code": place})
    _post(client, "/api/products/categories", {"name": "@cups"})
    for number, name in enumerate(EVIL):
        tracking = {1: "batch", 2: "serial"}.get(number, "none")
        scale = 0 if tracking == "serial" else 6
        body = {"name": name, "sku": f"EVIL-{number}", "base_price": "49.90", "scale": scale}
        _post(
            client,
            "/api/products",
            {**body, "tracking_type": tracking, "cost_price": "3.10", "reorder_level": 500},
        )
    _post(client, "/api/products", {"name": "variant", "sku": "=V", "base_price": 1,
                                    "variant_of": 1,
                                    "options": [{"name": "colour", "value": "=red"}]})  # fmt: skip
    for number in (3, 4, 5, 6):
        line = {"product_id": number + 1, "warehouse_id": 1, "quantity": "100.5"}
        _post(client, "/api/inventory/receive", {**line, "unit_cost": "3.1", "notes": "=note"})
        _post(client, "/api/inventory/adjust", {**line, "quantity": "-2.25", "reason": "-broken"})
    _post(client, "/api/inventory/receive", {"product_id": 1, "warehouse_id": 1, "quantity": 100})
    big = {"product_id": 9, "warehouse_id": 1, "quantity": "123456789012.123456"}
    _post(client, "/api/inventory/receive", big)
    _post(client, "/api/batches", {"product_id": 2, "warehouse_id": 1, "batch_number": "=LOT",
                                   "expiry_date": "2026-12-24", "quantity": 10})  # fmt: skip
    _post(client, "/api/serials/bulk", {"product_id": 3, "serials": ["-S1", "=S2"]})
    for name in ("=HYPERLINK(1)", "Ada"):
        addresses = [{"type": "billing", "line1": "=1"}]
        email = f"{len(name)}@example.com"
        body = {"name": name, "email": email, "addresses": addresses}
        _post(client, "/api/customers", body)
        _post(client, "/api/suppliers", {"name": name})
    _post(client, "/api/customers/price-tiers",
          {"name": "-gold", "discount_percent": 10,
           "prices": [{"product_id": 1, "unit_price": "45.00"}]})  # fmt: skip
    for number in range(5):
        items = [{"product_id": 1, "quantity": number + 1}, {"product_id": 4, "quantity": "1.5"}]
        order = _post(client, "/api/orders", {"customer_id": 1, "items": items, "notes": "=n"})
        if number < 3:
            _post(client, f"/api/orders/{order['id']}/fulfill", {})
    lines = [{"product_id": 1, "quantity": 5, "unit_cost": "2.50"}]
    _post(client, "/api/suppliers/purchase-orders",
          {"supplier_id": 1, "warehouse_id": 1, "items": lines})  # fmt: skip
    key = _post(client, "/api/api-keys", {"name": "=key", "permissions": ["read"]})["key"]
    assert client.get("/api/products", headers={"Authorization": f"Bearer {key}"}).is_success
    days = [{"sku": sku, "quantity": 3, "orderDate": "2026-11-02"} for sku in ("EVIL-0", "=NONE")]
    _post(client, "/api/integrations/v1/ingestion/order-lines", {"lines": days})
    assert client.put("/api/listings/1/2", json={"regular_price": "3.50"}).is_success
    for kind in ("store", "item"):
        thing = {"warehouse_id": 1} if kind == "store" else {"product_id": 1}
        linked = {"system": "mipos", "external_id": "=x", **thing}
        _post(client, f"/api/integrations/v1/{kind}s", linked)
    _post(client, "/api/integrations/v1/webhooks",
          {"url": "https://example.com/", "topics": ["stock.changed"],
           "description": "=d"})  # fmt: skip
    wait_until(lambda: client.get("/api/api-keys/logs/all?api_key_id=2").json()["total"] > 0)
    wait_until(lambda: client.get("/api/reports/demand?from=2026-11-01").json()["total"] > 0)


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what follows a little behind."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _path(endpoint: Endpoint, client: httpx.Client) -> str:
    """Return a path at which there is something, where there is."""
    path = endpoint.path
    if path.startswith("/api/orders/"):
        orders = client.get("/api/orders").json()["orders"]
        return path.replace("{id}", str(orders[-1]["id"]))
    for name, value in PATHS.items():
        path = path.replace(name, value)
    return path


def _query(path: str) -> dict[str, str]:
    if path == "/api/ledger/explain":
        return {"sku": "EVIL-4", "location": "SYD"}
    if path == "/api/ledger/explain/stock_level":
        return {"product_id": "5", "location_id": "1"}
    if path == "/api/ledger/diff/stock_level":
        return {"from": "1"}
    if path == "/api/api-keys/logs/all":
        return {"api_key_id": "2"}
    if path == "/api/reports/demand":
        return {"from": "2026-11-01"}
    if path == "/api/batches/expiring":
        return {"days": "365"}
    if path == "/api/reports/cogs":
        return {"group_by": "month"}
    return {}


def _documents(client: httpx.Client, endpoint: Endpoint, path: str) -> list[Any]:
    """Return the JSON pages, seven rows at a time where there are pages."""
    names = {parameter.name for parameter in endpoint.parameters}
    query = _query(path) | ({"limit": "7"} if "limit" in names else {})
    found: list[Any] = []
    while True:
        reply = client.get(path, params=query)
        if reply.status_code == 404:
            return found
        assert reply.status_code == 200, reply.text
        found.append(json.loads(reply.text, parse_float=Decimal))
        last = found[-1]
        after = next((n for n in ("after", "before") if last.get(f"next_{n}")), None)
        if after is not None:
            query[after] = str(last[f"next_{after}"])
        elif "page" in names and 7 * len(found) < last["total"]:
            query["page"] = str(len(found) + 1)
        else:
            return found


def _at(row: Any, path: str) -> Any:
    """Return the value that a dotted column stands for."""
    if isinstance(row, dict) and path in row:
        return cast(Any, row)[path]
    first, _, rest = path.partition(".")
    return None if row is None or not rest else _at(row.get(first), rest)


def _json_rows(documents: list[Any], name: str) -> list[Any]:
    return [row for document in documents for row in _at(document, name) or []]


@pytest.mark.parametrize("endpoint", TABULATED, ids=lambda each: each.path)
def test_every_list_and_report_is_a_table_with_the_rows_of_its_pages(
    service: Served, endpoint: Endpoint
) -> None:
    """In CSV and in XLSX, to the last digit; text that would be a formula is none."""
    assert endpoint.tabulated is not None
    as_key = {"X-API-Key": service.founded.api_key} if endpoint.role is None else {}
    with _client(service, **as_key) as client, _client(service) as owner:
        path = _path(endpoint, owner)
        documents = _documents(client, endpoint, path)
        query = _query(path)
        as_csv = client.get(path, params={**query, "format": "csv"})
        as_xlsx = client.get(path, headers={"Accept": XLSX_TYPE}, params=query)
        if not documents:
            assert (as_csv.status_code, as_xlsx.status_code) == (404, 404)
            return
        assert (as_csv.status_code, as_xlsx.status_code) == (200, 200), as_csv.text
        assert as_csv.headers["content-type"] == CSV_TYPE
        assert as_xlsx.headers["content-type"] == XLSX_TYPE
        assert as_xlsx.headers["content-disposition"].endswith('.xlsx"')
        assert "ledger-position" in as_csv.headers or endpoint.path == "/problems"
        book = openpyxl.load_workbook(io.BytesIO(as_xlsx.content), read_only=True)
        main = endpoint.tabulated.shape.main
        assert book.sheetnames[0] == ("figures" if main is None else main.name[-31:])
        if main is not None:
            has_rows = any(_json_rows(documents, main.name))
            assert has_rows == (endpoint.path not in EMPTY)
        if main is None:
            _same_figures(list(csv.reader(io.StringIO(as_csv.text))), documents[0])
            return
        expected = _json_rows(documents, main.name)
        header, *rows = csv.reader(io.StringIO(as_csv.text, newline=""))
        assert header == main.header(lines=True)
        _same(header, rows, expected, _csv_value)
        lines = list(book[book.sheetnames[0]].iter_rows(values_only=True))
        header = [str(name) for name in lines[0]]
        assert header == main.header(lines=False)
        padded = [[*line, *[None] * (len(header) - len(line))] for line in lines[1:]]
        _same(header, padded, expected, _xlsx_value)


def _same(header: list[str], rows: list[Any], expected: list[Any], value_of: Any) -> None:
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        for name, cell in zip(header, row, strict=True):
            value = _at(wanted, name)
            # What tells the time passed since the other request.
            if name in ("last_used_at", "response_time_ms"):
                continue
            assert value_of(cell, value) == value, (name, cell, value)


def _csv_value(cell: str, like: Any) -> Any:
    """Return what a cell says, as a value of the type of the JSON's."""
    assert not cell.startswith(("=", "+", "@", "\t", "\r"))
    match like:
        case None:
            return None if cell == "" else cell
        case bool():
            return {"true": True, "false": False}[cell]
        case int() | Decimal():
            assert cell == f"{Decimal(like):f}"
            return like
        case list() | dict():
            return json.loads(cell, parse_float=Decimal)
        case _:
            # Money is text in JSON, and a number here.
            return cell if cell == like else unguard(cell)


def _xlsx_value(cell: Any, like: Any) -> Any:
    match like:
        case None:
            return cell
        case bool():
            return cell
        case int() | Decimal():
            return Decimal(str(cell))
        case list() | dict():
            return json.loads(cell, parse_float=Decimal)
        case _ if isinstance(cell, datetime):
            return cell.date().isoformat()
        case _ if isinstance(cell, int | float):
            assert Decimal(str(cell)) == Decimal(like)
            return like
        case _:
            text = "" if cell is None else str(cell)
            assert not text.startswith(("=", "+", "-", "@", "\t", "\r"))
            return unguard(text)


def _same_figures(lines: list[list[str]], document: Any) -> None:
    assert lines[0] == ["figure", "value"]
    for name, cell in lines[1:]:
        value = _at(document, name)
        assert _csv_value(cell, value) == value, name


def test_whatever_answers_with_json_is_a_table_or_has_a_reason_not_to_be() -> None:
    """A new route is one or the other by its declaration, or this says so."""
    without = {each.path for each in _json_routes() if each.tabulated is None}
    assert without == set(NO_TABLE)
