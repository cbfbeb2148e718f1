"""Lots folded in memory: the quick way into empty tables.

Few movements are of a lot that is known: those are gone through one by one.
"""

from operator import attrgetter
from typing import Any

import numpy as np

from projections.bulk import CopyRows, text_row, text_rows
from projections.log_columns import Column, Ints, Stretch
from projections.lots import FACTS, Facts, Levels, Lots, add_lots, state_lot
from projections.moves import Moves
from projections.projection import Connection
from schemas.lot import LotRegistered, LotRevised


class LotsBulk:
    """One tenant's lots, and how much of them is where."""

    def __init__(self, tenant_id: int) -> None:
        self._tenant_id = tenant_id
        self._lots: Facts = {}
        self._levels: Levels = {}

    @property
    def held(self) -> int:
        """How many rows are kept in memory."""
        return len(self._lots) + len(self._levels)

    def takes(self, stretch: Stretch, moves: Moves) -> bool:
        """Tell that any can be folded: sums have as many digits as they need."""
        return True

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events; none of their rows is final."""
        for recorded in stretch.in_order(Lots.event_types, _with_lots):
            event = recorded.event
            if isinstance(event, LotRegistered | LotRevised):
                state_lot(self._lots, recorded, event)
            else:
                add_lots(self._levels, recorded)
        return {}

    def finish(self) -> CopyRows:
        """Return all rows."""
        lots = text_rows(
            text_row(self._tenant_id, *(facts[name] for name in FACTS))
            for facts in self._lots.values()
        )
        levels = text_rows(
            text_row(self._tenant_id, *place, *level) for place, level in self._levels.items()
        )
        return {"lot": lots, "lot_level": levels}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""


def _with_lots(column: Column) -> Ints | None:
    """Return which events are of a lot."""
    if column.kind in (LotRegistered, LotRevised):
        return None
    lots: Any = map(attrgetter("lots"), column.events)
    return np.flatnonzero(np.fromiter(map(bool, lots), np.bool_, len(column.events)))
