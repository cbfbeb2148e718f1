"""The star: what analysts read, all of it as of one position.

Inline read models stand at the log's head, following ones at a checkpoint somewhat behind it. An
analyst's queries must show one position, so this following projection folds once more what the
views of the schema ``analysis`` (`projections.star_views`) need of the inline ones: by the very
same folds, into tables of its own whose names begin with ``star_``. What only grows, events and
movements, is not kept twice: there the views leave out what is behind the position.

Personal data is not copied: no name or address of a customer, no address, note or reason of an
order.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final, cast

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.bulk import Part
from projections.categories import Categories
from projections.elsewhere import Elsewhere
from projections.locations import Locations
from projections.log_reading import of_types
from projections.orders import Orders
from projections.products import Products
from projections.projection import Connection, Projection
from projections.purchase_orders import PurchaseOrders
from projections.star_customers import StarCustomers
from projections.star_stock import StarStock
from projections.suppliers import Suppliers
from schemas.common import Event
from schemas.order import OrderPlaced, OrderReturned
from schemas.supplier import SupplierRegistered, SupplierRevised

if TYPE_CHECKING:
    from projections.star_stock_bulk import StarStockBulk

PREFIX: Final = "star_"

_Columns = tuple[str, ...]


class Copy:
    """The fold of another projection, into tables whose names begin with ``star_``.

    ``without`` names fields of events that the copy must not hold; they are taken for not said.
    Indexes are left out: they serve the service's own queries.
    """

    def __init__(
        self, original: Projection, without: Mapping[type[Event], _Columns] | None = None
    ) -> None:
        self._original = original
        self._without = {
            kind: dict.fromkeys(fields, None) for kind, fields in (without or {}).items()
        }
        self.tables = {f"{PREFIX}{table}": key for table, key in original.tables.items()}
        self.event_types = original.event_types

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return _renamed(_INDEX.sub("", self._original.ddl(schema)), schema)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Fold the events as the original does."""
        if self._without:
            events = [self._stripped(recorded) for recorded in events]
        renaming = cast(Connection, Elsewhere(connection, lambda query: _renamed(query, schema)))
        await self._original.apply(renaming, schema, tenant_id, events)

    def _stripped(self, recorded: RecordedEvent) -> RecordedEvent:
        fields = self._without.get(type(recorded.event))
        if fields is None:
            return recorded
        return recorded._replace(event=msgspec.structs.replace(recorded.event, **fields))


_INDEX: Final = re.compile(r"CREATE INDEX [^;]*;")
_renamed_texts: dict[tuple[str, str], str] = {}


def _renamed(text: str, schema: str) -> str:
    """Return SQL with the tables of a schema named as the copy's are.

    The text of a statement is then the same at every call, so asyncpg prepares it once.
    """
    known = _renamed_texts.get((schema, text))
    if known is None:
        known = _renamed_texts[schema, text] = text.replace(f"{schema}.", f"{schema}.{PREFIX}")
    return known


class _Parts:
    """Several parts as one: each folds the events of its own types."""

    def __init__(self, *parts: "Copy | StarStock | StarCustomers | _Parts") -> None:
        self._parts = parts
        self.tables = {table: key for part in parts for table, key in part.tables.items()}
        self.event_types = frozenset(kind for part in parts for kind in part.event_types)

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return "".join(part.ddl(schema) for part in self._parts)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Hand each part the events that it folds."""
        batch = list(events)
        for part in self._parts:
            mine = of_types(batch, part.event_types)
            if mine:
                await part.apply(connection, schema, tenant_id, mine)


# Of stock there are many events, of all else few.
_STOCK: Final = StarStock()
_REST: Final = _Parts(
    Copy(Products()),
    Copy(Locations()),
    Copy(Categories()),
    Copy(
        Suppliers(),
        without=dict.fromkeys((SupplierRegistered, SupplierRevised), ("email", "phone")),
    ),
    StarCustomers(),
    Copy(
        Orders(),
        without={OrderPlaced: ("shipping_address", "notes"), OrderReturned: ("reason",)},
    ),
    Copy(PurchaseOrders()),
)
_WHOLE: Final = _Parts(_STOCK, _REST)


class Star:
    """Folds what the analysts' views need of the inline read models, into tables of its own."""

    name: ClassVar[str] = "star"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = _WHOLE.tables
    event_types: ClassVar[frozenset[type[Event]]] = _WHOLE.event_types
    rest: ClassVar[Part] = _REST

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return _WHOLE.ddl(schema)

    def bulk_fold(self, tenant_id: int) -> "StarStockBulk":
        """Return the quick way into the empty tables of stock; ``rest`` is all but these."""
        # It takes a moment to load: only where it is needed.
        from projections.star_stock_bulk import StarStockBulk

        return StarStockBulk(tenant_id)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Hand each part the events that it folds."""
        await _WHOLE.apply(connection, schema, tenant_id, events)
