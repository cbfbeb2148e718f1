"""From a synchronisation to commands: what the books say of its items and suppliers already.

Commands bring it along, since the decisions about them must know all that is said of a product
or supplier, and is said no more when they come to be decided: then it is read again.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from api.dialects.mipos.answers import SYSTEM
from api.dialects.mipos.sync_body import ItemSaid, SyncSaid
from api.reads import trimmed_or_none
from ledger.aliases import fold
from ledger.store import Connection
from schemas.common import Command
from schemas.product import AlternativeUnit, ProductImageEntry, ReviseProduct, VariantOption
from schemas.stock import SetStock
from schemas.supplier import ReviseSupplier

_PLAIN: Final = (
    "product_id, name, sku, base_price, cost_price, compare_at_price, barcode, vendor, "
    "description, category_id, tracking_type, weight, unit, scale, reorder_level, taxable, "
    "requires_shipping, is_active, backorders, variant_of, supplier_id"
)
_LISTS: Final = ("alternative_units", "options", "images")

# Each name is looked up for itself, by a key: for joins the planner has no statistics of tables
# that have just been filled, and may go through all of one for each name.
_LINKED = """
LEFT JOIN LATERAL (
    SELECT l.target_id, l.unit FROM projections.external_link l
    WHERE l.tenant_id = $1 AND l.external_id = w.external_id AND l.kind = '{kind}'
      AND l.system = $2
    LIMIT 1
) l ON true
"""
_FOUND = (
    _LINKED
    + """
LEFT JOIN LATERAL (
    SELECT a.target_id FROM projections.alias a
    WHERE a.tenant_id = $1 AND a.kind = '{alias}' AND a.key = w.key
    LIMIT 1
) a ON true
CROSS JOIN LATERAL (
    SELECT {columns} FROM projections.{table} t
    WHERE t.tenant_id = $1 AND t.{table}_id = coalesce(l.target_id, a.target_id)
    LIMIT 1
) t
"""
)

_PRODUCTS = f"""
SELECT w.external_id, t.*
FROM unnest($3::text[], $4::text[]) AS w (external_id, key)
{
    _FOUND.format(
        kind="item",
        alias="sku",
        table="product",
        columns=f"{_PLAIN}, " + ", ".join(f"{column}::text" for column in _LISTS),
    )
}
"""

_SUPPLIERS = f"""
SELECT w.external_id, l.target_id IS NOT NULL AS is_linked, t.*
FROM unnest($3::text[], $4::text[]) AS w (external_id, key)
{
    _FOUND.format(
        kind="supplier",
        alias="supplier",
        table="supplier",
        columns="supplier_id, name, code, email, phone, payment_terms, lead_time_days",
    )
}
"""

_UNITS = msgspec.json.Decoder(tuple[AlternativeUnit, ...])
_OPTIONS = msgspec.json.Decoder(tuple[VariantOption, ...])
_IMAGES = msgspec.json.Decoder(tuple[ProductImageEntry, ...])


# Items that say nothing new: linked, counted in the product's own unit, and the catalogue says all
# that they say.
_NO_NEWS = f"""
SELECT w.place::int, p.product_id
FROM unnest($3::text[], $4::text[], $5::text[], $6::numeric[], $7::bigint[])
    WITH ORDINALITY AS w (external_id, name, unit, cost, supplier_id, place)
{_LINKED.format(kind="item")}
CROSS JOIN LATERAL (
    SELECT product_id, name, unit, cost_price, supplier_id, alternative_units, is_discontinued
    FROM projections.product p
    WHERE p.tenant_id = $1 AND p.product_id = l.target_id
    LIMIT 1
) p
WHERE NOT p.is_discontinued AND p.name = w.name AND p.cost_price = w.cost
  AND p.supplier_id = w.supplier_id
  AND l.unit IS NULL AND (w.unit = p.unit OR NOT p.alternative_units @> jsonb_build_array(
          jsonb_build_object('unit', w.unit)))
"""


async def sync_commands(
    connection: Connection, tenant_id: int, location_id: int, said: SyncSaid
) -> Sequence[Command]:
    """Return the commands that take a synchronisation over at a location.

    Of an item of which only the stock is news, only the stock is set: that is nearly all of
    them, nearly always. The others come with what is known of each.
    """
    suppliers = {
        row["external_id"]: row
        for row in await _read(connection, _SUPPLIERS, tenant_id, list(said.suppliers))
    }
    linked = {name: row["supplier_id"] for name, row in suppliers.items() if row["is_linked"]}
    commands: list[Command] = [
        said.supplier(name, _supplier(suppliers.get(name)))
        for name, called in said.suppliers.items()
        if name not in linked or suppliers[name]["name"] != called
    ]
    no_news = await _no_news(connection, tenant_id, said, linked)
    news = [item.external_id for place, item in enumerate(said.items) if place not in no_news]
    products = {
        row["external_id"]: _product(row)
        for row in await _read(connection, _PRODUCTS, tenant_id, news)
    }
    for place, item in enumerate(said.items):
        product_id = no_news.get(place)
        if product_id is None:
            commands.append(said.item(item, location_id, products.get(item.external_id)))
            continue
        commands.append(
            SetStock(
                product_id=product_id,
                location_id=location_id,
                quantity=Decimal(item.stock),
                reason=SYSTEM,
            )
        )
    return commands


async def _no_news(
    connection: Connection, tenant_id: int, said: SyncSaid, suppliers: Mapping[str, int]
) -> Mapping[int, int]:
    """Return the products of items that say nothing new, by the items' places.

    One that comes with a conversion of its purchase unit is always looked at closely.
    """
    items: Sequence[ItemSaid] = said.items
    units = said.units
    rows = await connection.fetch(
        _NO_NEWS,
        tenant_id,
        SYSTEM,
        [item.external_id for item in items],
        [item.name for item in items],
        [units[item.consumption_unit_external_id] for item in items],
        [Decimal(item.cost) for item in items],
        [suppliers.get(item.supplier_external_id) for item in items],
    )
    found: dict[int, int] = {}
    for row in rows:
        place: int = row["place"] - 1
        if items[place].purchase_unit_factor is None:
            found[place] = row["product_id"]
    return found


async def _read(
    connection: Connection, query: str, tenant_id: int, names: Sequence[str]
) -> Sequence[Any]:
    if not names:
        return ()
    return await connection.fetch(query, tenant_id, SYSTEM, names, list(map(fold, names)))


def _supplier(row: Any) -> ReviseSupplier | None:
    if row is None:
        return None
    said = dict(row)
    del said["external_id"], said["is_linked"]
    return ReviseSupplier(**said)


def _product(row: Any) -> ReviseProduct:
    said: dict[str, Any] = {
        name: trimmed_or_none(value) if isinstance(value, Decimal) else value
        for name, value in row.items()
    }
    del said["external_id"]
    said["alternative_units"] = _UNITS.decode(said["alternative_units"])
    said["options"] = _OPTIONS.decode(said["options"])
    said["images"] = _IMAGES.decode(said["images"])
    return ReviseProduct(**said)
