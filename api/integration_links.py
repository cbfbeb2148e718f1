"""Links to other systems: which of our places and products they mean, and what they disagree on."""

from collections.abc import Sequence
from typing import Any, Final, get_args

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, refuse_unknown
from api.reads import answer, path_text, reading, trimmed
from api.reply import Reply
from api.stock_commands import ledger_fields
from api.writes import commit, json_body, made, no_body, rendered
from ledger.submission import Outcome, Rendered
from schemas.http_common import MessageReply
from schemas.http_integration import (
    DivergenceRow,
    DivergencesReply,
    InventorySystemReply,
    ItemRow,
    ItemsReply,
    LinkItemBody,
    LinkStoreBody,
    StoreRow,
    StoresReply,
)
from schemas.integration import LinkItem, LinkStore, System, UnlinkItem, UnlinkStore

routes = Routes("Integrations")

_SYSTEMS: Final[tuple[str, ...]] = get_args(System)
_SYSTEM = Parameter("system", "string", "Of one system only", values=_SYSTEMS)
_PRODUCT = Parameter("product_id", "integer", "Of one product only", None, 1)
_WAREHOUSE = Parameter("warehouse_id", "integer", "Of one warehouse only", None, 1)
_EXTERNAL_ID = Parameter("external_id", "string", "What the other system calls it", maximum=100)
_LINKS: Final = (_SYSTEM, _EXTERNAL_ID, PAGE, LIMIT, MIN_POSITION)
_DIVERGENCES: Final = (_SYSTEM, _PRODUCT, _WAREHOUSE, PAGE, LIMIT, MIN_POSITION)

_OWN = """
SELECT t.inventory_system_id::text, coalesce((
    SELECT min(user_id)::text FROM access.app_user
    WHERE tenant_id = $1 AND role = 'owner' AND is_active
), '') AS user_id_tps
FROM ledger.tenant t WHERE t.tenant_id = $1
"""


@routes.add(
    "GET",
    "/api/integrations/v1/inventory-system",
    "Get the ids of the inventory system",
    replies={200: InventorySystemReply},
)
async def get_inventory_system(call: Call) -> Reply:
    """What miPOS asks for as inventory_system_id and user_id_tps. Any active owner's id is taken;
    this is the first one's."""
    async with reading(call) as read:
        row = await read.connection.fetchrow(_OWN, read.tenant_id)
    if row is None:
        raise Problem("not_found", "There is no such tenant any more.")
    return answer(InventorySystemReply(**dict(row)), read.position)


# --- stores -----------------------------------------------------------------------------

_STORES = """
SELECT l.system, l.external_id, l.target_id AS warehouse_id, w.name AS warehouse_name, w.code,
       l.linked_at, count(*) OVER () AS total
FROM projections.external_link l
JOIN projections.location w ON w.tenant_id = l.tenant_id AND w.location_id = l.target_id
WHERE l.tenant_id = $1 AND l.kind = 'store' AND ($2::text IS NULL OR l.system = $2)
  AND ($3::text IS NULL OR l.external_id = $3)
ORDER BY l.system, l.target_id LIMIT $4 OFFSET $5
"""


@routes.add(
    "GET",
    "/api/integrations/v1/stores",
    "List linked stores",
    parameters=_LINKS,
    replies={200: StoresReply},
    problems=("not_yet",),
)
async def list_stores(call: Call) -> Reply:
    """Stores of other systems, each with the warehouse that it is."""
    values = _values(call, _LINKS)
    rows, total, position = await _listed(call, _STORES, values, ("system", "external_id"))
    stores = [StoreRow(**row) for row in rows]
    reply = StoresReply(stores=stores, total=total, page=values["page"], limit=values["limit"])
    return answer(reply, position)


_STORE_BODY = BodyDecoder(LinkStoreBody)


@routes.add(
    "POST",
    "/api/integrations/v1/stores",
    "Link a store",
    role="manager",
    scope="write",
    body=LinkStoreBody,
    replies={200: MessageReply},
    problems=("location_not_found",),
    commits=True,
)
async def link_store(call: Call) -> Reply:
    """Say that a store of another system is one of the warehouses. The same again: nothing to
    do. A store is one warehouse only, and a warehouse one store of each system."""
    body = await json_body(call)
    command = made(LinkStore, ledger_fields(_STORE_BODY.decode(body)))
    return await commit(call, body, [command], _done("Store linked"))


@routes.add(
    "DELETE",
    "/api/integrations/v1/stores/{system}/{external_id:path}",
    "Unlink a store",
    role="manager",
    scope="write",
    replies={200: MessageReply},
    commits=True,
)
async def unlink_store(call: Call) -> Reply:
    """End a store's link; one that is not there is no error. Its stock stays."""
    command = made(UnlinkStore, _named(call, "stores"))
    return await commit(call, await no_body(call), [command], _done("Store unlinked"))


# --- items ------------------------------------------------------------------------------

_ITEMS = """
SELECT l.system, l.external_id, l.target_id AS product_id, p.sku, p.name,
       coalesce(l.unit, p.unit) AS unit, l.linked_at, count(*) OVER () AS total
FROM projections.external_link l
JOIN projections.product p ON p.tenant_id = l.tenant_id AND p.product_id = l.target_id
WHERE l.tenant_id = $1 AND l.kind = 'item' AND ($2::text IS NULL OR l.system = $2)
  AND ($3::text IS NULL OR l.external_id = $3)
ORDER BY l.system, l.target_id LIMIT $4 OFFSET $5
"""


