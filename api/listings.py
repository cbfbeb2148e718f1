"""Listings: how products are sold at locations, where that differs from their own terms."""

from collections.abc import Sequence
from typing import Any, Final

from asyncpg import Record

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter, refuse_unknown
from api.reads import answer, money_or_none, path_id, reading
from api.reply import Reply
from api.writes import commit, json_body, made, rendered
from ledger.aliases import fold
from ledger.domain.listing import ListingState, stream
from ledger.domain.location import LocationState
from ledger.domain.product import ProductState
from ledger.submission import Outcome, Rendered
from projections import listing_queries
from projections.listing_queries import Filter
from schemas.http_listings import ListingBody, ListingReply, ListingsReply
from schemas.listing import ListProduct

routes = Routes("Listings")

_BODY: Final = BodyDecoder(ListingBody)
_PARAMETERS: Final = (
    Parameter("product_id", "integer", "Only this product's", minimum=1),
    Parameter("sku", "string", "Only those of the product with this SKU", maximum=100),
    Parameter("location_id", "integer", "Only those at this location", minimum=1),
    Parameter("location", "string", "Only those at the location with this code", maximum=50),
    Parameter("disabled", "boolean", "Only those that are disabled, or that are not"),
    PAGE,
    LIMIT,
    MIN_POSITION,
)


@routes.add(
    "GET",
    "/api/listings",
    "List listings",
    parameters=_PARAMETERS,
    replies={200: ListingsReply},
    problems=("not_yet",),
)
async def list_listings(call: Call) -> Reply:
    """All that was ever said of products at locations, by product and location. What is not here
    is sold on the product's own terms."""
    values = query(call, _PARAMETERS)
    refuse_unknown(call.scope["query_string"], _PARAMETERS)
    page, limit = values["page"], values["limit"]
    wanted = Filter(
        product_id=values["product_id"],
        location_id=values["location_id"],
        sku=None if values["sku"] is None else fold(values["sku"]),
        code=None if values["location"] is None else fold(values["location"]),
        disabled=values["disabled"],
    )
    async with reading(call, values["min_position"]) as read:
        connection, tenant_id = read.connection, read.tenant_id
        rows = await listing_queries.listings(
            connection, tenant_id, wanted, limit, (page - 1) * limit
        )
        total = await listing_queries.count_listings(connection, tenant_id, wanted)
    reply = ListingsReply(listings=[_row(row) for row in rows], total=total, page=page, limit=limit)
    return answer(reply, read.position)


def _row(row: Record) -> ListingReply:
    return ListingReply(
        product_id=row["product_id"],
        sku=row["sku"],
        location_id=row["location_id"],
        location=row["code"],
        regular_price=money_or_none(row["regular_price"]),
        sale_price=money_or_none(row["sale_price"]),
        backorders=row["backorders"],
        disabled=row["disabled"],
        listed_at=row["listed_at"],
        version=row["version"],
    )


@routes.add(
    "GET",
    "/api/listings/{product_id}/{location_id}",
    "Get a listing",
    parameters=(MIN_POSITION,),
    replies={200: ListingReply},
    problems=("listing_not_found", "not_yet"),
)
async def get_listing(call: Call) -> Reply:
    """How a product is sold at a location. ETag is the version that If-Match takes."""
    product_id, location_id = _place(call)
    values = query(call, (MIN_POSITION,))
    wanted = Filter(product_id=product_id, location_id=location_id)
    async with reading(call, values["min_position"]) as read:
        rows = await listing_queries.listings(read.connection, read.tenant_id, wanted, 1, 0)
    if not rows:
        raise Problem(
            "listing_not_found",
            f"Nothing was said of product {product_id} at location {location_id}, so it is sold "
            f"there on its own terms; PUT a listing to change that.",
        )
    reply = _row(rows[0])
    return answer(reply, read.position, [(b"etag", b'"%d"' % rows[0]["version"])])


@routes.add(
    "PUT",
    "/api/listings/{product_id}/{location_id}",
    "List a product at a location",
    role="manager",
    scope="write",
    body=ListingBody,
    replies={200: ListingReply},
    problems=("product_not_found", "location_not_found"),
    commits=True,
    conditional=True,
)
async def list_product(call: Call) -> Reply:
    """Replace all that is said of a product at a location; what the body leaves out is as the
    product has it. An order for it there is refused while it is disabled."""
    product_id, location_id = _place(call)
    raw = await json_body(call)
    body = _BODY.decode(raw)
    fields: dict[str, Any] = {name: getattr(body, name) for name in body.__struct_fields__}
    command = made(ListProduct, {**fields, "product_id": product_id, "location_id": location_id})

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        (outcome,) = outcomes
        listed: ListingState = outcome.states[stream(product_id, location_id)]
        product: ProductState = outcome.states[f"product-{product_id}"]
        location: LocationState = outcome.states[f"location-{location_id}"]
        recorded = outcome.events[0] if outcome.events else None
        return rendered(
            200,
            ListingReply(
                product_id=product_id,
                sku=product.sku,
                location_id=location_id,
                location=location.code,
                regular_price=money_or_none(listed.regular_price),
                sale_price=money_or_none(listed.sale_price),
                backorders=listed.backorders,
                disabled=listed.disabled,
                listed_at=None if recorded is None else recorded.recorded_at,
                version=None if recorded is None else recorded.version,
            ),
        )

    return await commit(call, raw, [command], render, conditional=True)


def _place(call: Call) -> tuple[int, int]:
    """Return the product and the location that a path names; raise Problem (404) for none."""
    return (
        path_id(call, "product_id", code="product_not_found"),
        path_id(call, "location_id", code="location_not_found"),
    )
