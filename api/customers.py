"""Customers and their addresses (seed 003, "Customers").

What is personal in them is sealed in the database, and opened as the replies leave.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import answer, money, next_cursor, path_id, reading
from api.reply import Reply
from api.writes import commit, json_body, made, rendered
from ledger.submission import Outcome, Rendered
from schemas.address import Address
from schemas.customer import (
    AddCustomerAddress,
    CustomerAddress,
    CustomerAddressAdded,
    CustomerRegistered,
    RegisterCustomer,
    ReviseCustomer,
)
from schemas.http_common import MessageReply
from schemas.http_customers import (
    AddressAddedReply,
    AddressBody,
    AddressRow,
    CustomerBody,
    CustomerCreatedReply,
    CustomerReply,
    CustomerRow,
    CustomersReply,
    NewCustomerBody,
)

routes = Routes("Customers")

_NEW_BODY = BodyDecoder(NewCustomerBody)
_BODY = BodyDecoder(CustomerBody)
_ADDRESS_BODY = BodyDecoder(AddressBody)

_LIST_PARAMETERS = (
    Parameter(
        "search",
        "string",
        "Text within the name, the company or the e-mail address, ignoring case",
        maximum=200,
    ),
    Parameter(
        "type", "string", "Only customers of this type", values=("retail", "wholesale", "b2b")
    ),
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    MIN_POSITION,
)

_WHERE = """
    c.tenant_id = $1
    AND ($2::bigint[] IS NULL OR c.customer_id = ANY ($2))
    AND ($3::text IS NULL OR c.customer_type = $3)
"""

# The page comes first, so that orders are added up for its customers alone.
_LIST = f"""
SELECT page.*, o.total_orders, o.total_spent
FROM (
    SELECT * FROM projections.customer c
    WHERE {_WHERE} AND c.customer_id > $4
    ORDER BY c.customer_id LIMIT $5 OFFSET $6
) page
CROSS JOIN LATERAL (
    SELECT count(*) AS total_orders,
           coalesce(sum(s.total_amount - s.cancelled_amount), 0) AS total_spent
    FROM projections.sales_order s
    WHERE s.tenant_id = $1 AND s.customer_id = page.customer_id AND s.status <> 'cancelled'
) o
ORDER BY page.customer_id
"""

_COUNT = f"SELECT count(*) FROM projections.customer c WHERE {_WHERE}"

_ONE = """
SELECT c.*, t.name AS price_tier_name, o.*
FROM projections.customer c
LEFT JOIN projections.price_tier t
    ON t.tenant_id = c.tenant_id AND t.price_tier_id = c.price_tier_id
CROSS JOIN LATERAL (
    SELECT count(*) AS total_orders,
           coalesce(sum(s.total_amount - s.cancelled_amount), 0) AS total_spent,
           count(*) FILTER (WHERE s.status IN ('pending', 'paid', 'fulfilling')) AS open_orders,
           min(s.ordered_at) AS first_order_at, max(s.ordered_at) AS last_order_at
    FROM projections.sales_order s
    WHERE s.tenant_id = $1 AND s.customer_id = c.customer_id AND s.status <> 'cancelled'
) o
WHERE c.tenant_id = $1 AND c.customer_id = $2
"""

_ADDRESSES = """
SELECT * FROM projections.customer_address
WHERE tenant_id = $1 AND customer_id = $2 ORDER BY address_id
"""


@routes.add(
    "GET",
    "/api/customers",
    "List customers",
    parameters=_LIST_PARAMETERS,
    replies={200: CustomersReply},
    problems=("not_yet", "too_many_to_search"),
)
async def list_customers(call: Call) -> Reply:
    """Customers of the tenant in the order of their ids, with what they have ordered."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, after = values["page"], values["limit"], cursor_id(values["cursor"])
    offset = 0 if after else (page - 1) * limit
    async with reading(call, values["min_position"]) as read:
        found = None
        if values["search"] is not None:
            found = await call.house.customer_search.find(
                read.connection, read.tenant_id, values["search"], values["type"]
            )
        where = (found, values["type"])
        rows = await read.connection.fetch(_LIST, read.tenant_id, *where, after, limit, offset)
        total = await read.connection.fetchval(_COUNT, read.tenant_id, *where) or 0
    customers = [
        CustomerRow(
            id=row["customer_id"],
            name=row["name"],
            email=row["email"],
            phone=row["phone"],
            company=row["company"],
            customer_type=row["customer_type"],
            code=row["code"],
            price_tier_id=row["price_tier_id"],
            total_orders=row["total_orders"],
            total_spent=money(row["total_spent"]),
            created_at=row["created_at"],
            erased_at=row["erased_at"],
        )
        for row in rows
    ]
    last = str(customers[-1].id) if customers else ""
    reply = CustomersReply(
        customers=customers,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(customers, limit, last),
    )
    return answer(reply, read.position)


