"""What waits for what came before it, at standard cost and with the past in memory.

The rules are those of `projections.valuation_reversals` and `projections.valuation_origins`.
"""

from collections.abc import Sequence
from typing import NamedTuple

from projections.costing import MILLION, share
from projections.moves import NO_POSITION
from projections.valuation_columns import (
    LAST_INBOUND,
    LAST_OUTBOUND,
    NO_BASIS,
    NO_KIND,
    ORIGIN,
    PRESENT,
    REMOVAL,
    RETURN,
    SALE,
    STATED,
    Costed,
)
from projections.valuation_past import Issue, Past
from projections.valuation_prices import Prices


class Removed(NamedTuple):
    """A row of movements that takes out again what came in: its layer's day, time and position."""

    row: int
    layer_day: int
    layer_time: int
    layer_position: int


class Completing:
    """Completes movements of a stretch in place, in the order of the log."""

    def __init__(self, costed: Costed, past: Past, prices: Prices) -> None:
        """Take a stretch, which ``past`` has begun, and what is known before it."""
        self.removed: list[Removed] = []
        self._costed = costed
        self._past = past
        self._prices = prices

    def complete(self, row: int) -> None:
        """Complete the movement of a row; all before it are complete."""
        kind = self._costed.kinds[row]
        if kind == RETURN:
            self._come_back(row)
        elif kind == REMOVAL:
            self._take_out(row)
        else:
            self._undo(row)

    def _come_back(self, row: int) -> None:
        costed, past = self._costed, self._past
        product_id, position = int(costed.products[row]), int(costed.positions[row])
        issues: list[Issue] = []
        if costed.has_reference[row]:
            issues = past.issues_of(row, product_id, position)
        if not issues:
            place = int(costed.days[row]), int(costed.times[row]), position
            issues = past.last_sale(row, place)
        if issues:
            costed.origins[row] = issues[-1].position
        self._cost_by(row, issues)

    def _cost_by(self, row: int, issues: Sequence[Issue]) -> None:
        """Give a row its part of what issues cost; without any, the standard cost of its day."""
        costed = self._costed
        product_id, quantity = int(costed.products[row]), int(costed.quantities[row])
        issues = issues or [Issue(NO_POSITION, int(costed.days[row]), quantity)]
        cost = sum(
            share(self._prices.on(product_id, issue.day), issue.quantity, MILLION)
            for issue in issues
        )
        costed.costs[row] = share(cost, quantity, sum(issue.quantity for issue in issues))
        costed.has_cost[row] = True
        costed.bases[row] = ORIGIN

    def _take_out(self, row: int) -> None:
        """Take the very layer out again that came in; else it goes out as anything does."""
        costed = self._costed
        position = int(costed.origins[row])
        original = self._past.original(
            position, int(costed.products[row]), int(costed.positions[row])
        )
        if (
            original is None
            or original.kind > LAST_INBOUND
            or original.quantity != costed.quantities[row]
        ):
            self._be_plain(row, NO_BASIS)
            return
        same_time = original.time == costed.times[row]
        if same_time or original.day > costed.days[row]:
            costed.days[row] = original.day
        costed.origin_kinds[row] = original.kind
        costed.origin_is_stated[row] = original.basis == STATED
        if original.cost is not None:
            costed.costs[row], costed.has_cost[row] = original.cost, True
        self.removed.append(Removed(row, original.day, original.time, position))

    def _undo(self, row: int) -> None:
        """Undo an outflow: at its own time there was none, later it comes in for what it cost."""
        costed = self._costed
        position = int(costed.origins[row])
        original = self._past.original(
            position, int(costed.products[row]), int(costed.positions[row])
        )
        if (
            original is None
            or not LAST_INBOUND < original.kind <= LAST_OUTBOUND
            or original.quantity != costed.quantities[row]
        ):
            self._be_plain(row, PRESENT)
        elif original.time == costed.times[row]:
            costed.kinds[row] = original.kind
            costed.quantities[row] *= -1
            costed.days[row] = original.day
            costed.origin_kinds[row] = NO_KIND
        else:
            costed.kinds[row] = costed.origin_kinds[row]
            costed.origin_kinds[row] = NO_KIND
            self._cost_by(row, [Issue(position, original.day, original.quantity)])

    def _be_plain(self, row: int, basis: int) -> None:
        """Have it be what its accounts say, and go back to nothing."""
        costed = self._costed
        costed.kinds[row], costed.bases[row] = costed.origin_kinds[row], basis
        costed.origins[row], costed.origin_kinds[row] = NO_POSITION, NO_KIND
        if costed.kinds[row] == SALE:
            self._past.sold()
