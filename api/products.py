"""Products: the catalogue's routes (seed 003, "Products")."""

import csv
import io
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Media, Routes, query
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, parse_integer
from api.reads import (
    answer,
    contains,
    money,
    money_or_none,
    next_cursor,
    path_id,
    reading,
    trimmed,
    trimmed_or_none,
)
from api.reply import Reply, StreamReply
from api.writes import commit, json_body, made, no_body, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from schemas.http_catalogue import (
    ProductCreatedReply,
    ProductReply,
    ProductRow,
    ProductsReply,
    WarehouseStock,
)
from schemas.http_common import MessageReply
from schemas.product import (
    AlternativeUnit,
    DiscontinueProduct,
    ProductRegistered,
    RegisterProduct,
    ReviseProduct,
)

routes = Routes("Products")

EXPORT_PAGE_ROWS: Final = 500
_BODY = BodyDecoder(RegisterProduct)
_UNITS = msgspec.json.Decoder(list[AlternativeUnit])

_LIST_PARAMETERS = (
    Parameter("search", "string", "Text within the name or the SKU, ignoring case", maximum=200),
    Parameter("category", "integer", "Only this category's", minimum=1),
    Parameter("active", "boolean", "Only active products, or only inactive ones"),
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    MIN_POSITION,
)

_WHERE = """
    p.tenant_id = $1 AND NOT p.is_discontinued
    AND ($2::text IS NULL OR p.name ILIKE $2 OR p.sku ILIKE $2)
    AND ($3::bigint IS NULL OR p.category_id = $3)
    AND ($4::boolean IS NULL OR p.is_active = $4)
"""

_TOTAL_STOCK = """
    coalesce((SELECT sum(l.unrestricted + l.quarantine) FROM projections.stock_level l
              WHERE l.tenant_id = $1 AND l.product_id = p.product_id), 0) AS total_stock
"""

_LIST = f"""
SELECT p.product_id, p.name, p.sku, p.base_price, p.cost_price, p.barcode, p.vendor,
       p.category_id, p.tracking_type, p.is_active, {_TOTAL_STOCK}
FROM projections.product p
WHERE {_WHERE} AND p.product_id > $5
ORDER BY p.product_id LIMIT $6 OFFSET $7
"""

_COUNT = f"SELECT count(*) FROM projections.product p WHERE {_WHERE}"

_ONE = """
SELECT p.*, p.alternative_units::text AS alternative_units_text
FROM projections.product p
WHERE p.tenant_id = $1 AND p.product_id = $2 AND NOT p.is_discontinued
"""

_STOCK = """
SELECT w.location_id, w.name, l.unrestricted + l.quarantine AS quantity
FROM projections.stock_level l
JOIN projections.location w ON w.tenant_id = l.tenant_id AND w.location_id = l.location_id
WHERE l.tenant_id = $1 AND l.product_id = $2
ORDER BY w.location_id
"""

_EXPORT = f"""
SELECT p.product_id, p.name, p.sku, p.barcode, p.vendor, p.base_price, p.cost_price,
       p.tracking_type, p.unit, p.reorder_level, p.is_active, {_TOTAL_STOCK}
FROM projections.product p
WHERE p.tenant_id = $1 AND NOT p.is_discontinued AND p.product_id > $2
ORDER BY p.product_id LIMIT $3
"""


@routes.add(
    "GET",
    "/api/products",
    "List products",
    parameters=_LIST_PARAMETERS,
    replies={200: ProductsReply},
    problems=("not_yet",),
)
async def list_products(call: Call) -> Reply:
    """Products of the tenant in the order of their ids, those taken out left out."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, after = values["page"], values["limit"], cursor_id(values["cursor"])
    search = None if values["search"] is None else contains(values["search"])
    where = (search, values["category"], values["active"])
    offset = 0 if after else (page - 1) * limit
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id, *where, after, limit, offset)
        total = await read.connection.fetchval(_COUNT, read.tenant_id, *where) or 0
    products = [
        ProductRow(
            id=row["product_id"],
            name=row["name"],
            sku=row["sku"],
            base_price=money(row["base_price"]),
            cost_price=money_or_none(row["cost_price"]),
            barcode=row["barcode"],
            vendor=row["vendor"],
            category_id=row["category_id"],
            tracking_type=row["tracking_type"],
            is_active=row["is_active"],
            total_stock=trimmed(row["total_stock"]),
        )
        for row in rows
    ]
    last = str(products[-1].id) if products else ""
    reply = ProductsReply(
        products=products,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(products, limit, last),
    )
    return answer(reply, read.position)


def cursor_id(cursor: str | None) -> int:
    """Return the id that a list continues behind, 0 without one; raise Problem (400)."""
    if cursor is None:
        return 0
    number = parse_integer(cursor)
    if number is None:
        raise Problem(
            "invalid_parameter", "cursor: must be a next_cursor of this list.", field="cursor"
        )
    return number


@routes.add(
    "GET",
    "/api/products/export",
    "Export products as CSV",
    replies={200: Media("text/csv; charset=utf-8")},
)
async def export_products(call: Call) -> Reply:
    """All products as a CSV file, streamed. Cells that a spreadsheet would take for a formula
    begin with an apostrophe."""
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        first = await connection.fetch(_EXPORT, caller.tenant_id, 0, EXPORT_PAGE_ROWS)
    return StreamReply(
        _export(call, first),
        b"text/csv; charset=utf-8",
        [(b"content-disposition", b'attachment; filename="products.csv"')],
    )


_EXPORT_COLUMNS: Final = (
    "id",
    "name",
    "sku",
    "barcode",
    "vendor",
    "base_price",
    "cost_price",
    "tracking_type",
    "unit",
    "reorder_level",
    "is_active",
    "total_stock",
)


async def _export(call: Call, rows: list[Any]) -> AsyncGenerator[bytes, None]:
    """Yield the file page by page; no connection is held while the client reads."""
    caller = call.caller
    yield _csv([_EXPORT_COLUMNS])
    while rows:
        yield _csv(
            [
                (
                    row["product_id"],
                    row["name"],
                    row["sku"],
                    row["barcode"],
                    row["vendor"],
                    money(row["base_price"]),
                    money_or_none(row["cost_price"]),
                    row["tracking_type"],
                    row["unit"],
                    trimmed_or_none(row["reorder_level"]),
                    "true" if row["is_active"] else "false",
                    trimmed(row["total_stock"]),
                )
                for row in rows
            ]
        )
        if len(rows) < EXPORT_PAGE_ROWS:
            return
        async with tenant_transaction(
            call.house.pool, caller.tenant_id, credential=caller.credential
        ) as connection:
            rows = await connection.fetch(
                _EXPORT, caller.tenant_id, rows[-1]["product_id"], EXPORT_PAGE_ROWS
            )


def _csv(rows: list[Any]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([[neutral(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def neutral(cell: object) -> object:
    """Return a CSV cell that no spreadsheet takes for a formula (OWASP, "CSV injection")."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell


