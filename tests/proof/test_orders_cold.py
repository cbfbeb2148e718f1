"""Orders of lots and serials by processes that know nothing yet: all is read when it is needed."""

from datetime import date
from decimal import Decimal
from typing import Any

from schemas.common import Command
from schemas.location import OpenLocation
from schemas.order import (
    AllocateBackorder,
    CancelFulfilment,
    CancelOrderLines,
    FulfilOrder,
    OrderLineEntry,
    OrderLineQuantity,
    PlaceOrder,
    ReturnOrder,
)
from schemas.product import RegisterProduct
from schemas.stock import LotEntry
from tests.proof.rig import Answer, Desk, Ledger, receive


def lot(name: str, quantity: int, **more: Any) -> LotEntry:
    return LotEntry(lot=name, quantity=Decimal(quantity), **more)


def line(number: int, quantity: int, **more: Any) -> OrderLineQuantity:
    return OrderLineQuantity(order_item_id=1000 + number, quantity=Decimal(quantity), **more)


def entry(sku: str, quantity: int) -> OrderLineEntry:
    return OrderLineEntry(sku=sku, quantity=Decimal(quantity))


_MOVED = """
SELECT l ->> 'product_id' AS product, l ->> 'quantity' AS quantity,
       coalesce(l -> 'lots', '[]')::text AS lots, coalesce(l -> 'serials', '[]')::text AS serials
FROM ledger.event, json_array_elements(data -> 'lines') AS l
WHERE tenant_id = $1 AND type = $2 ORDER BY position DESC, l ->> 'product_id' LIMIT 2
"""


async def test_every_step_of_an_order_is_decided_by_a_process_that_has_just_begun(
    ledger: Ledger,
) -> None:
    """Each command goes to a committer of its own, with nothing in memory."""
    tenant_id = await ledger.new_tenant()

    async def do(*commands: Command) -> Answer:
        async with ledger.committer() as committer:
            return await Desk(committer, tenant_id).do(*commands)

    async def done(*commands: Command) -> tuple[str, ...]:
        answer = await do(*commands)
        assert answer.refused is None, answer
        return answer.results[-1].types

    async def moved(event_type: str) -> list[tuple[str, str, str]]:
        rows = await ledger.rows(tenant_id, _MOVED, tenant_id, event_type)
        return [(row["quantity"], row["lots"], row["serials"]) for row in rows]

    price = Decimal(1)
    await done(
        OpenLocation(name="Main", code="MAIN"),
        RegisterProduct(name="Milk", sku="MILK", base_price=price, tracking_type="batch"),
        RegisterProduct(
            name="Phone", sku="PHONE", base_price=price, tracking_type="serial", backorders=True
        ),
    )
    await done(
        receive(6, "MILK", lots=(lot("L-1", 6, expiry_date=date(2097, 5, 1)),)),
        receive(4, "MILK", lots=(lot("L-2", 4, expiry_date=date(2096, 9, 1)),)),
        receive(3, "PHONE", serials=("S-1", "S-2", "S-3")),
    )
    await done(PlaceOrder(lines=(entry("MILK", 8), entry("PHONE", 4)), allocation="split"))
    named = (line(1, 3, lots=(lot("l-1", 3),)), line(2, 1, serials=("s-2",)))
    assert await done(FulfilOrder(order_id=1, lines=named)) == (
        "OrderFulfilled",
        "StockIssued",
        "StockIssued",
        "SerialMoved",
    )
    assert await moved("OrderFulfilled") == [
        ("3", '[{"lot_id":1,"quantity":"3"}]', "[]"),
        ("1", "[]", "[2]"),
    ]
    assert await done(CancelFulfilment(order_id=1, fulfilment=1))
    assert await done(FulfilOrder(order_id=1))
    assert await moved("OrderFulfilled") == [
        ("8", '[{"lot_id":2,"quantity":"4"},{"lot_id":1,"quantity":"4"}]', "[]"),
        ("3", "[]", "[1,2,3]"),
    ]
    unknown = ReturnOrder(order_id=1, lines=(line(2, 1, serials=("S-9",)),))
    assert (await do(unknown)).refused == "invalid_command"
    back = (line(1, 1, lots=(lot("L-1", 1),)), line(2, 1, serials=("S-3",)))
    assert await done(ReturnOrder(order_id=1, lines=back))
    assert await moved("OrderReturned") == [
        ("1", '[{"lot_id":1,"quantity":"1"}]', "[]"),
        ("1", "[]", "[3]"),
    ]
    await done(receive(1, "PHONE", serials=("S-4",)))
    assert await done(AllocateBackorder(order_id=1)) == ("BackorderAllocated", "StockReserved")
    assert await done(CancelOrderLines(order_id=1)) == (
        "OrderLinesCancelled",
        "ReservationReleased",
    )
    await ledger.verify(tenant_id)
