"""The valuation at standard cost folded in memory: the quick way into empty tables.

The rules are those of `projections.valuation_fold`. Under another method, and with costs that
come later (landed cost, a revaluation), it ends early.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from projections.binary_copy import (
    Field,
    bigints,
    binary_rows,
    dates,
    decimals,
    instants,
    integer,
    names,
    nulls,
    or_null,
)
from projections.bulk import Copied, CopyRows, text_field, text_rows
from projections.business_days import BusinessDays, date_of
from projections.costing import MILLION
from projections.log_columns import Ints, Stretch, instant
from projections.moves import ACCOUNT_NUMBERS, NO_POSITION, Moves, Total
from projections.projection import Connection
from projections.valuation_columns import (
    BASES,
    KINDS,
    LAST_INBOUND,
    RECEIPT,
    REMOVAL,
    RETURN,
    SALE,
    STATED,
    Costed,
    Transfers,
    goods_of,
    stated_of,
)
from projections.valuation_completing import Completing, Removed
from projections.valuation_entries import IN_TRANSIT, ON_HAND
from projections.valuation_fold import DAY_FIGURES
from projections.valuation_past import Past
from projections.valuation_prices import Prices, said_of
from projections.valuation_sums import DaySums, Keys
from schemas.books import BooksConfigured, LandedCostAdded, StockRevalued, ValuationChosen
from schemas.common import Event
from schemas.product import ProductRegistered, ProductRevised

COSTS_MAX: Final = 9e18
"""What costs may come to, in millionths: a little less than 64 bits hold."""
_PAST_A_ROW: Final = 8
"""How many movements of the past take as much memory as a row that is held."""

(
    _LAYERS, _IN_QTY, _IN_COST, _BOUGHT_QTY, _BOUGHT_COST, _RETURNED_QTY, _RETURNED_COST, _SOLD,
    _SPECIALS, _OWNED, *_,
) = range(len(DAY_FIGURES))  # fmt: skip
# What is on hand, and behind it what is on its way: so it is this figure plus the account.
assert DAY_FIGURES[_OWNED:] == (ON_HAND, IN_TRANSIT)
_COUNTS: Final = (_LAYERS, _SPECIALS)
_CHOOSING: Final[frozenset[type[Event]]] = frozenset({BooksConfigured})
_INTRICATE: Final[frozenset[type[Event]]] = frozenset(
    {ValuationChosen, LandedCostAdded, StockRevalued}
)
_SAYING: Final[frozenset[type[Event]]] = frozenset({ProductRegistered, ProductRevised})
_CUSTOMER: Final = ACCOUNT_NUMBERS["customer"]


class _Bounds(NamedTuple):
    """No sum of costs is above ``total``, and nothing costs more than ``dearest`` a unit.

    Both in millionths.
    """

    total: float = 0.0
    dearest: float = 0.0


class ValuationBulk:
    """One tenant's days and cost prices, in memory; movements are given out as they are met."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._business_days = BusinessDays()
        self._prices = Prices(tenant_id)
        self._past = Past()
        self._days = DaySums(len(DAY_FIGURES))
        self._total = Total()
        self._bounds = _Bounds()

    @property
    def held(self) -> int:
        """How many rows are kept in memory, or what takes as much."""
        zones, past = len(self._business_days.zones), self._past.count // _PAST_A_ROW
        return zones + self._prices.held + self._days.count + past

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell whether all is at standard cost, and every sum would still be held exactly."""
        if stretch.of(_INTRICATE):
            return False
        for column in stretch.of(_CHOOSING):
            if any(event.valuation_method != "standard" for event in column.events):
                return False
        return self._total.takes(moves) and self._bounded(stretch, moves).total < COSTS_MAX

    def _bounded(self, stretch: Stretch, moves: Moves) -> _Bounds:
        """Return what bounds all costs, with those of these events."""
        total, dearest = self._bounds
        for column in stretch.of(_SAYING):
            prices = [event.cost_price for event in column.events if event.cost_price is not None]
            dearest = max(dearest, float(max(prices, default=0)) * MILLION)
        for rows, unit_costs in stated_of(stretch, moves):
            total += float(unit_costs.astype(np.float64) @ moves.quantities[rows]) / MILLION
            dearest = max(dearest, float(unit_costs.max()))
        # What goes back to something before it costs what that did.
        going_back = (moves.reverses != NO_POSITION) | (moves.from_accounts == _CUSTOMER)
        total += float(moves.quantities[going_back].sum(dtype=np.float64)) * dearest / MILLION
        return _Bounds(total, dearest)

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; return their movements, and the standard costs that they state."""
        self._total.add(moves)
        self._bounds = self._bounded(stretch, moves)
        costed, transfers = goods_of(stretch, moves, self._business_days)
        removals = self._go_through(stretch, costed)
        self._add_up(costed, transfers)
        return {
            "cost_movement": Copied(self._movement_rows(costed)),
            "cost_standard": self._prices.new_rows(),
            "cost_removal": removals,
        }

    def _go_through(self, stretch: Stretch, costed: Costed) -> Copied:
        """Follow cost prices, and complete what waits, event by event; return what is taken out."""
        waiting = np.flatnonzero(costed.waits)
        self._past.begin(costed, waiting[costed.kinds[waiting] == RETURN])
        steps: list[tuple[int, int, Any]] = said_of(stretch)
        steps += [
            (position, row, None)
            for position, row in zip(
                costed.positions[waiting].tolist(), waiting.tolist(), strict=True
            )
        ]
        completing = Completing(costed, self._past, self._prices)
        for position, number, event in sorted(steps, key=_first):
            if event is None:
                completing.complete(number)
            else:
                self._prices.take(number, position, event)
        self._past.end()
        return text_rows(self._removal_row(costed, removed) for removed in completing.removed)

    def _removal_row(self, costed: Costed, removed: Removed) -> str:
        row, layer_day, layer_time, layer_position = removed
        return (
            f"{self._tenant_id}\t{costed.products[row]}\t{costed.positions[row]}\t"
            f"{date_of(int(costed.days[row]))}\t{instant(costed.times[row]).isoformat()}\t"
            f"{KINDS[costed.origin_kinds[row]]}\t{costed.quantities[row]}e-6\t"
            f"{costed.costs[row]}e-6\t{date_of(layer_day)}\t"
            f"{instant(layer_time).isoformat()}\t{layer_position}\n"
        )

    def _add_up(self, costed: Costed, transfers: Transfers) -> None:
        """Add movements and transfers to their days."""
        parts = (
            (costed.products, costed.days, costed.locations),
            (transfers.products, transfers.days, transfers.from_places),
            (transfers.products, transfers.days, transfers.to_places),
        )
        rows, sums = self._days.add(Keys(*map(np.concatenate, zip(*parts, strict=True))))
        own = rows[: len(costed.products)]
        departing, arriving = np.split(rows[len(own) :], 2)
        np.add.at(sums, (_OWNED + transfers.from_accounts, departing), -transfers.quantities)
        np.add.at(sums, (_OWNED + transfers.to_accounts, arriving), transfers.quantities)
        kinds, quantities = costed.kinds, costed.quantities
        came_in, is_sale, is_removal = kinds <= LAST_INBOUND, kinds == SALE, kinds == REMOVAL
        changes = np.where(came_in, quantities, -quantities)
        np.add.at(sums, (_OWNED + costed.accounts, own), changes)
        np.add.at(sums[_SOLD], own[is_sale], quantities[is_sale])
        np.add.at(sums[_SPECIALS], own[~(came_in | is_sale | is_removal)], 1)
        np.add.at(sums[_LAYERS], own[came_in], 1)
        origins = np.where(is_removal, costed.origin_kinds, kinds)
        is_stated = np.where(is_removal, costed.origin_is_stated, costed.bases == STATED)
        for chosen, figure in (
            (came_in, _IN_QTY),
            ((origins == RECEIPT) & is_stated, _BOUGHT_QTY),
            (origins == RETURN, _RETURNED_QTY),
        ):
            # What they cost is the next figure.
            signs = np.where(is_removal[chosen], -1, 1)
            np.add.at(sums[figure], own[chosen], changes[chosen])
            np.add.at(sums[figure + 1], own[chosen], signs * costed.costs[chosen])

    def _movement_rows(self, costed: Costed) -> bytes:
        if not len(costed.positions):
            return b""
        return binary_rows(
            integer(self._tenant_id),
            bigints(costed.positions),
            bigints(costed.products),
            bigints(costed.locations),
            dates(costed.days),
            instants(costed.times),
            names(KINDS, costed.kinds),
            decimals(costed.quantities),
            or_null(decimals(costed.costs), ~costed.has_cost),
            decimals(np.zeros_like(costed.costs)),
            _names_or_null(BASES, costed.bases),
            or_null(bigints(costed.origins), costed.origins == NO_POSITION),
            _names_or_null(KINDS, costed.origin_kinds),
            or_null(bigints(costed.references), ~costed.has_reference),
        )

    def finish(self) -> CopyRows:
        """Return the days, the products, the books, and the zones."""
        keys, sums = self._days.joined()
        figures = [
            decimals(each * MILLION if number in _COUNTS else each)
            for number, each in enumerate(sums)
        ]
        rows = binary_rows(
            integer(self._tenant_id),
            bigints(keys.products),
            dates(keys.days),
            bigints(keys.places),
            *figures,
        )
        zones = text_rows(
            f"{self._tenant_id}\t{place}\t{text_field(zone)}\n"
            for place, zone in self._business_days.zones.items()
        )
        return {
            "cost_day": Copied(rows),
            "cost_product": self._prices.product_rows(),
            "cost_books": self._prices.books_rows(),
            "cost_zone": zones,
        }

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""


def _names_or_null(known: Sequence[str], numbers: Ints) -> Field:
    """Return a ``text`` of each row: the one of its number, or null behind the last of them."""
    return Field([*names(known, numbers).layouts, *nulls().layouts], numbers)


def _first(step: tuple[int, int, Any]) -> int:
    return step[0]