@routes.add(
    "GET",
    "/api/integrations/v1/items",
    "List linked items",
    parameters=_LINKS,
    replies={200: ItemsReply},
    problems=("not_yet",),
)
async def list_items(call: Call) -> Reply:
    """Items of other systems, each with the product that it is."""
    values = _values(call, _LINKS)
    rows, total, position = await _listed(call, _ITEMS, values, ("system", "external_id"))
    items = [ItemRow(**row) for row in rows]
    reply = ItemsReply(items=items, total=total, page=values["page"], limit=values["limit"])
    return answer(reply, position)


_ITEM_BODY = BodyDecoder(LinkItemBody)


@routes.add(
    "POST",
    "/api/integrations/v1/items",
    "Link an item",
    role="manager",
    scope="write",
    body=LinkItemBody,
    replies={200: MessageReply},
    problems=("product_not_found",),
    commits=True,
)
async def link_item(call: Call) -> Reply:
    """Say that an item of another system is one of the products. Synchronising does so by itself
    for a SKU that is the item's id; this is for any other."""
    body = await json_body(call)
    command = made(LinkItem, ledger_fields(_ITEM_BODY.decode(body)))
    return await commit(call, body, [command], _done("Item linked"))


@routes.add(
    "DELETE",
    "/api/integrations/v1/items/{system}/{external_id:path}",
    "Unlink an item",
    role="manager",
    scope="write",
    replies={200: MessageReply},
    commits=True,
)
async def unlink_item(call: Call) -> Reply:
    """End an item's link; one that is not there is no error. The product stays as it is."""
    command = made(UnlinkItem, _named(call, "items"))
    return await commit(call, await no_body(call), [command], _done("Item unlinked"))


# --- divergences ------------------------------------------------------------------------

_DIVERGED = """
SELECT d.position, d.system, d.external_id, d.product_id, p.sku, d.location_id AS warehouse_id,
       w.name AS warehouse_name, d.on_hand, d.reported, d.reported_at, d.recorded_at,
       count(*) OVER () AS total
FROM projections.stock_divergence d
JOIN projections.product p ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
JOIN projections.location w ON w.tenant_id = d.tenant_id AND w.location_id = d.location_id
WHERE d.tenant_id = $1 AND ($2::text IS NULL OR d.system = $2)
  AND ($3::bigint IS NULL OR d.product_id = $3) AND ($4::bigint IS NULL OR d.location_id = $4)
ORDER BY d.position DESC LIMIT $5 OFFSET $6
"""


@routes.add(
    "GET",
    "/api/integrations/v1/divergences",
    "List stock divergences",
    parameters=_DIVERGENCES,
    replies={200: DivergencesReply},
    problems=("not_yet",),
)
async def list_divergences(call: Call) -> Reply:
    """Where another system's figure of stock was not what the books said, the latest first."""
    values = _values(call, _DIVERGENCES)
    filters = ("system", "product_id", "warehouse_id")
    rows, total, position = await _listed(call, _DIVERGED, values, filters)
    divergences = [
        DivergenceRow(
            **row,
            on_hand=trimmed(on_hand),
            reported=trimmed(reported),
            difference=trimmed(reported - on_hand),
        )
        for row in rows
        for on_hand, reported in ((row.pop("on_hand"), row.pop("reported")),)
    ]
    reply = DivergencesReply(
        divergences=divergences, total=total, page=values["page"], limit=values["limit"]
    )
    return answer(reply, position)


# --- all of them ------------------------------------------------------------------------


def _values(call: Call, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    values = query(call, parameters)
    refuse_unknown(call.scope["query_string"], parameters)
    return values


async def _listed(
    call: Call, statement: str, values: dict[str, Any], filters: Sequence[str]
) -> tuple[list[dict[str, Any]], int, int]:
    """Return a page of rows, how many there are in all, and the position they were read at.

    Past the last page there is no row to tell the total, so it is read from the first.
    """
    page, limit = values["page"], values["limit"]
    wanted = [values[name] for name in filters]
    async with reading(call, values["min_position"]) as read:
        found = await read.connection.fetch(
            statement, read.tenant_id, *wanted, limit, (page - 1) * limit
        )
        first = found[0] if found else None
        if first is None and page > 1:
            first = await read.connection.fetchrow(statement, read.tenant_id, *wanted, 1, 0)
    rows = [{name: value for name, value in row.items() if name != "total"} for row in found]
    return rows, 0 if first is None else first["total"], read.position


def _named(call: Call, resource: str) -> dict[str, str]:
    """Return the system and the external id in a path; raise Problem (404) for no such system."""
    system = call.path_params["system"]
    if system not in _SYSTEMS:
        raise Problem("not_found", f"There is no such system; it is one of {', '.join(_SYSTEMS)}.")
    prefix = f"/api/integrations/v1/{resource}/{system}/"
    return {"system": system, "external_id": path_text(call, prefix)}


def _done(message: str) -> Any:
    def render(_outcomes: Sequence[Outcome]) -> Rendered:
        return rendered(200, MessageReply(message=message))

    return render