@routes.add(
    "GET",
    "/api/customers/{id}",
    "Get a customer",
    parameters=(MIN_POSITION,),
    replies={200: CustomerReply},
    problems=("customer_not_found", "not_yet"),
)
async def get_customer(call: Call) -> Reply:
    """One customer with all addresses and a summary of the orders, cancelled ones left out. ETag
    is the version that If-Match takes."""
    customer_id = path_id(call, code="customer_not_found")
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        row = await read.connection.fetchrow(_ONE, read.tenant_id, customer_id)
        if row is None:
            raise Problem("customer_not_found", f"There is no customer with id {customer_id}.")
        addresses = await read.connection.fetch(_ADDRESSES, read.tenant_id, customer_id)
    reply = CustomerReply(
        id=row["customer_id"],
        name=row["name"],
        email=row["email"],
        phone=row["phone"],
        company=row["company"],
        customer_type=row["customer_type"],
        code=row["code"],
        price_tier_id=row["price_tier_id"],
        price_tier_name=row["price_tier_name"],
        total_orders=row["total_orders"],
        total_spent=money(row["total_spent"]),
        open_orders=row["open_orders"],
        first_order_at=row["first_order_at"],
        last_order_at=row["last_order_at"],
        addresses=[_address_row(address) for address in addresses],
        created_at=row["created_at"],
        erased_at=row["erased_at"],
        version=row["version"],
    )
    return answer(reply, read.position, [(b"etag", b'"%d"' % reply.version)])


def _address_row(row: Any) -> AddressRow:
    return AddressRow(
        id=row["address_id"],
        type=row["type"],
        line1=row["line1"],
        line2=row["line2"],
        city=row["city"],
        state=row["state"],
        postcode=row["postcode"],
        country=row["country"],
        name=row["name"],
        phone=row["phone"],
        is_default=row["is_default"],
    )


@routes.add(
    "POST",
    "/api/customers",
    "Create a customer",
    scope="write",
    body=NewCustomerBody,
    replies={201: CustomerCreatedReply},
    problems=("email_taken", "customer_code_taken", "price_tier_not_found"),
    commits=True,
)
async def create_customer(call: Call) -> Reply:
    """Register a customer, with addresses if any are given. The id is counted per tenant."""
    body = await json_body(call)
    given = _NEW_BODY.decode(body)
    addresses = tuple(map(_address, given.addresses))
    command = made(RegisterCustomer, {**msgspec.structs.asdict(given), "addresses": addresses})

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, CustomerRegistered)
        return rendered(
            201,
            CustomerCreatedReply(
                id=event.customer_id,
                name=event.name,
                email=event.email,
                phone=event.phone,
                company=event.company,
                customer_type=event.customer_type,
                code=event.code,
                price_tier_id=event.price_tier_id,
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "PUT",
    "/api/customers/{id}",
    "Update a customer",
    scope="write",
    body=CustomerBody,
    replies={200: MessageReply},
    problems=(
        "customer_not_found",
        "email_taken",
        "customer_code_taken",
        "price_tier_not_found",
    ),
    commits=True,
    conditional=True,
)
async def update_customer(call: Call) -> Reply:
    """Replace all that is said of a customer but its addresses; what the body leaves out goes
    back to its default."""
    customer_id = path_id(call, code="customer_not_found")
    body = await json_body(call)
    fields = {**msgspec.structs.asdict(_BODY.decode(body)), "customer_id": customer_id}
    return await commit(
        call,
        body,
        [made(ReviseCustomer, fields)],
        lambda outcomes: rendered(200, MessageReply(message="Customer updated")),
        conditional=True,
    )


@routes.add(
    "POST",
    "/api/customers/{id}/addresses",
    "Add an address",
    scope="write",
    body=AddressBody,
    replies={201: AddressAddedReply},
    problems=("customer_not_found", "too_many_addresses"),
    commits=True,
    conditional=True,
)
async def add_address(call: Call) -> Reply:
    """Add an address. Of each type one is the default: the first, until another is added as it."""
    customer_id = path_id(call, code="customer_not_found")
    body = await json_body(call)
    address = _address(_ADDRESS_BODY.decode(body))
    command = AddCustomerAddress(
        customer_id=customer_id,
        type=address.type,
        address=address.address,
        is_default=address.is_default,
    )

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        event = outcomes[0].events[0].event
        assert isinstance(event, CustomerAddressAdded)
        return rendered(
            201,
            AddressAddedReply(
                id=event.address_id,
                customer_id=event.customer_id,
                type=event.type,
                is_default=event.is_default,
                **msgspec.structs.asdict(event.address),
            ),
        )

    return await commit(call, body, [command], render, conditional=True)


def _address(body: AddressBody) -> CustomerAddress:
    parts = {name: getattr(body, name) for name in Address.__struct_fields__}
    return CustomerAddress(type=body.type, address=Address(**parts), is_default=body.is_default)
