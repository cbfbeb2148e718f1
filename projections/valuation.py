"""The valuation: what every movement cost, and what stock was worth on any day.

One pool a product, over all locations and what is on its way between them: a transfer changes
no cost. What crosses the boundary (supplier, customer, adjustment or loss against what is owned)
is a row of ``cost_movement``, in the order of costing: business day, effective time, position. A
business day is that of the location, in the zone that it had when the movement was recorded.

``cost_day`` adds up the rows of a day: so a movement recorded late is one row more and one sum
changed, and nothing behind it is posted again (`projections.costing`). Only the moving average
has no such form: ``cost_average`` holds its closing of each day, computed forward from the day
that changed to where it meets what is stored.

What comes in without a cost of its own is costed when it is folded, in the order of the log: a
return by the issue it comes back from, goods found at the present cost. Such a cost stays, until
another method is chosen, which costs the whole history anew.

The standard cost of a day is the cost price that was stated last by then. The first one that is
ever stated holds for all time before as well: nothing else is known of it, and a history that is
imported is older than its catalogue.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, get_args

from ledger.domain.decision import RecordedEvent
from projections.projection import BALANCE, QUANTITY, Columns, Connection
from projections.valuation_fold import DAY_FIGURES, Fold
from projections.valuation_methods import change_method
from schemas.books import BooksConfigured, LandedCostAdded, StockRevalued, ValuationChosen
from schemas.common import Event
from schemas.location import LocationOpened, LocationRevised
from schemas.product import ProductRegistered, ProductRevised
from schemas.stock import StockEvent

if TYPE_CHECKING:
    from projections.valuation_bulk import ValuationBulk

COST: Final = "numeric(48,6)"
"""A sum of quantities times unit costs: a billion of the largest fit."""

_MOVEMENT = Columns(
    "position bigint",
    "product_id bigint",
    "location_id bigint",
    "day date",
    "effective_at timestamptz",
    'kind text COLLATE "C"',
    f"quantity {QUANTITY}",
    f"cost {COST} null",
    f"landed {COST}",
    'basis text COLLATE "C" null',
    "origin bigint null",
    'origin_kind text COLLATE "C" null',
    "reference_key bigint null",
)
_DAY = Columns(
    "product_id bigint",
    "day date",
    "location_id bigint",
    *(f"{figure} {COST if figure.endswith('_cost') else BALANCE}" for figure in DAY_FIGURES),
)
_REMOVAL = Columns(
    "product_id bigint",
    "position bigint",
    "day date",
    "effective_at timestamptz",
    'kind text COLLATE "C"',
    f"quantity {QUANTITY}",
    f"cost {COST}",
    "layer_day date",
    "layer_at timestamptz",
    "layer_position bigint",
)
_STANDARD = Columns(
    "product_id bigint",
    "position bigint",
    "day date",
    "effective_at timestamptz",
    f"unit_cost {QUANTITY} null",
    "is_revaluation boolean",
)
_AVERAGE = Columns(
    "product_id bigint",
    "day date",
    f"quantity {BALANCE}",
    f"value {COST}",
    f"unit_cost {COST} null",
    f"sold_cost {COST}",
    "last_at timestamptz",
    "last_position bigint",
)
_PRODUCT = Columns(
    "product_id bigint",
    'method text COLLATE "C" null',
    f"cost_price {QUANTITY} null",
    "has_price boolean",
    f"last_unit_cost {COST} null",
)
_BOOKS = Columns('method text COLLATE "C"', "time_zone text", "has_chosen boolean")
_ZONE = Columns("location_id bigint", "time_zone text")


class Valuation:
    """Folds movements, costs and the choice of method into what everything cost."""

    name: ClassVar[str] = "valuation"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "cost_movement": ("tenant_id", "position"),
        "cost_day": ("tenant_id", "product_id", "day", "location_id"),
        "cost_removal": ("tenant_id", "product_id", "position"),
        "cost_standard": ("tenant_id", "product_id", "position"),
        "cost_average": ("tenant_id", "product_id", "day"),
        "cost_product": ("tenant_id", "product_id"),
        "cost_books": ("tenant_id",),
        "cost_zone": ("tenant_id", "location_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {
            *get_args(StockEvent),
            LocationOpened,
            LocationRevised,
            ProductRegistered,
            ProductRevised,
            BooksConfigured,
            ValuationChosen,
            LandedCostAdded,
            StockRevalued,
        }
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables, and two ways into the movements."""
        columns = {
            "cost_movement": _MOVEMENT,
            "cost_day": _DAY,
            "cost_removal": _REMOVAL,
            "cost_standard": _STANDARD,
            "cost_average": _AVERAGE,
            "cost_product": _PRODUCT,
            "cost_books": _BOOKS,
            "cost_zone": _ZONE,
        }
        storage = {"cost_day": "WITH (fillfactor = 80)", "cost_average": "WITH (fillfactor = 80)"}
        tables = "".join(
            columns[table].create(schema, table, key, storage.get(table, ""))
            for table, key in self.tables.items()
        )
        return f"""{tables}
            CREATE INDEX ON {schema}.cost_movement
                (tenant_id, product_id, day, effective_at, position);
            CREATE INDEX ON {schema}.cost_movement (tenant_id, product_id, reference_key)
                WHERE reference_key IS NOT NULL;
        """

    def bulk_fold(self, tenant_id: int) -> "ValuationBulk":
        """Return the quick way into empty tables."""
        # It takes a moment to load: only where it is needed.
        from projections.valuation_bulk import ValuationBulk

        return ValuationBulk(tenant_id)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Fold the events up to each change of method, then cost anew what it changes."""
        start = 0
        for end, recorded in enumerate(events):
            if isinstance(recorded.event, BooksConfigured | ValuationChosen):
                if end > start:
                    await Fold(connection, schema, tenant_id).fold(events[start:end])
                await change_method(connection, schema, tenant_id, recorded.event)
                start = end + 1
        if start < len(events):
            await Fold(connection, schema, tenant_id).fold(events[start:])
