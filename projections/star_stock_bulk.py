"""Analysts' levels and open holds folded in memory: the quick way into empty tables."""

import numpy as np

from projections.binary_copy import bigints, binary_rows, decimals, integer
from projections.bulk import Copied, CopyRows, instant_field, text_field, text_rows
from projections.log_columns import Stretch
from projections.moves import Moves
from projections.projection import Connection
from projections.stock_levels_bulk import MOVEMENTS, POSITION, RESERVED, Levels


class StarStockBulk(Levels):
    """One tenant's levels and open holds; none of their rows is final before the end."""

    def add(self, stretch: Stretch, moves: Moves) -> CopyRows:
        """Fold the next events."""
        keys, changes = self._follow(stretch, moves)
        np.add.at(self._balances, keys, changes)
        return {}

    def finish(self) -> CopyRows:
        """Return the levels and the holds."""
        products, locations = self._slots.columns()
        levels = self._levels.rows[: len(products)]
        rows = binary_rows(
            integer(self._tenant_id),
            bigints(products),
            bigints(locations),
            *(decimals(levels[:, figure]) for figure in range(RESERVED + 1)),
            *(bigints(levels[:, count]) for count in (MOVEMENTS, POSITION)),
        )
        holds = text_rows(
            f"{self._tenant_id}\t{product_id}\t{location_id}\t{text_field(name)}\t"
            f"{hold.reserved}\t{hold.left}\t{instant_field(hold.expires_at)}\t"
            f"{instant_field(hold.created_at)}\t{hold.position}\n"
            for (product_id, location_id, name), hold in self._holds.items()
        )
        return {"star_stock_level": Copied(rows), "star_reservation": holds}

    async def settle(self, connection: Connection, schema: str) -> None:
        """Nothing given out changes."""
