"""Inventory: stock levels, what is low, and what moved (seed 003, "Inventory")."""

from decimal import Decimal
from typing import Final

import msgspec
from asyncpg import Record

from api.context import Call
from api.endpoint import Routes, query
from api.moments import MOMENT_PARAMETERS
from api.past import PAST_PROBLEMS, answer_at, reading_at
from api.problems import Problem
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, parse_integer
from api.reads import Reading, next_cursor, trimmed, trimmed_or_none
from api.reply import Reply
from api.stock import LOCATIONS_MAX
from api.stock_at import StockReading, reading_stock
from api.stock_value import reading_values
from api.tabular import Table
from projections import stock_queries
from projections.catalogue_past import locations_at, products_at
from projections.stock_history_queries import WhichItems
from projections.stock_queries import MOVEMENT_TYPE_OF, MOVEMENT_TYPES, LevelFilter, MovementFilter
from schemas.http_inventory import (
    AlertRow,
    AlertsReply,
    InventoryReply,
    InventoryRow,
    InventorySummaryReply,
    MovementRow,
    MovementsReply,
)

routes = Routes("Inventory")

_WAREHOUSE = Parameter("warehouse_id", "integer", "Only at this warehouse", minimum=1)
_PRODUCT = Parameter("product_id", "integer", "Only this product", minimum=1)
_CURSOR = Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=40)

_LIST_PARAMETERS = (
    _WAREHOUSE,
    _PRODUCT,
    Parameter("low_stock", "boolean", "Only what is at or below its reorder level"),
    PAGE,
    LIMIT,
    _CURSOR,
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)
_LEVELS: Final = ("stock_levels", "products", "locations", "purchase_orders")
"""The read models that levels are shown from."""


@routes.add(
    "GET",
    "/api/inventory",
    "List stock levels",
    parameters=_LIST_PARAMETERS,
    replies={200: InventoryReply},
    problems=PAST_PROBLEMS,
)
async def list_inventory(call: Call) -> Reply:
    """The stock of each product at each warehouse that has ever had some. With ``as_of`` and
    ``known_at``, as it was then, of those that had had some by then; names and reorder levels are
    as they were known at ``known_at``."""
    values = query(call, _LIST_PARAMETERS)
    page, limit = values["page"], values["limit"]
    after = _level_cursor(values["cursor"])
    offset = 0 if values["cursor"] else (page - 1) * limit
    where = LevelFilter(values["warehouse_id"], values["product_id"], bool(values["low_stock"]))
    is_past = values["as_of"] is not None or values["known_at"] is not None
    if is_past and not where.low_stock:
        which = WhichItems(where.location_id, where.product_id, after)
        async with reading_stock(call, values) as stock:
            inventory, total = await _levels_then(stock, which, limit, offset)
            read = stock.read
    else:
        # What was low depends on every level: that is folded.
        async with reading_at(call, values, _LEVELS) as read:
            rows = await stock_queries.list_levels(
                read.connection, read.tenant_id, where, after=after, limit=limit, offset=offset
            )
            total = await stock_queries.count_levels(read.connection, read.tenant_id, where)
        inventory = [_inventory_row(row) for row in rows]
    last = f"{inventory[-1].product_id}.{inventory[-1].warehouse_id}" if inventory else ""
    reply = InventoryReply(
        inventory=inventory,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(inventory, limit, last),
    )
    return answer_at(read, reply)


