"""What a view for analysts is made of: its columns, each with its type and what it means."""

from collections.abc import Sequence
from typing import Final, NamedTuple

SCHEMA: Final = "analysis"
STAR: Final = "star"
STOCK_BY_DAY: Final = "stock_by_day"
SALES: Final = "sales"
VALUATION: Final = "valuation"
DEMAND: Final = "demand"
PARTS: Final = (STAR, STOCK_BY_DAY, SALES, VALUATION, DEMAND)
"""The following projections that the views rest on, which stand at one position."""


class Column(NamedTuple):
    """A column: its name, its type as the database tells it, and its meaning, unit and sign."""

    name: str
    type: str
    about: str


class View(NamedTuple):
    """A view of the schema ``analysis``.

    ``rests_on`` names the following projections that it shows. In ``query``, ``{tenant}`` stands
    for the reader's tenant, found once they are seen to be at the position, and ``{position}``
    for the position itself. Its columns are those of ``columns``, in their order.
    """

    name: str
    about: str
    rests_on: Sequence[str]
    columns: Sequence[Column]
    query: str

    @property
    def sql(self) -> str:
        """The query, filled in."""
        names = ", ".join(self.rests_on)
        return self.query.replace(
            "{tenant}", f"(SELECT {SCHEMA}.tenant_at_position('{{{names}}}'))"
        ).replace("{position}", f"(SELECT {SCHEMA}.position())")


def listed(columns: Sequence[Column], alias: str) -> str:
    """Return the columns' names for a SELECT of them all from one table."""
    return ", ".join(f"{alias}.{column.name}" for column in columns)
