"""The external API: for integrations, with an API key alone (seed 003, "External API")."""

from collections.abc import Sequence
from typing import Any

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem, of_refusal
from api.products import warehouse_stock
from api.query import LIMIT, MIN_POSITION, PAGE
from api.reads import answer, money, path_text, reading, trimmed
from api.reply import Reply
from api.stock_commands import ledger_fields
from api.writes import committed, idempotency_of, json_body, made, rendered
from ledger.aliases import fold
from ledger.submission import Item, Outcome, Rendered, Submission
from schemas.http_catalogue import (
    ExternalProductReply,
    ExternalProductRow,
    ExternalProductsReply,
)
from schemas.http_customers import ExternalCustomerRow, ExternalCustomersReply
from schemas.http_inventory import (
    ExternalInventoryReply,
    ExternalInventoryRow,
    SyncBody,
    SyncItem,
    SyncRefusal,
    SyncReply,
)
from schemas.stock import SetStock

routes = Routes("External")

_PAGE_PARAMETERS = (PAGE, LIMIT, MIN_POSITION)

_PRODUCTS = """
SELECT p.product_id, p.name, p.sku, p.base_price, p.barcode, p.vendor, p.is_active,
       coalesce((SELECT sum(l.unrestricted + l.quarantine) FROM projections.stock_level l
                 WHERE l.tenant_id = $1 AND l.product_id = p.product_id), 0) AS total_stock
FROM projections.product p
WHERE p.tenant_id = $1 AND p.is_active AND NOT p.is_discontinued
ORDER BY p.product_id LIMIT $2 OFFSET $3
"""

_PRODUCTS_COUNT = """
SELECT count(*) FROM projections.product
WHERE tenant_id = $1 AND is_active AND NOT is_discontinued
"""


@routes.add(
    "GET",
    "/api/external/products",
    "List active products",
    role=None,
    scope="read",
    parameters=_PAGE_PARAMETERS,
    replies={200: ExternalProductsReply},
    problems=("not_yet",),
)
async def list_products(call: Call) -> Reply:
    """Active products with their price and total stock."""
    values = query(call, _PAGE_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_PRODUCTS, read.tenant_id, limit, (page - 1) * limit)
        total = await read.connection.fetchval(_PRODUCTS_COUNT, read.tenant_id) or 0
    products = [
        ExternalProductRow(
            id=row["product_id"],
            name=row["name"],
            sku=row["sku"],
            price=money(row["base_price"]),
            barcode=row["barcode"],
            vendor=row["vendor"],
            total_stock=trimmed(row["total_stock"]),
            is_active=row["is_active"],
        )
        for row in rows
    ]
    reply = ExternalProductsReply(products=products, total=total, page=page, limit=limit)
    return answer(reply, read.position)


_BY_SKU = """
SELECT p.product_id, p.name, p.sku, p.base_price, p.barcode
FROM projections.alias a
JOIN projections.product p ON p.tenant_id = a.tenant_id AND p.product_id = a.target_id
WHERE a.tenant_id = $1 AND a.kind = 'sku' AND a.key = $2 AND NOT p.is_discontinued
"""

_STOCK = """
SELECT w.location_id, w.name, l.unrestricted + l.quarantine AS quantity
FROM projections.stock_level l
JOIN projections.location w ON w.tenant_id = l.tenant_id AND w.location_id = l.location_id
WHERE l.tenant_id = $1 AND l.product_id = $2
ORDER BY w.location_id
"""


@routes.add(
    "GET",
    "/api/external/products/{sku:path}",
    "Get a product by SKU",
    role=None,
    scope="read",
    parameters=(MIN_POSITION,),
    replies={200: ExternalProductReply},
    problems=("product_not_found", "not_yet"),
)
async def get_product(call: Call) -> Reply:
    """One product by its SKU, in any case. A SKU with a slash in it is taken as it is."""
    sku = path_text(call, "/api/external/products/")
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        row = await read.connection.fetchrow(_BY_SKU, read.tenant_id, fold(sku))
        if row is None:
            raise Problem("product_not_found", f"There is no product with sku {sku!r}.")
        levels = await read.connection.fetch(_STOCK, read.tenant_id, row["product_id"])
    reply = ExternalProductReply(
        id=row["product_id"],
        name=row["name"],
        sku=row["sku"],
        price=money(row["base_price"]),
        barcode=row["barcode"],
        stock=warehouse_stock(levels),
    )
    return answer(reply, read.position)


_INVENTORY = """
SELECT l.product_id, p.sku, p.name AS product_name, l.location_id, w.name AS warehouse_name,
       l.unrestricted + l.quarantine AS quantity
FROM projections.stock_level l
JOIN projections.product p ON p.tenant_id = l.tenant_id AND p.product_id = l.product_id
JOIN projections.location w ON w.tenant_id = l.tenant_id AND w.location_id = l.location_id
WHERE l.tenant_id = $1 AND NOT p.is_discontinued
ORDER BY l.product_id, l.location_id LIMIT $2 OFFSET $3
"""