@routes.add(
    "GET",
    "/api/products/{id}",
    "Get a product",
    parameters=(MIN_POSITION,),
    replies={200: ProductReply},
    problems=("product_not_found", "not_yet"),
)
async def get_product(call: Call) -> Reply:
    """One product with its stock at each warehouse. ETag is the version that If-Match takes."""
    product_id = path_id(call, code="product_not_found")
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        reply = await _product(read.connection, read.tenant_id, product_id)
    return answer(reply, read.position, [(b"etag", b'"%d"' % reply.version)])


async def _product(connection: Connection, tenant_id: int, product_id: int) -> ProductReply:
    row = await connection.fetchrow(_ONE, tenant_id, product_id)
    if row is None:
        raise Problem("product_not_found", f"There is no product with id {product_id}.")
    levels = await connection.fetch(_STOCK, tenant_id, product_id)
    weight = trimmed_or_none(row["weight"])
    return ProductReply(
        id=row["product_id"],
        name=row["name"],
        sku=row["sku"],
        base_price=money(row["base_price"]),
        cost_price=money_or_none(row["cost_price"]),
        compare_at_price=money_or_none(row["compare_at_price"]),
        barcode=row["barcode"],
        vendor=row["vendor"],
        description=row["description"],
        category_id=row["category_id"],
        tracking_type=row["tracking_type"],
        weight=None if weight is None else format(weight, "f"),
        unit=row["unit"],
        scale=row["scale"],
        alternative_units=_UNITS.decode(row["alternative_units_text"]),
        reorder_level=trimmed_or_none(row["reorder_level"]),
        taxable=row["taxable"],
        requires_shipping=row["requires_shipping"],
        is_active=row["is_active"],
        images=[],
        stock=warehouse_stock(levels),
        created_at=row["created_at"],
        version=row["version"],
    )


def warehouse_stock(rows: list[Any]) -> list[WarehouseStock]:
    """Return the stock of a product at each warehouse that has had some."""
    return [
        WarehouseStock(
            warehouse_id=row["location_id"],
            warehouse_name=row["name"],
            quantity=trimmed(row["quantity"]),
        )
        for row in rows
    ]


@routes.add(
    "POST",
    "/api/products",
    "Create a product",
    role="manager",
    scope="write",
    body=RegisterProduct,
    replies={201: ProductCreatedReply},
    problems=("sku_taken",),
    commits=True,
)
async def create_product(call: Call) -> Reply:
    """Register a product. Its id is counted per tenant."""
    body = await json_body(call)
    command = _BODY.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, ProductRegistered)
        return rendered(
            201,
            ProductCreatedReply(
                id=event.product_id,
                name=event.name,
                sku=event.sku,
                base_price=money(event.base_price),
                cost_price=money_or_none(event.cost_price),
                tracking_type=event.tracking_type,
                is_active=event.is_active,
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "PUT",
    "/api/products/{id}",
    "Update a product",
    role="manager",
    scope="write",
    body=RegisterProduct,
    replies={200: MessageReply},
    problems=("product_not_found", "sku_taken"),
    commits=True,
    conditional=True,
)
async def update_product(call: Call) -> Reply:
    """Replace all that is said of a product; what the body leaves out goes back to its default."""
    product_id = path_id(call, code="product_not_found")
    body = await json_body(call)
    command = made(
        ReviseProduct, {**msgspec.structs.asdict(_BODY.decode(body)), "product_id": product_id}
    )
    return await commit(
        call,
        body,
        [command],
        lambda outcomes: rendered(200, MessageReply(message="Product updated")),
        conditional=True,
    )


@routes.add(
    "DELETE",
    "/api/products/{id}",
    "Delete a product",
    role="admin",
    scope="write",
    replies={200: MessageReply},
    problems=("product_not_found",),
    commits=True,
    conditional=True,
)
async def delete_product(call: Call) -> Reply:
    """Take a product out of the catalogue. Refused while it has stock. Its history stays in
    the log, which forgets nothing."""
    product_id = path_id(call, code="product_not_found")
    body = await no_body(call)
    return await commit(
        call,
        body,
        [DiscontinueProduct(product_id=product_id)],
        lambda outcomes: rendered(200, MessageReply(message="Product deleted")),
        conditional=True,
    )