async def _levels_then(
    stock: StockReading, which: WhichItems, limit: int, offset: int
) -> tuple[list[InventoryRow], int]:
    """Return a page of levels as they were at a moment, and how many there were."""
    read = stock.read
    history = await stock.history(which.product_id)
    items = await history.items(which, limit=limit, offset=offset)
    levels = await history.levels(items)
    total = await history.count_items(which)
    at = read.connection, read.tenant_id, read.position
    products = await products_at(*at, (product_id for product_id, _ in items))
    locations = await locations_at(*at, (location_id for _, location_id in items))
    rows: list[InventoryRow] = []
    for product_id, location_id in items:
        level = levels[product_id, location_id]
        product, location = products.get(product_id), locations.get(location_id)
        row = InventoryRow(
            product_id=product_id,
            sku=product.sku if product else "",
            product_name=product.name if product else "",
            warehouse_id=location_id,
            warehouse_name=location.name if location else "",
            quantity=trimmed(level.on_hand),
            reorder_level=trimmed_or_none(product.reorder_level) if product else None,
            reserved_quantity=trimmed(level.reserved),
            available_quantity=trimmed(level.available),
            quarantined_quantity=trimmed(level.quarantine),
            in_transit_quantity=trimmed(level.in_transit),
            incoming_quantity=trimmed(level.incoming),
        )
        rows.append(row)
    return rows, total


def _inventory_row(row: Record) -> InventoryRow:
    return InventoryRow(
        product_id=row["product_id"],
        sku=row["sku"] or "",
        product_name=row["product_name"] or "",
        warehouse_id=row["location_id"],
        warehouse_name=row["location_name"] or "",
        quantity=row["on_hand"],
        reorder_level=row["reorder_level"],
        reserved_quantity=row["reserved"],
        available_quantity=row["available"],
        quarantined_quantity=row["quarantine"],
        in_transit_quantity=row["in_transit"],
        incoming_quantity=row["incoming"],
    )


