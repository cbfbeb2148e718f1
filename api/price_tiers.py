"""Price tiers, which price the lines of their customers' orders (seed 003, "Customers")."""

from collections.abc import Sequence
from typing import Final

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import answer, money, next_cursor, path_id, reading, trimmed
from api.reply import Reply
from api.writes import commit, json_body, made, rendered
from ledger.submission import Outcome, Rendered
from schemas.customer import DefinePriceTier, PriceTierDefined, RevisePriceTier
from schemas.http_common import MessageReply
from schemas.http_customers import (
    PriceTierCreatedReply,
    PriceTierReply,
    PriceTierRow,
    PriceTiersReply,
    TierPriceRow,
)

routes = Routes("Customers")

BODY_BYTES_MAX: Final = 256 * 1024
"""A tier's thousand prices are longer than other bodies."""
_BODY = BodyDecoder(DefinePriceTier)

_LIST_PARAMETERS = (
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    MIN_POSITION,
)

_CUSTOMER_COUNT = """
    (SELECT count(*) FROM projections.customer c
     WHERE c.tenant_id = $1 AND c.price_tier_id = t.price_tier_id) AS customer_count
"""

_LIST = f"""
SELECT t.*, {_CUSTOMER_COUNT},
       (SELECT count(*) FROM projections.tier_price p
        WHERE p.tenant_id = $1 AND p.price_tier_id = t.price_tier_id) AS price_count
FROM projections.price_tier t
WHERE t.tenant_id = $1 AND t.price_tier_id > $2
ORDER BY t.price_tier_id LIMIT $3 OFFSET $4
"""

_COUNT = "SELECT count(*) FROM projections.price_tier WHERE tenant_id = $1"

_ONE = f"""
SELECT t.*, {_CUSTOMER_COUNT}
FROM projections.price_tier t
WHERE t.tenant_id = $1 AND t.price_tier_id = $2
"""

_PRICES = """
SELECT p.product_id, p.min_quantity, p.unit_price, d.sku, d.name
FROM projections.tier_price p
JOIN projections.product d ON d.tenant_id = p.tenant_id AND d.product_id = p.product_id
WHERE p.tenant_id = $1 AND p.price_tier_id = $2
ORDER BY p.product_id, p.min_quantity
"""


@routes.add(
    "GET",
    "/api/customers/price-tiers",
    "List price tiers",
    parameters=_LIST_PARAMETERS,
    replies={200: PriceTiersReply},
    problems=("not_yet",),
)
async def list_price_tiers(call: Call) -> Reply:
    """Price tiers of the tenant in the order of their ids."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, after = values["page"], values["limit"], cursor_id(values["cursor"])
    offset = 0 if after else (page - 1) * limit
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id, after, limit, offset)
        total = await read.connection.fetchval(_COUNT, read.tenant_id) or 0
    tiers = [
        PriceTierRow(
            id=row["price_tier_id"],
            name=row["name"],
            discount_percent=trimmed(row["discount_percent"]),
            price_count=row["price_count"],
            customer_count=row["customer_count"],
            created_at=row["created_at"],
        )
        for row in rows
    ]
    last = str(tiers[-1].id) if tiers else ""
    reply = PriceTiersReply(
        price_tiers=tiers,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(tiers, limit, last),
    )
    return answer(reply, read.position)


@routes.add(
    "GET",
    "/api/customers/price-tiers/{id}",
    "Get a price tier",
    parameters=(MIN_POSITION,),
    replies={200: PriceTierReply},
    problems=("price_tier_not_found", "not_yet"),
)
async def get_price_tier(call: Call) -> Reply:
    """One price tier with its prices. ETag is the version that If-Match takes."""
    price_tier_id = path_id(call, code="price_tier_not_found")
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        row = await read.connection.fetchrow(_ONE, read.tenant_id, price_tier_id)
        if row is None:
            raise Problem(
                "price_tier_not_found", f"There is no price tier with id {price_tier_id}."
            )
        prices = await read.connection.fetch(_PRICES, read.tenant_id, price_tier_id)
    reply = PriceTierReply(
        id=row["price_tier_id"],
        name=row["name"],
        discount_percent=trimmed(row["discount_percent"]),
        prices=[
            TierPriceRow(
                product_id=price["product_id"],
                sku=price["sku"],
                product_name=price["name"],
                min_quantity=trimmed(price["min_quantity"]),
                unit_price=money(price["unit_price"]),
            )
            for price in prices
        ],
        customer_count=row["customer_count"],
        created_at=row["created_at"],
        version=row["version"],
    )
    return answer(reply, read.position, [(b"etag", b'"%d"' % reply.version)])


@routes.add(
    "POST",
    "/api/customers/price-tiers",
    "Create a price tier",
    role="manager",
    scope="write",
    body=DefinePriceTier,
    replies={201: PriceTierCreatedReply},
    problems=("product_not_found", "tier_price_twice"),
    commits=True,
)
async def create_price_tier(call: Call) -> Reply:
    """Define a price tier. Customers are put in it by their price_tier_id."""
    body = await json_body(call, BODY_BYTES_MAX)
    command = _BODY.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, PriceTierDefined)
        return rendered(
            201,
            PriceTierCreatedReply(
                id=event.price_tier_id,
                name=event.name,
                discount_percent=trimmed(event.discount_percent),
                price_count=len(event.prices),
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "PUT",
    "/api/customers/price-tiers/{id}",
    "Update a price tier",
    role="manager",
    scope="write",
    body=DefinePriceTier,
    replies={200: MessageReply},
    problems=("price_tier_not_found", "product_not_found", "tier_price_twice"),
    commits=True,
    conditional=True,
)
async def update_price_tier(call: Call) -> Reply:
    """Replace a price tier with all of its prices. Orders that were placed keep theirs."""
    price_tier_id = path_id(call, code="price_tier_not_found")
    body = await json_body(call, BODY_BYTES_MAX)
    fields = {**msgspec.structs.asdict(_BODY.decode(body)), "price_tier_id": price_tier_id}
    return await commit(
        call,
        body,
        [made(RevisePriceTier, fields)],
        lambda outcomes: rendered(200, MessageReply(message="Price tier updated")),
        conditional=True,
    )
