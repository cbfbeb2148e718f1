"""What an outside system maps its own names to (seed 004): locations and products."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec
from asyncpg import Record

from api.context import Call
from api.dialects.woocommerce.errors import ERRORS, NAMESPACE
from api.dialects.woocommerce.inventory import PRODUCT_ID, SKU, backorders_of
from api.dialects.woocommerce.paging import PAGE, PER_PAGE, pages, total_headers
from api.endpoint import Routes, query
from api.query import MIN_POSITION, Parameter
from api.reads import answer, money, money_or_none, reading, trimmed
from api.reply import Reply
from ledger.aliases import fold
from projections import listing_queries
from schemas.http_woocommerce import (
    StoreLocation,
    StoreLocationsReply,
    StoreProduct,
    StoreProductLocation,
    StoreProductsReply,
)
from schemas.product import VariantOption

routes = Routes("WooCommerce", ERRORS)

_LOCATION_PARAMETERS: Final = (PAGE, PER_PAGE, MIN_POSITION)


@routes.add(
    "GET",
    f"{NAMESPACE}/locations",
    "List store locations",
    role=None,
    scope="read",
    parameters=_LOCATION_PARAMETERS,
    replies={200: StoreLocationsReply},
    problems=("not_yet",),
)
async def list_locations(call: Call) -> Reply:
    """The active locations. A location's slug is its code, taken in any case."""
    values = query(call, _LOCATION_PARAMETERS)
    page, per_page = values["page"], values["per_page"]
    async with reading(call, values["min_position"]) as read:
        connection, tenant_id = read.connection, read.tenant_id
        rows = await listing_queries.active_locations(
            connection, tenant_id, per_page, (page - 1) * per_page
        )
        total = await listing_queries.count_active_locations(connection, tenant_id)
    locations = [
        StoreLocation(
            id=row["location_id"],
            name=row["name"],
            slug=row["code"],
            is_default=row["is_default"],
            address=row["address"],
            city=row["city"],
            state=row["state"],
            postcode=row["postcode"],
            country=row["country"],
        )
        for row in rows
    ]
    reply = StoreLocationsReply(
        success=True,
        locations=locations,
        total=total,
        page=page,
        per_page=per_page,
        total_pages=pages(total, per_page),
    )
    return answer(reply, read.position, total_headers(total, per_page))


_PARENT: Final = Parameter("parent_id", "integer", "Only the variations of this one", minimum=1)
_PRODUCT_PARAMETERS: Final = (PAGE, PER_PAGE, PRODUCT_ID, SKU, _PARENT, MIN_POSITION)
_OPTIONS: Final = msgspec.json.Decoder(list[VariantOption])


@routes.add(
    "GET",
    f"{NAMESPACE}/products",
    "List products and what is where of them",
    role=None,
    scope="read",
    parameters=_PRODUCT_PARAMETERS,
    replies={200: StoreProductsReply},
    problems=("not_yet",),
)
async def list_products(call: Call) -> Reply:
    """Products and variations, each an item of its own, with its stock and its terms at every
    location where it ever was, or was listed."""
    values = query(call, _PRODUCT_PARAMETERS)
    page, per_page = values["page"], values["per_page"]
    sku = None if values["sku"] is None else fold(values["sku"])
    wanted = (values["product_id"], sku, values["parent_id"])
    async with reading(call, values["min_position"]) as read:
        connection, tenant_id = read.connection, read.tenant_id
        rows = await listing_queries.products(
            connection, tenant_id, wanted, per_page, (page - 1) * per_page
        )
        total = await listing_queries.count_products(connection, tenant_id, wanted)
        ids = [row["product_id"] for row in rows]
        held = await listing_queries.places_of(connection, tenant_id, ids)
    places: dict[int, list[Record]] = {}
    for row in held:
        places.setdefault(row["product_id"], []).append(row)
    reply = StoreProductsReply(
        success=True,
        products=[_product(row, places.get(row["product_id"], ())) for row in rows],
        total=total,
        page=page,
        per_page=per_page,
        total_pages=pages(total, per_page),
    )
    return answer(reply, read.position, total_headers(total, per_page))


def _product(row: Record, held: Sequence[Record]) -> StoreProduct:
    kind = "variable" if row["variations"] else "simple"
    return StoreProduct(
        id=row["product_id"],
        name=row["name"],
        sku=row["sku"],
        type="variation" if row["variant_of"] is not None else kind,
        parent_id=row["variant_of"],
        attributes=_OPTIONS.decode(row["options_text"]),
        variations=row["variations"] or [],
        status="publish" if row["is_active"] else "draft",
        regular_price=money(row["base_price"]),
        backorders=backorders_of(row["backorders"]) or "no",
        stock=trimmed(sum((place["on_hand"] for place in held), Decimal(0))),
        locations=[_at(place) for place in held],
    )


def _at(place: Record) -> StoreProductLocation:
    regular, sale = place["regular_price"], place["sale_price"]
    price = next(each for each in (sale, regular, place["base_price"]) if each is not None)
    own = place["backorders"]
    allowed = place["product_backorders"] if own is None else own
    return StoreProductLocation(
        location_id=place["location_id"],
        location_slug=place["code"],
        stock=trimmed(place["on_hand"]),
        price=money(price),
        regular_price=money_or_none(regular),
        sale_price=money_or_none(sale),
        backorders=backorders_of(allowed) or "no",
        disabled=place["disabled"],
    )
