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
from api.tabular import Table
from api.writes import commit, json_body, made, no_body, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from schemas.http_catalogue import (
    ProductCreatedReply,
    ProductImage,
    ProductReply,
    ProductRow,
    ProductsReply,
    ProductVariant,
    WarehouseStock,
)
from schemas.http_common import MessageReply
from schemas.product import (
    AlternativeUnit,
    DiscontinueProduct,
    ProductImageEntry,
    ProductRegistered,
    RegisterProduct,
    ReviseProduct,
    VariantOption,
)

routes = Routes("Products")

EXPORT_PAGE_ROWS: Final = 500
VARIANTS_SHOWN_MAX: Final = 1000
_BODY = BodyDecoder(RegisterProduct)
_UNITS = msgspec.json.Decoder(list[AlternativeUnit])
_OPTIONS = msgspec.json.Decoder(list[VariantOption])
_IMAGES = msgspec.json.Decoder(list[ProductImageEntry])

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

_CATEGORY = """
    LEFT JOIN projections.category c
        ON c.tenant_id = p.tenant_id AND c.category_id = p.category_id
"""

_LIST = f"""
SELECT p.product_id, p.name, p.sku, p.base_price, p.cost_price, p.barcode, p.vendor,
       p.category_id, c.name AS category_name, p.tracking_type, p.is_active, {_TOTAL_STOCK}
FROM projections.product p {_CATEGORY}
WHERE {_WHERE} AND p.product_id > $5
ORDER BY p.product_id LIMIT $6 OFFSET $7
"""

_COUNT = f"SELECT count(*) FROM projections.product p WHERE {_WHERE}"

_SUPPLIER = """
    LEFT JOIN projections.supplier s
        ON s.tenant_id = p.tenant_id AND s.supplier_id = p.supplier_id
"""

_ONE = f"""
SELECT p.*, p.alternative_units::text AS alternative_units_text, p.options::text AS options_text,
       p.images::text AS images_text, c.name AS category_name, s.name AS supplier_name
FROM projections.product p {_CATEGORY} {_SUPPLIER}
WHERE p.tenant_id = $1 AND p.product_id = $2 AND NOT p.is_discontinued
"""

_STOCK = """
SELECT w.location_id, w.name, l.unrestricted + l.quarantine AS quantity
FROM projections.stock_level l
JOIN projections.location w ON w.tenant_id = l.tenant_id AND w.location_id = l.location_id
WHERE l.tenant_id = $1 AND l.product_id = $2
ORDER BY w.location_id
"""

_VARIANTS = f"""
SELECT p.product_id, p.sku, p.name, p.base_price, p.options::text AS options_text, p.is_active,
       {_TOTAL_STOCK}
FROM projections.product p
WHERE p.tenant_id = $1 AND p.variant_of = $2 AND NOT p.is_discontinued
ORDER BY p.product_id LIMIT {VARIANTS_SHOWN_MAX}
"""

_EXPORT = f"""
SELECT p.*, p.alternative_units::text AS alternative_units_text, p.options::text AS options_text,
       p.images::text AS images_text, c.name AS category_name, s.name AS supplier_name,
       {_TOTAL_STOCK}
FROM projections.product p {_CATEGORY} {_SUPPLIER}
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
            category_name=row["category_name"],
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
    "compare_at_price",
    "category_id",
    "category_name",
    "supplier_id",
    "supplier_name",
    "description",
    "tracking_type",
    "weight",
    "unit",
    "scale",
    "alternative_units",
    "reorder_level",
    "taxable",
    "requires_shipping",
    "backorders",
    "is_active",
    "variant_of",
    "options",
    "images",
    "total_stock",
    "created_at",
)


async def _export(call: Call, rows: list[Any]) -> AsyncGenerator[bytes, None]:
    """Yield the file page by page; no connection is held while the client reads."""
    caller = call.caller
    yield _csv([_EXPORT_COLUMNS])
    while rows:
        yield _csv([[_cell(row, column) for column in _EXPORT_COLUMNS] for row in rows])
        if len(rows) < EXPORT_PAGE_ROWS:
            return
        async with tenant_transaction(
            call.house.pool, caller.tenant_id, credential=caller.credential
        ) as connection:
            rows = await connection.fetch(
                _EXPORT, caller.tenant_id, rows[-1]["product_id"], EXPORT_PAGE_ROWS
            )


def _cell(row: Any, column: str) -> object:
    """Return a cell of the export: lists are joined, and flags are true or false."""
    match column:
        case "id":
            return row["product_id"]
        case "base_price" | "cost_price" | "compare_at_price":
            return money_or_none(row[column])
        case "weight" | "reorder_level" | "total_stock":
            return trimmed_or_none(row[column])
        case "taxable" | "requires_shipping" | "backorders" | "is_active":
            return "true" if row[column] else "false"
        case "alternative_units":
            units = _UNITS.decode(row["alternative_units_text"])
            return "; ".join(f"{unit.unit}={unit.numerator}/{unit.denominator}" for unit in units)
        case "options":
            options = _OPTIONS.decode(row["options_text"])
            return "; ".join(f"{option.name}={option.value}" for option in options)
        case "images":
            # The primary one is first; an address has no spaces in it.
            images = sorted(_IMAGES.decode(row["images_text"]), key=lambda one: not one.is_primary)
            return " ".join(image.url for image in images)
        case "created_at":
            return row["created_at"].isoformat()
        case _:
            return row[column]


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
    table=Table(rows="stock"),
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
    variants = await connection.fetch(_VARIANTS, tenant_id, product_id)
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
        category_name=row["category_name"],
        supplier_id=row["supplier_id"],
        supplier_name=row["supplier_name"],
        tracking_type=row["tracking_type"],
        weight=None if weight is None else format(weight, "f"),
        unit=row["unit"],
        scale=row["scale"],
        alternative_units=_UNITS.decode(row["alternative_units_text"]),
        reorder_level=trimmed_or_none(row["reorder_level"]),
        taxable=row["taxable"],
        requires_shipping=row["requires_shipping"],
        backorders=row["backorders"],
        is_active=row["is_active"],
        images=[
            ProductImage(id=product_id * 1000 + place, url=image.url, is_primary=image.is_primary)
            for place, image in enumerate(_IMAGES.decode(row["images_text"]), 1)
        ],
        variant_of=row["variant_of"],
        options=_OPTIONS.decode(row["options_text"]),
        variants=[
            ProductVariant(
                id=variant["product_id"],
                sku=variant["sku"],
                name=variant["name"],
                base_price=money(variant["base_price"]),
                options=_OPTIONS.decode(variant["options_text"]),
                is_active=variant["is_active"],
                total_stock=trimmed(variant["total_stock"]),
            )
            for variant in variants
        ],
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
    problems=("product_not_found", "category_not_found", "supplier_not_found", "sku_taken"),
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
    problems=("product_not_found", "category_not_found", "supplier_not_found", "sku_taken"),
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
    """Take a product out of the catalogue. Refused while it has stock, or variants. Its history
    stays in the log, which forgets nothing."""
    product_id = path_id(call, code="product_not_found")
    body = await no_body(call)
    return await commit(
        call,
        body,
        [DiscontinueProduct(product_id=product_id)],
        lambda outcomes: rendered(200, MessageReply(message="Product deleted")),
        conditional=True,
    )