def _level_cursor(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    product, _, location = cursor.partition(".")
    product_id, location_id = parse_integer(product), parse_integer(location)
    if product_id is None or location_id is None:
        raise Problem(
            "invalid_parameter", "cursor: must be a next_cursor of this list.", field="cursor"
        )
    return product_id, location_id


_SUMMARY_PARAMETERS = (*MOMENT_PARAMETERS, MIN_POSITION)


@routes.add(
    "GET",
    "/api/inventory/summary",
    "Inventory summary",
    parameters=_SUMMARY_PARAMETERS,
    replies={200: InventorySummaryReply},
    table=Table(),
    problems=PAST_PROBLEMS,
)
async def summarise_inventory(call: Call) -> Reply:
    """Counts over the whole catalogue. Value is what is on hand by the books' method, which is
    the products' cost price unless another was chosen; a product is low where it is at or below
    its reorder level at one of its warehouses. With as_of or known_at, as it was then."""
    values = query(call, _SUMMARY_PARAMETERS)
    reads = ("stock_levels", "products", "locations")
    async with reading_values(call, values, reads) as (read, levels):
        row = await stock_queries.summary(read.connection, read.tenant_id)
        value = row["total_stock_value"]
        if levels is not None:
            value = sum((level.value for level in levels if not level.in_transit), Decimal(0))
    reply = InventorySummaryReply(
        total_skus=row["total_skus"],
        total_stock_value=value,
        low_stock_count=row["low_stock_count"],
        out_of_stock_count=row["out_of_stock_count"],
        warehouses=row["locations"],
    )
    return answer_at(read, reply)


_ALERT_PARAMETERS = (_WAREHOUSE, PAGE, LIMIT, *MOMENT_PARAMETERS, MIN_POSITION)


@routes.add(
    "GET",
    "/api/inventory/alerts",
    "Low stock alerts",
    parameters=_ALERT_PARAMETERS,
    replies={200: AlertsReply},
    problems=PAST_PROBLEMS,
)
async def list_alerts(call: Call) -> Reply:
    """Levels at or below the reorder level of their product. With as_of or known_at, as they
    were then."""
    values = query(call, _ALERT_PARAMETERS)
    page, limit = values["page"], values["limit"]
    where = LevelFilter(location_id=values["warehouse_id"], low_stock=True)
    async with reading_at(call, values, _LEVELS) as read:
        rows = await stock_queries.list_levels(
            read.connection, read.tenant_id, where, limit=limit, offset=(page - 1) * limit
        )
        total = await stock_queries.count_levels(read.connection, read.tenant_id, where)
    alerts = [
        AlertRow(
            product_id=row["product_id"],
            sku=row["sku"] or "",
            product_name=row["product_name"] or "",
            warehouse_id=row["location_id"],
            warehouse_name=row["location_name"] or "",
            quantity=row["on_hand"],
            reorder_level=row["reorder_level"],
        )
        for row in rows
    ]
    return answer_at(read, AlertsReply(alerts=alerts, total=total, page=page, limit=limit))


_MOVEMENT_PARAMETERS = (
    _WAREHOUSE,
    _PRODUCT,
    Parameter("type", "string", "Only movements of this kind", values=tuple(MOVEMENT_TYPES)),
    PAGE,
    LIMIT,
    _CURSOR,
    *MOMENT_PARAMETERS,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/inventory/movements",
    "Movement history",
    parameters=_MOVEMENT_PARAMETERS,
    replies={200: MovementsReply},
    problems=("not_yet",),
)
async def list_movements(call: Call) -> Reply:
    """Every movement of goods from one account to another, the newest first. With ``as_of`` those
    that had happened by then, and with ``known_at`` those that had been recorded by then; the
    same goes for what reversed them."""
    values = query(call, _MOVEMENT_PARAMETERS)
    page, limit, before = values["page"], values["limit"], cursor_id(values["cursor"])
    offset = 0 if before else (page - 1) * limit
    kind = values["type"]
    where = MovementFilter(
        values["product_id"],
        values["warehouse_id"],
        None if kind is None else MOVEMENT_TYPES[kind],
    )
    async with reading_stock(call, values) as stock:
        read = stock.read
        rows = await stock_queries.list_movements(
            read.connection,
            read.tenant_id,
            where,
            before=before or None,
            moment=stock.moment,
            limit=limit,
            offset=offset,
        )
        total = await _count_movements(stock, where)
        movements = [_movement_row(row) for row in rows]
        if stock.moment is not None:
            movements = await _named_then(read, movements)
    reply = MovementsReply(
        movements=movements,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(movements, limit, str(movements[-1].id) if movements else ""),
    )
    return answer_at(read, reply)


async def _count_movements(stock: StockReading, where: MovementFilter) -> int:
    read = stock.read
    if stock.moment is None or where.types is not None or where.product_id is None:
        return await stock_queries.count_movements(
            read.connection, read.tenant_id, where, moment=stock.moment
        )
    history = await stock.history(where.product_id)
    which = WhichItems(where.location_id, where.product_id)
    levels = await history.levels(await history.items(which, limit=LOCATIONS_MAX))
    return int(sum(level.movements for level in levels.values()))


async def _named_then(read: Reading, movements: list[MovementRow]) -> list[MovementRow]:
    """Return movements with the names that products and warehouses had at the moment."""
    at = read.connection, read.tenant_id, read.position
    products = await products_at(*at, (row.product_id for row in movements))
    locations = await locations_at(*at, (row.warehouse_id for row in movements))
    return [
        msgspec.structs.replace(
            row,
            sku=products[row.product_id].sku if row.product_id in products else "",
            warehouse_name=(
                locations[row.warehouse_id].name if row.warehouse_id in locations else ""
            ),
        )
        for row in movements
    ]


def _movement_row(row: Record) -> MovementRow:
    return MovementRow(
        id=row["position"],
        product_id=row["product_id"],
        sku=row["sku"] or "",
        movement_type=MOVEMENT_TYPE_OF.get(row["type"], "adjustment"),
        quantity=row["quantity"],
        warehouse_id=row["location_id"],
        warehouse_name=row["location_name"] or "",
        from_account=row["from_account"],
        from_warehouse_id=row["from_location_id"],
        to_account=row["to_account"],
        to_warehouse_id=row["to_location_id"],
        reference_id=row["reference"],
        reason=row["reason"],
        notes=row["notes"],
        created_by_name=row["actor_name"],
        effective_at=row["effective_at"],
        created_at=row["recorded_at"],
        reverses=row["reverses"],
        reversed_by=row["reversed_by"],
    )
