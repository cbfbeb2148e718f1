"""Orders that race, through two processes' committers on one database: each sum holds."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from decimal import Decimal

from schemas.common import Command
from schemas.order import (
    CancelFulfilment,
    ChangeOrderStatus,
    FulfilOrder,
    OrderLineEntry,
    OrderLineQuantity,
    PlaceOrder,
    ReturnOrder,
)
from tests.proof.rig import Desk, Ledger, receive
from tests.proof.test_two_committers import check_log

_FIGURES = """
SELECT sum(ordered)::int AS ordered, sum(open)::int AS open, sum(reserved)::int AS reserved,
       sum(fulfilled)::int AS fulfilled, sum(cancelled)::int AS cancelled,
       sum(returned)::int AS returned
FROM projections.order_line WHERE tenant_id = $1
"""
_STOCK = """
SELECT unrestricted::int, quarantine::int, reserved::int FROM projections.stock_level
WHERE tenant_id = $1
"""


def order(quantity: int = 1) -> PlaceOrder:
    """Make an order of so many."""
    return PlaceOrder(lines=(OrderLineEntry(sku="A", quantity=Decimal(quantity)),))


async def race(desks: Sequence[Desk], commands: Sequence[Command]) -> list[str]:
    """Submit commands all at once, in turns through the desks; return what became of each."""
    answers = await asyncio.gather(
        *(desks[number % len(desks)].do(command) for number, command in enumerate(commands))
    )
    return [answer.refused or "done" for answer in answers]


async def shop(stack: AsyncExitStack, ledger: Ledger, stock: int) -> list[Desk]:
    """Open two desks of a new tenant that has ``stock`` of one product."""
    tenant_id = await ledger.new_tenant()
    desks = [Desk(await stack.enter_async_context(ledger.committer()), tenant_id) for _ in range(2)]
    await desks[0].shop()
    await desks[0].do(receive(stock))
    return desks


async def check(ledger: Ledger, desk: Desk, stock: int) -> dict[str, int]:
    """Check that lines, claims and stock add up; return the sums of the lines' figures."""
    tenant_id = desk.tenant_id
    await check_log(ledger, tenant_id)
    await ledger.verify(tenant_id)
    (figures,) = await ledger.rows(tenant_id, _FIGURES, tenant_id)
    (level,) = await ledger.rows(tenant_id, _STOCK, tenant_id)
    gone = figures["fulfilled"] - figures["returned"]
    assert level["unrestricted"] + level["quarantine"] == stock - gone
    assert level["reserved"] == figures["reserved"]
    assert level["unrestricted"] >= level["reserved"]
    return dict(figures)


async def test_of_all_who_order_the_last_one_exactly_one_gets_it(ledger: Ledger) -> None:
    """Forty orders for one unit, in two processes: one is placed, 39 are refused."""
    async with AsyncExitStack() as stack:
        desks = await shop(stack, ledger, stock=1)
        tally = Counter(await race(desks, [order() for _ in range(40)]))
        assert tally == {"done": 1, "insufficient_stock": 39}
        figures = await check(ledger, desks[0], stock=1)
        assert figures["reserved"] == 1


async def test_an_order_of_two_lines_races_one_of_one(ledger: Ledger) -> None:
    """Whoever is first, no more than the stock is reserved, and no order has a half."""
    async with AsyncExitStack() as stack:
        desks = await shop(stack, ledger, stock=10)
        line = OrderLineEntry(sku="A", quantity=Decimal(2))
        commands = [
            PlaceOrder(lines=(line, line)) if number % 2 else order(3) for number in range(20)
        ]
        outcomes = await race(desks, commands)
        taken = sum(
            4 if number % 2 else 3 for number, outcome in enumerate(outcomes) if outcome == "done"
        )
        assert set(outcomes) == {"done", "insufficient_stock"}
        assert 8 <= taken <= 10
        figures = await check(ledger, desks[0], stock=10)
        assert (figures["ordered"], figures["reserved"]) == (taken, taken)


async def test_of_fulfilling_and_cancelling_at_once_exactly_one_wins(ledger: Ledger) -> None:
    """Twenty orders, each fulfilled in one process while it is cancelled in the other."""
    async with AsyncExitStack() as stack:
        desks = await shop(stack, ledger, stock=20)
        assert set(await race(desks, [order() for _ in range(20)])) == {"done"}
        commands: list[Command] = []
        for order_id in range(1, 21):
            pair: list[Command] = [
                FulfilOrder(order_id=order_id),
                ChangeOrderStatus(order_id=order_id, status="cancelled"),
            ]
            # Each is in the first place, and so at the first desk, every other time.
            commands += pair if order_id % 2 else reversed(pair)
        outcomes = await race(desks, commands)
        for first, second in zip(outcomes[::2], outcomes[1::2], strict=True):
            assert sorted((first, second)) == ["done", "illegal_transition"]
        figures = await check(ledger, desks[0], stock=20)
        assert figures["fulfilled"] + figures["cancelled"] == 20
        assert (figures["reserved"], figures["open"]) == (0, 0)


async def test_a_fulfilment_is_not_both_cancelled_and_returned(ledger: Ledger) -> None:
    """Goods come back once, by whichever of the two is first."""
    async with AsyncExitStack() as stack:
        desks = await shop(stack, ledger, stock=10)
        for order_id in range(1, 11):
            await desks[0].do(order())
            await desks[0].do(FulfilOrder(order_id=order_id))
        commands: list[Command] = []
        for order_id in range(1, 11):
            line = OrderLineQuantity(order_item_id=order_id * 1000 + 1, quantity=Decimal(1))
            commands += [
                CancelFulfilment(order_id=order_id, fulfilment=1),
                ReturnOrder(order_id=order_id, lines=(line,)),
            ]
        outcomes = await race(desks, commands)
        for cancelled, returned in zip(outcomes[::2], outcomes[1::2], strict=True):
            assert (cancelled, returned) in (
                ("done", "order_line_not_returnable"),
                ("fulfilment_returned", "done"),
            )
        figures = await check(ledger, desks[0], stock=10)
        assert figures["reserved"] + figures["returned"] == 10


async def test_many_orders_in_one_group_see_each_other(ledger: Ledger) -> None:
    """Ten orders of one request, decided in one transaction: what is left is shared out."""
    async with AsyncExitStack() as stack:
        desks = await shop(stack, ledger, stock=7)
        answer = await desks[0].do(*(order(2) for _ in range(10)), atomic=False)
        refused = [result.refused for result in answer.results]
        assert refused == [None] * 3 + ["insufficient_stock"] * 7
        figures = await check(ledger, desks[0], stock=7)
        assert figures["reserved"] == 6
