"""Erasing a customer's personal data: the keys go, and what they sealed is closed for ever."""

from collections.abc import Sequence

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes
from api.order_bodies import optional_body
from api.reads import path_id
from api.reply import Reply
from api.writes import commit, made, rendered
from ledger.store import Connection, tenant_transaction
from ledger.submission import Outcome, Rendered
from projections import erasing
from schemas.customer import EraseCustomer
from schemas.http_customers import CustomerErasedReply, EraseBody

routes = Routes("Customers")

_BODY = BodyDecoder(EraseBody)


@routes.add(
    "POST",
    "/api/customers/{id}/erase",
    "Erase a customer's personal data",
    role="admin",
    scope=None,
    body=EraseBody,
    replies={200: CustomerErasedReply},
    problems=("customer_not_found", "customer_has_open_orders"),
    commits=True,
    conditional=True,
)
async def erase_customer(call: Call) -> Reply:
    """Destroy the keys of a customer's personal data and of that in his orders. From then on it
    reads ``[erased]`` everywhere, and nothing is recorded for the id any more. Nothing else
    changes: quantities, amounts, hashes and proofs stay. Done again, it destroys the keys of what
    has been said in the orders since. The body may be left out. It cannot be undone."""
    customer_id = path_id(call, code="customer_not_found")
    body, asked = await optional_body(call, _BODY, EraseBody())
    tenant_id = call.caller.tenant_id
    fields = {**msgspec.structs.asdict(asked), "customer_id": customer_id}
    async with tenant_transaction(
        call.house.pool, tenant_id, credential=call.caller.credential
    ) as connection:
        plain = await erasing.plain_events(connection, tenant_id, customer_id)

    was_erased = False

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        nonlocal was_erased
        was_erased = not outcomes[0].events
        reply = CustomerErasedReply(id=customer_id, message="Customer erased", plain_events=plain)
        return rendered(200, reply)

    async def destroy(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await erasing.destroy_keys(connection, tenant_id, customer_id)

    reply = await commit(
        call, body, [made(EraseCustomer, fields)], render, conditional=True, side_effect=destroy
    )
    if was_erased:
        # Nothing is to be recorded; what has been said in his orders since then goes as well.
        async with tenant_transaction(call.house.pool, tenant_id) as connection:
            await erasing.destroy_keys(connection, tenant_id, customer_id)
    return reply