_INVENTORY_COUNT = """
SELECT count(*) FROM projections.stock_level l
JOIN projections.product p ON p.tenant_id = l.tenant_id AND p.product_id = l.product_id
WHERE l.tenant_id = $1 AND NOT p.is_discontinued
"""


@routes.add(
    "GET",
    "/api/external/inventory",
    "Stock levels",
    role=None,
    scope="read",
    parameters=_PAGE_PARAMETERS,
    replies={200: ExternalInventoryReply},
    problems=("not_yet",),
)
async def list_inventory(call: Call) -> Reply:
    """What is on hand of every product at every warehouse."""
    values = query(call, _PAGE_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_INVENTORY, read.tenant_id, limit, (page - 1) * limit)
        total = await read.connection.fetchval(_INVENTORY_COUNT, read.tenant_id) or 0
    inventory = [
        ExternalInventoryRow(
            product_id=row["product_id"],
            sku=row["sku"],
            product_name=row["product_name"],
            warehouse_id=row["location_id"],
            warehouse_name=row["warehouse_name"],
            quantity=trimmed(row["quantity"]),
        )
        for row in rows
    ]
    reply = ExternalInventoryReply(inventory=inventory, total=total, page=page, limit=limit)
    return answer(reply, read.position)


_CUSTOMERS = """
SELECT customer_id, name, email, company, customer_type
FROM projections.customer WHERE tenant_id = $1
ORDER BY customer_id LIMIT $2 OFFSET $3
"""

_CUSTOMERS_COUNT = "SELECT count(*) FROM projections.customer WHERE tenant_id = $1"


@routes.add(
    "GET",
    "/api/external/customers",
    "List customers",
    role=None,
    scope="read",
    parameters=_PAGE_PARAMETERS,
    replies={200: ExternalCustomersReply},
    problems=("not_yet",),
)
async def list_customers(call: Call) -> Reply:
    """Customers of the tenant in the order of their ids."""
    values = query(call, _PAGE_PARAMETERS)
    page, limit = values["page"], values["limit"]
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_CUSTOMERS, read.tenant_id, limit, (page - 1) * limit)
        total = await read.connection.fetchval(_CUSTOMERS_COUNT, read.tenant_id) or 0
    customers = [
        ExternalCustomerRow(
            id=row["customer_id"],
            name=row["name"],
            email=row["email"],
            company=row["company"],
            customer_type=row["customer_type"],
        )
        for row in rows
    ]
    reply = ExternalCustomersReply(customers=customers, total=total, page=page, limit=limit)
    return answer(reply, read.position)


_SYNC_BODY = BodyDecoder(SyncBody)
_SYNC_ITEMS = BodyDecoder(tuple[SyncItem, ...])


@routes.add(
    "POST",
    "/api/external/inventory/sync",
    "Sync inventory",
    role=None,
    scope="write",
    body=SyncBody,
    replies={200: SyncReply},
    commits=True,
)
async def sync_inventory(call: Call) -> Reply:
    """Set absolute quantities on hand. Each item takes effect for itself: one that is refused is
    skipped and told of in errors. The last writer wins, unless an item says what it expects."""
    settings = call.house.settings
    body = await json_body(call, settings.body_bytes_max)
    if body.lstrip()[:1] == b"[":
        items: Sequence[SyncItem] = _SYNC_ITEMS.decode(body)
    else:
        items = _SYNC_BODY.decode(body).inventory
    if not 1 <= len(items) <= settings.bulk_commands_max:
        raise Problem(
            "invalid_field",
            f"inventory: must have 1 to {settings.bulk_commands_max} items.",
            field="inventory",
        )
    commands: list[Item] = []
    for index, item in enumerate(items):
        try:
            commands.append(Item(made(SetStock, ledger_fields(item))))
        except Problem as problem:
            problem.members["field"] = f"inventory[{index}].{problem.members.get('field', '')}"
            raise
    caller = call.caller
    idempotency = idempotency_of(call, body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        errors = [
            _refusal(index, items[index], outcome)
            for index, outcome in enumerate(outcomes)
            if outcome.refusal is not None
        ]
        return rendered(
            200,
            SyncReply(
                message="Inventory synced",
                updated=len(items) - len(errors),
                skipped=len(errors),
                errors=errors,
            ),
        )

    reply = await call.house.committer.submit(
        Submission(
            tenant_id=caller.tenant_id,
            items=commands,
            meta=call.meta(None if idempotency is None else idempotency.key),
            atomic=False,
            render=render,
            idempotency=idempotency,
            credential=caller.credential,
        )
    )
    return committed(reply.status, reply.body, reply.position, reply.replayed)


def _refusal(index: int, item: SyncItem, outcome: Outcome) -> SyncRefusal:
    assert outcome.refusal is not None
    document: dict[str, Any] = of_refusal(outcome.refusal).document()
    return SyncRefusal(index=index, sku=item.sku, error=document["error"], code=document["code"])
