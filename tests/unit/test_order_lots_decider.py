"""Orders of tracked products, recorded late or not: which lots go out, and what is refused."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from ledger.domain.decision import Refusal
from ledger.domain.refusals_orders import InsufficientForLine
from ledger.domain.refusals_tracking import InsufficientLots
from schemas.order import FulfilOrder, OrderLineEntry, PlaceOrder
from schemas.stock import (
    AdjustStock,
    CountStock,
    IssueStock,
    LotEntry,
    LotPart,
    ReceiveStock,
)
from tests.support.decisions import NOON, World, shop, types

HERE: dict[str, Any] = {"product_id": 1, "location_id": 1}


def d(number: int) -> Decimal:
    return Decimal(number)


def ago(hours: int) -> datetime:
    return NOON - timedelta(hours=hours)


def receipt(lot: str, quantity: int, at: datetime) -> ReceiveStock:
    lots = (LotEntry(lot=lot, quantity=d(quantity)),)
    return ReceiveStock(**HERE, quantity=d(quantity), lots=lots, effective_at=at)


def place(quantity: int, at: datetime) -> PlaceOrder:
    lines = (OrderLineEntry(product_id=1, quantity=d(quantity)),)
    return PlaceOrder(lines=lines, effective_at=at)


def stocked() -> World:
    """Five of lot A and five of lot B, 40 hours ago."""
    world = shop(product={"tracking_type": "batch"})
    return world.given(receipt("A", 5, ago(40)), receipt("B", 5, ago(40)))


def picked(outcome: Any) -> tuple[LotPart, ...]:
    """Return the lots that went out."""
    assert not isinstance(outcome, Refusal), outcome.detail()
    (issued,) = [each.event for each in outcome if each.event.TYPE == "StockIssued"]
    return issued.lots


def on_hand(world: World) -> dict[int, Decimal]:
    return {lot_id: each.unrestricted for lot_id, each in world.stock().lots.items()}


def test_what_went_out_before_a_count_may_be_of_a_lot_that_the_count_missed() -> None:
    """A count missed lot B, A has gone since and C has come: what went out before it was B.

    The count misses as many fewer, so that what it found stands.
    """
    world = stocked().given(
        place(5, ago(30)),
        CountStock(**HERE, quantity=d(5), effective_at=ago(20)),
        receipt("C", 5, ago(15)),
        IssueStock(**HERE, quantity=d(5), effective_at=ago(10),
                   lots=(LotEntry(lot="A", quantity=d(5)),)),
    )  # fmt: skip
    assert on_hand(world) == {3: 5}, "the count missed B"
    outcome = world.do(FulfilOrder(order_id=1, effective_at=ago(25)))
    assert types(outcome) == ["OrderFulfilled", "CountVarianceRevised", "StockIssued"]
    assert picked(outcome) == (LotPart(lot_id=2, quantity=d(5)),)
    assert outcome[1].event.lots == (LotPart(lot_id=2, quantity=d(5)),)
    assert on_hand(world) == {3: 5}
    assert world.stock().unrestricted == 5


def test_a_late_order_gets_no_lot_that_was_written_off_by_name_since() -> None:
    """An adjustment, unlike a count, is a movement: the lot cannot have gone out as well."""
    world = stocked().given(
        place(5, ago(30)),
        AdjustStock(**HERE, quantity=d(-5), effective_at=ago(20),
                    lots=(LotEntry(lot="B", quantity=d(5)),)),
        receipt("C", 5, ago(15)),
        IssueStock(**HERE, quantity=d(5), effective_at=ago(10),
                   lots=(LotEntry(lot="A", quantity=d(5)),)),
    )  # fmt: skip
    before = len(world.log)
    refusal = world.do(FulfilOrder(order_id=1, effective_at=ago(25)))
    assert isinstance(refusal, InsufficientLots)
    assert (refusal.requested, refusal.eligible) == (5, 0)
    assert len(world.log) == before
    # From when C is there on, it goes out.
    assert picked(world.do(FulfilOrder(order_id=1))) == (LotPart(lot_id=3, quantity=d(5)),)


def test_an_order_placed_late_cannot_claim_what_a_count_has_missed_since() -> None:
    """A claim lasts, from its time until now: what is not there any more cannot be promised.

    What did go out by then is told as an issue, and the count misses as many fewer.
    """
    world = stocked().given(CountStock(**HERE, quantity=d(4), effective_at=ago(20)))
    refusal = world.do(place(5, ago(30)))
    assert isinstance(refusal, InsufficientForLine)
    assert (refusal.requested, refusal.available) == (5, 4)
    gone = world.do(IssueStock(**HERE, quantity=d(6), effective_at=ago(30)))
    assert types(gone) == ["CountVarianceRevised", "StockIssued"]
    assert world.stock().unrestricted == 4
    assert sum(on_hand(world).values()) == 4
