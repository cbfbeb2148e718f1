"""Inventory: stock levels, what is low, and what moved (seed 003, "Inventory")."""

from decimal import Decimal

from asyncpg import Record

from api.context import Call
from api.endpoint import Routes, query
from api.problems import Problem
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, parse_integer
from api.reads import answer, next_cursor, reading
from api.reply import Reply
from api.stock_value import reading_values
from projections import stock_queries
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
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/inventory",
    "List stock levels",
    parameters=_LIST_PARAMETERS,
    replies={200: InventoryReply},
    problems=("not_yet",),
)
async def list_inventory(call: Call) -> Reply:
    """The stock of each product at each warehouse that has ever had some."""
    values = query(call, _LIST_PARAMETERS)
    page, limit = values["page"], values["limit"]
    after = _level_cursor(values["cursor"])
    offset = 0 if values["cursor"] else (page - 1) * limit
    where = LevelFilter(values["warehouse_id"], values["product_id"], bool(values["low_stock"]))
    async with reading(call, values["min_position"]) as read:
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
    return answer(reply, read.position)


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


@routes.add(
    "GET",
    "/api/inventory/summary",
    "Inventory summary",
    parameters=(MIN_POSITION,),
    replies={200: InventorySummaryReply},
    problems=("not_yet",),
)
async def summarise_inventory(call: Call) -> Reply:
    """Counts over the whole catalogue. Value is what is on hand by the books' method, which is
    the products' cost price unless another was chosen; a product is low where it is at or below
    its reorder level at one of its warehouses."""
    values = query(call, (MIN_POSITION,))
    async with reading_values(call, values["min_position"]) as (read, levels):
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
    return answer(reply, read.position)


_ALERT_PARAMETERS = (_WAREHOUSE, PAGE, LIMIT, MIN_POSITION)


@routes.add(
    "GET",
    "/api/inventory/alerts",
    "Low stock alerts",
    parameters=_ALERT_PARAMETERS,
    replies={200: AlertsReply},
    problems=("not_yet",),
)
async def list_alerts(call: Call) -> Reply:
    """Levels at or below the reorder level of their product."""
    values = query(call, _ALERT_PARAMETERS)
    page, limit = values["page"], values["limit"]
    where = LevelFilter(location_id=values["warehouse_id"], low_stock=True)
    async with reading(call, values["min_position"]) as read:
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
    return answer(AlertsReply(alerts=alerts, total=total, page=page, limit=limit), read.position)


_MOVEMENT_PARAMETERS = (
    _WAREHOUSE,
    _PRODUCT,
    Parameter("type", "string", "Only movements of this kind", values=tuple(MOVEMENT_TYPES)),
    PAGE,
    LIMIT,
    _CURSOR,
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
    """Every movement of goods from one account to another, the newest first."""
    values = query(call, _MOVEMENT_PARAMETERS)
    page, limit, before = values["page"], values["limit"], cursor_id(values["cursor"])
    offset = 0 if before else (page - 1) * limit
    kind = values["type"]
    where = MovementFilter(
        values["product_id"],
        values["warehouse_id"],
        None if kind is None else MOVEMENT_TYPES[kind],
    )
    async with reading(call, values["min_position"]) as read:
        rows = await stock_queries.list_movements(
            read.connection,
            read.tenant_id,
            where,
            before=before or None,
            limit=limit,
            offset=offset,
        )
        total = await stock_queries.count_movements(read.connection, read.tenant_id, where)
    movements = [_movement_row(row) for row in rows]
    reply = MovementsReply(
        movements=movements,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(movements, limit, str(movements[-1].id) if movements else ""),
    )
    return answer(reply, read.position)


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
