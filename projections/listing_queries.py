"""What is read of listings: lists, the export of all products at all locations, parents."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from asyncpg import Record

from projections.projection import Connection


class Filter(NamedTuple):
    """What a list is held to; None: to nothing. ``code`` is a location's, folded."""

    product_id: int | None = None
    location_id: int | None = None
    sku: str | None = None
    code: str | None = None
    disabled: bool | None = None


_FILTERED: Final = """
    AND ($2::bigint IS NULL OR held.product_id = $2)
    AND ($3::bigint IS NULL OR held.location_id = $3)
    AND ($4::text IS NULL OR held.product_id = (
        SELECT a.target_id FROM projections.alias a
        WHERE a.tenant_id = $1 AND a.kind = 'sku' AND a.key = $4))
    AND ($5::text IS NULL OR held.location_id = (
        SELECT a.target_id FROM projections.alias a
        WHERE a.tenant_id = $1 AND a.kind = 'location' AND a.key = $5))
"""

# --- listings ---------------------------------------------------------------------------

_LISTINGS: Final = f"""
SELECT held.*, p.sku, w.code
FROM projections.listing held
JOIN projections.product p ON p.tenant_id = $1 AND p.product_id = held.product_id
JOIN projections.location w ON w.tenant_id = $1 AND w.location_id = held.location_id
WHERE held.tenant_id = $1 {_FILTERED}
  AND ($6::boolean IS NULL OR held.disabled = $6)
ORDER BY held.product_id, held.location_id LIMIT $7 OFFSET $8
"""

_LISTINGS_COUNT: Final = f"""
SELECT count(*) FROM projections.listing held
WHERE held.tenant_id = $1 {_FILTERED} AND ($6::boolean IS NULL OR held.disabled = $6)
"""


async def listings(
    connection: Connection, tenant_id: int, wanted: Filter, limit: int, offset: int
) -> list[Record]:
    """Return listings with the SKU and the location's code, by product and location."""
    return await connection.fetch(_LISTINGS, tenant_id, *wanted, limit, offset)


async def count_listings(connection: Connection, tenant_id: int, wanted: Filter) -> int:
    """Return how many there are."""
    return await connection.fetchval(_LISTINGS_COUNT, tenant_id, *wanted) or 0


# --- products at locations --------------------------------------------------------------

# A place is of interest where a product ever was, or where something was said of it.
_HELD: Final = """
(SELECT l.product_id, l.location_id FROM projections.stock_level l WHERE l.tenant_id = $1
 UNION
 SELECT i.product_id, i.location_id FROM projections.listing i WHERE i.tenant_id = $1)
"""

_PLACES: Final = f"""
SELECT held.product_id, held.location_id, p.sku, p.name, p.variant_of, w.code, p.base_price,
       p.backorders AS product_backorders,
       coalesce(l.unrestricted + l.quarantine, 0) AS on_hand,
       i.regular_price, i.sale_price, i.backorders, coalesce(i.disabled, false) AS disabled
FROM {_HELD} held
JOIN projections.product p ON p.tenant_id = $1 AND p.product_id = held.product_id
JOIN projections.location w ON w.tenant_id = $1 AND w.location_id = held.location_id
LEFT JOIN projections.stock_level l ON l.tenant_id = $1
     AND l.product_id = held.product_id AND l.location_id = held.location_id
LEFT JOIN projections.listing i ON i.tenant_id = $1
     AND i.product_id = held.product_id AND i.location_id = held.location_id
WHERE NOT p.is_discontinued {{condition}}
ORDER BY held.product_id, held.location_id {{page}}
"""

_PAGE: Final = _PLACES.format(condition=_FILTERED, page="LIMIT $6 OFFSET $7")
_AFTER: Final = _PLACES.format(
    condition=f"{_FILTERED} AND (held.product_id, held.location_id) > ($6, $7)", page="LIMIT $8"
)
_OF_PRODUCTS: Final = _PLACES.format(condition="AND held.product_id = ANY ($2::bigint[])", page="")

_PLACES_COUNT: Final = f"""
SELECT count(*)
FROM {_HELD} held
JOIN projections.product p ON p.tenant_id = $1 AND p.product_id = held.product_id
WHERE NOT p.is_discontinued {_FILTERED}
"""


async def places(
    connection: Connection, tenant_id: int, wanted: Filter, limit: int, offset: int
) -> list[Record]:
    """Return products at locations: stock and listing, by product and location."""
    return await connection.fetch(_PAGE, tenant_id, *wanted[:4], limit, offset)


