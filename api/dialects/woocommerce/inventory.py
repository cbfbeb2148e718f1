"""Inventory pushed in and exported (seed 004): bulk sync, update, export."""

import csv
import io
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final

from asyncpg import Record

from api.context import Call
from api.dialects.woocommerce import sync
from api.dialects.woocommerce.errors import ERRORS, NAMESPACE
from api.dialects.woocommerce.paging import PAGE, PER_PAGE, pages, total_headers
from api.endpoint import Media, Routes, query
from api.formula_guard import guard
from api.query import MIN_POSITION, Parameter
from api.reads import answer, money_or_none, reading, trimmed
from api.reply import Reply, StreamReply
from ledger.aliases import fold
from ledger.store import tenant_transaction
from projections import listing_queries
from projections.listing_queries import Filter
from schemas.http_woocommerce import (
    Backorders,
    BulkSyncBody,
    BulkSyncReply,
    BulkSyncRolledBack,
    InventoryExportReply,
    InventoryExportRow,
    InventoryItemBody,
    InventoryUpdateReply,
)

routes = Routes("WooCommerce", ERRORS)

EXPORT_ROWS: Final = 2_000
ITEM_PROBLEMS: Final = (
    "product_not_found",
    "location_not_found",
    "invalid_stock_value",
    "missing_parameter",
    "parent_has_variations",
    "insufficient_stock",
)


@routes.add(
    "POST",
    f"{NAMESPACE}/inventory/bulk-sync",
    "Update many products at many locations",
    role=None,
    scope="write",
    body=BulkSyncBody,
    replies={200: BulkSyncReply, 409: BulkSyncRolledBack},
    problems=("missing_parameter", "too_many_items", "rolled_back"),
    commits=True,
)
async def bulk_sync(call: Call) -> Reply:
    """Set stock, prices, backorders and whether products are sold at locations, each item for one
    product at one location. Every item has its own result. Where more than so many percent fail
    (or as `rollback` says) nothing is applied and the answer is 409. The later of two items for
    one product and location wins."""
    body = await sync.body_of(call)
    return await sync.apply_many(call, body, sync.bulk_of(call, body))


@routes.add(
    "POST",
    f"{NAMESPACE}/inventory/update",
    "Update one product at one location",
    role=None,
    scope="write",
    body=InventoryItemBody,
    replies={200: InventoryUpdateReply},
    problems=ITEM_PROBLEMS,
    commits=True,
)
async def update(call: Call) -> Reply:
    """Set stock, prices, backorders and whether it is sold of one product or variation at one
    location. What is left out stays as it is."""
    body = await sync.body_of(call)
    return await sync.apply_one(call, body, sync.one_of(body))


# --- export -----------------------------------------------------------------------------

_FORMAT: Final = Parameter(
    "format", "string", "json in pages, or csv whole", "json", values=("json", "csv")
)
PRODUCT_ID: Final = Parameter("product_id", "integer", "Only this product", minimum=1)
SKU: Final = Parameter("sku", "string", "Only the product with this SKU", maximum=100)
LOCATION_ID: Final = Parameter("location_id", "integer", "Only this location", minimum=1)
LOCATION_SLUG: Final = Parameter(
    "location_slug", "string", "Only the location with this slug", maximum=50
)
_EXPORT_PARAMETERS: Final = (
    PAGE,
    PER_PAGE,
    _FORMAT,
    PRODUCT_ID,
    SKU,
    LOCATION_ID,
    LOCATION_SLUG,
    MIN_POSITION,
)


@routes.add(
    "GET",
    f"{NAMESPACE}/inventory/export",
    "Export what is where",
    role=None,
    scope="read",
    parameters=_EXPORT_PARAMETERS,
    replies={200: (InventoryExportReply, Media("text/csv; charset=utf-8"))},
    problems=("not_yet",),
)
async def export(call: Call) -> Reply:
    """Every product at every location where it ever was, or was listed: what is on hand and how it
    is sold. The items of a page, sent to bulk-sync, change nothing; nor does the CSV file,
    imported."""
    values = query(call, _EXPORT_PARAMETERS)
    wanted = _filter_of(values)
    if values["format"] == "csv":
        return await _file(call, wanted)
    page, per_page = values["page"], values["per_page"]
    async with reading(call, values["min_position"]) as read:
        connection, tenant_id = read.connection, read.tenant_id
        rows = await listing_queries.places(
            connection, tenant_id, wanted, per_page, (page - 1) * per_page
        )
        total = await listing_queries.count_places(connection, tenant_id, wanted)
    reply = InventoryExportReply(
        success=True,
        items=[_row(row) for row in rows],
        total=total,
        page=page,
        per_page=per_page,
        total_pages=pages(total, per_page),
    )
    return answer(reply, read.position, total_headers(total, per_page))


def _filter_of(values: dict[str, Any]) -> Filter:
    return Filter(
        product_id=values["product_id"],
        location_id=values["location_id"],
        sku=None if values["sku"] is None else fold(values["sku"]),
        code=None if values["location_slug"] is None else fold(values["location_slug"]),
    )


def _row(row: Record) -> InventoryExportRow:
    return InventoryExportRow(
        product_id=row["product_id"],
        sku=row["sku"],
        name=row["name"],
        parent_id=row["variant_of"],
        location_id=row["location_id"],
        location_slug=row["code"],
        stock=trimmed(row["on_hand"]),
        regular_price=money_or_none(row["regular_price"]),
        sale_price=money_or_none(row["sale_price"]),
        backorders=backorders_of(row["backorders"]),
        disabled=row["disabled"],
    )


def backorders_of(allowed: bool | None) -> Backorders | None:
    """Return in WooCommerce's words whether more may be ordered than there is."""
    if allowed is None:
        return None
    return "yes" if allowed else "no"


async def _file(call: Call, wanted: Filter) -> Reply:
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        first = await listing_queries.places_after(
            connection, caller.tenant_id, wanted, (0, 0), EXPORT_ROWS
        )
    return StreamReply(
        _pages(call, wanted, first),
        b"text/csv; charset=utf-8",
        [(b"content-disposition", b'attachment; filename="inventory.csv"')],
    )


async def _pages(call: Call, wanted: Filter, rows: list[Record]) -> AsyncGenerator[bytes, None]:
    """Yield the file page by page; no connection is held while the client reads."""
    caller = call.caller
    yield _csv([InventoryExportRow.__struct_fields__])
    while rows:
        yield _csv(_cells(_row(row)) for row in rows)
        if len(rows) < EXPORT_ROWS:
            return
        after = rows[-1]["product_id"], rows[-1]["location_id"]
        async with tenant_transaction(
            call.house.pool, caller.tenant_id, credential=caller.credential
        ) as connection:
            rows = await listing_queries.places_after(
                connection, caller.tenant_id, wanted, after, EXPORT_ROWS
            )


def _cells(row: InventoryExportRow) -> list[str]:
    """Return a row's cells: text that no spreadsheet runs, figures as they are."""
    return [_cell(getattr(row, name)) for name in row.__struct_fields__]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str():
            return guard(value)
        case _:
            return format(value, "f") if not isinstance(value, int) else str(value)


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
