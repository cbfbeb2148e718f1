"""What a stock command's outcome says of the level it touched."""

from decimal import Decimal
from typing import NamedTuple

from ledger.domain.stock_state import StockState
from ledger.submission import Outcome


class StockView(NamedTuple):
    """A product's level at a location right after a command."""

    product_id: int
    location_id: int
    on_hand: Decimal
    available: Decimal
    reserved: Decimal
    quarantined: Decimal
    in_transit: Decimal


def stock_view(outcome: Outcome) -> StockView:
    """Return the level of the outcome's first stock stream: the source's, for a transfer.

    Holds that have expired by the commit's time count no longer.
    """
    stream = next(name for name in outcome.states if name.startswith("stock-"))
    state: StockState = outcome.states[stream]
    reserved = state.reserved
    if outcome.events:
        reserved = state.reserved_at(outcome.events[0].recorded_at)
    _, product_id, location_id = stream.split("-")
    return StockView(
        product_id=int(product_id),
        location_id=int(location_id),
        on_hand=state.on_hand,
        available=state.unrestricted - reserved,
        reserved=reserved,
        quarantined=state.quarantine,
        in_transit=state.in_transit,
    )