async def places_after(
    connection: Connection, tenant_id: int, wanted: Filter, after: tuple[int, int], limit: int
) -> list[Record]:
    """Return those behind a product and location."""
    return await connection.fetch(_AFTER, tenant_id, *wanted[:4], *after, limit)


async def places_of(
    connection: Connection, tenant_id: int, product_ids: Sequence[int]
) -> list[Record]:
    """Return those of some products."""
    return await connection.fetch(_OF_PRODUCTS, tenant_id, list(product_ids))


async def count_places(connection: Connection, tenant_id: int, wanted: Filter) -> int:
    """Return how many there are."""
    return await connection.fetchval(_PLACES_COUNT, tenant_id, *wanted[:4]) or 0


# --- products with variations -----------------------------------------------------------

_PARENTS: Final = """
SELECT DISTINCT v.variant_of AS product_id, a.key
FROM projections.product v
JOIN projections.alias a ON a.tenant_id = $1 AND a.kind = 'sku' AND a.target_id = v.variant_of
WHERE v.tenant_id = $1 AND v.variant_of IS NOT NULL AND NOT v.is_discontinued
  AND (v.variant_of = ANY ($2::bigint[]) OR a.key = ANY ($3::text[]))
"""


async def parents_among(
    connection: Connection, tenant_id: int, product_ids: Collection[int], sku_keys: Collection[str]
) -> tuple[set[int], set[str]]:
    """Return the ids, and the folded SKUs, of those of some products that have variations."""
    rows = await connection.fetch(_PARENTS, tenant_id, list(product_ids), list(sku_keys))
    return {row["product_id"] for row in rows}, {row["key"] for row in rows}


# --- what another system maps its names to ----------------------------------------------

ProductFilter = tuple[int | None, str | None, int | None]
"""A product's id, its folded SKU, and whose variant it is; None: any."""

_WANTED: Final = """
WHERE p.tenant_id = $1 AND NOT p.is_discontinued
  AND ($2::bigint IS NULL OR p.product_id = $2)
  AND ($3::text IS NULL OR p.product_id = (
      SELECT a.target_id FROM projections.alias a
      WHERE a.tenant_id = $1 AND a.kind = 'sku' AND a.key = $3))
  AND ($4::bigint IS NULL OR p.variant_of = $4)
"""

_PRODUCTS: Final = f"""
SELECT p.product_id, p.name, p.sku, p.variant_of, p.options::text AS options_text, p.is_active,
       p.base_price, p.backorders,
       (SELECT array_agg(v.product_id ORDER BY v.product_id) FROM projections.product v
        WHERE v.tenant_id = $1 AND v.variant_of = p.product_id AND NOT v.is_discontinued
       ) AS variations
FROM projections.product p {_WANTED}
ORDER BY p.product_id LIMIT $5 OFFSET $6
"""

_PRODUCTS_COUNT: Final = f"SELECT count(*) FROM projections.product p {_WANTED}"


async def products(
    connection: Connection, tenant_id: int, wanted: ProductFilter, limit: int, offset: int
) -> list[Record]:
    """Return products of the catalogue in the order of their ids, with those of their variants."""
    return await connection.fetch(_PRODUCTS, tenant_id, *wanted, limit, offset)


async def count_products(connection: Connection, tenant_id: int, wanted: ProductFilter) -> int:
    """Return how many there are."""
    return await connection.fetchval(_PRODUCTS_COUNT, tenant_id, *wanted) or 0


_LOCATIONS: Final = """
SELECT location_id, name, code, is_default, address, city, state, postcode, country
FROM projections.location WHERE tenant_id = $1 AND is_active
ORDER BY location_id LIMIT $2 OFFSET $3
"""

_LOCATIONS_COUNT: Final = (
    "SELECT count(*) FROM projections.location WHERE tenant_id = $1 AND is_active"
)


async def active_locations(
    connection: Connection, tenant_id: int, limit: int, offset: int
) -> list[Record]:
    """Return the active locations in the order of their ids."""
    return await connection.fetch(_LOCATIONS, tenant_id, limit, offset)


async def count_active_locations(connection: Connection, tenant_id: int) -> int:
    """Return how many there are."""
    return await connection.fetchval(_LOCATIONS_COUNT, tenant_id) or 0
