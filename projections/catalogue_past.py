"""What products and locations were called at a position of the log: from their last statement.

Each statement of a product or a location tells all of it, so the last one up to the position is
found by its stream, and nothing is folded.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ledger.mapper import decode_event
from projections.projection import Connection
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductRegistered, ProductRevised

_LAST: Final = """
SELECT w.id, e.type, e.schema_version, e.data::text
FROM unnest($2::bigint[]) AS w (id)
CROSS JOIN LATERAL (
    SELECT type, schema_version, data FROM ledger.event
    WHERE tenant_id = $1 AND stream = $3::text || w.id AND position <= $4
      AND type = ANY ($5::text[])
    ORDER BY version DESC LIMIT 1
) e
"""


async def products_at(
    connection: Connection, tenant_id: int, position: int, products: Iterable[int]
) -> Mapping[int, ProductRegistered | ProductRevised]:
    """Return what was last said of some products by a position; those not there yet are not."""
    found: dict[int, ProductRegistered | ProductRevised] = {}
    kinds = (ProductRegistered, ProductRevised)
    for product_id, event in await _last(
        connection, tenant_id, position, "product-", products, kinds
    ):
        assert isinstance(event, ProductRegistered | ProductRevised)
        found[product_id] = event
    return found


async def locations_at(
    connection: Connection, tenant_id: int, position: int, locations: Iterable[int]
) -> Mapping[int, LocationOpened | LocationRevised]:
    """Return what was last said of some locations by a position; those not there yet are not."""
    found: dict[int, LocationOpened | LocationRevised] = {}
    kinds = (LocationOpened, LocationRevised)
    for location_id, event in await _last(
        connection, tenant_id, position, "location-", locations, kinds
    ):
        assert isinstance(event, LocationOpened | LocationRevised)
        found[location_id] = event
    return found


async def _last(
    connection: Connection,
    tenant_id: int,
    position: int,
    prefix: str,
    ids: Iterable[int],
    kinds: Sequence[type[Event]],
) -> list[tuple[int, Event]]:
    rows = await connection.fetch(
        _LAST, tenant_id, list(set(ids)), prefix, position, [kind.TYPE for kind in kinds]
    )
    return [(number, decode_event(*event)) for number, *event in rows]
