"""What a group's decisions read besides states: in tables and log, and in what the group adds."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ledger import store
from ledger.aliases import DEFAULT_LOCATION
from ledger.domain.decision import (
    ActiveLocations,
    Alias,
    EventAt,
    Facts,
    HasVariants,
    LaterEvents,
    Lookup,
    OpenOrders,
    OwnerOf,
    RecordedEvent,
    SerialsAt,
    StockOf,
)
from ledger.domain.stock import has_stock
from ledger.draft import Draft, Unread
from ledger.ports import InlineProjections
from ledger.session import Session
from ledger.store import Connection
from ledger.working_set import WorkingSet, recorded
from schemas.lot import SerialMoved
from schemas.order import OPEN_STATUSES, OrderPlaced


class GroupReads:
    """Answers the lookups of a group's decisions.

    The tables are as of the group before; what this one has come to so far, its draft has.
    """

    def __init__(
        self,
        draft: Draft,
        working_set: WorkingSet,
        session: Session,
        projections: InlineProjections,
        settle: Callable[[], Awaitable[None]] | None,
    ) -> None:
        """``settle`` waits for the group before this one, where that may be under way."""
        self._draft = draft
        self._working_set = working_set
        self._session = session
        self._projections = projections
        self._settle = settle

    async def load_aliases(self, aliases: Sequence[Alias]) -> None:
        """Read the owners of aliases into the working set."""
        await self.settled()
        connection = await self._session.connection()
        await self._working_set.load_aliases(connection, self._projections, aliases)
        self._draft.correct_aliases(aliases)

    async def look_up(self, lookup: Lookup) -> Any:
        """Read what a decision asks for, in the log and in what this group adds to it."""
        tenant_id, draft = self._working_set.tenant_id, self._draft
        await self.settled()
        connection = await self._session.connection()
        match lookup:
            case LaterEvents(stream, effective_at):
                rows = await store.read_later(connection, tenant_id, stream, effective_at)
                here = [
                    event
                    for event in draft.events
                    if event.stream == stream and event.effective_at > effective_at
                ]
                return [*map(recorded, rows), *here]
            case EventAt(position):
                rows = await store.read_between(connection, tenant_id, position - 1, position + 1)
                here = [event for event in draft.events if abs(event.position - position) <= 1]
                return {event.position: event for event in (*map(recorded, rows), *here)}
            case StockOf(product_id):
                places = await self._projections.stocked_locations(
                    connection, tenant_id, product_id
                )
                prefix = f"stock-{product_id}-"
                changed = draft.changed_states(prefix)
                elsewhere = {f"{prefix}{place}" for place in places} - changed.keys()
                return bool(elsewhere) or any(map(has_stock, changed.values()))
            case ActiveLocations():
                listed = await self._projections.active_locations(connection, tenant_id)
                for stream, state in draft.changed_states("location-").items():
                    number = int(stream.partition("-")[2])
                    if state.is_active and number not in listed:
                        listed = [*listed, number]
                    elif not state.is_active:
                        listed = [listed_id for listed_id in listed if listed_id != number]
                default = await self._owner_of((DEFAULT_LOCATION, ""))
                return tuple(
                    sorted(listed, key=lambda listed_id: (listed_id != default, listed_id))
                )
            case SerialsAt():
                return await self._serials_at(connection, lookup)
            case OwnerOf(alias):
                return await self._owner_of(alias)
            case OpenOrders():
                return await self._open_orders(connection, lookup)
            case HasVariants(product_id):
                changed = draft.changed_states("product-")
                found = await self._projections.variants_of(
                    connection, tenant_id, product_id, len(changed) + 1
                )
                elsewhere = {f"product-{variant_id}" for variant_id in found} - changed.keys()
                return bool(elsewhere) or any(
                    state.variant_of == product_id and not state.discontinued
                    for state in changed.values()
                )

    async def _owner_of(self, alias: Alias) -> int | None:
        try:
            return self._draft.find_alias(alias)
        except Unread:
            await self.load_aliases([alias])
            return self._draft.find_alias(alias)

    async def _open_orders(self, connection: Connection, lookup: OpenOrders) -> tuple[int, ...]:
        """Return open orders by the tables, less and plus what this group made of them."""
        draft = self._draft
        changed = draft.changed_states("order-")
        listed = await self._projections.open_orders(
            connection,
            self._working_set.tenant_id,
            lookup.customer_id,
            lookup.limit + len(changed),
        )
        here = {
            event.event.order_id
            for event in draft.events
            if isinstance(event.event, OrderPlaced)
            and event.event.customer_id == lookup.customer_id
        }
        found = [
            order_id
            for order_id in sorted({*listed, *here})
            if (state := changed.get(f"order-{order_id}")) is None or state.status in OPEN_STATUSES
        ]
        return tuple(found[: lookup.limit])

    async def _serials_at(self, connection: Connection, lookup: SerialsAt) -> tuple[int, ...]:
        """Return serials that are at a place by the tables, less and plus what this group moved."""
        draft = self._draft
        moved: dict[int, bool] = {}
        for recorded_event in draft.events:
            event = recorded_event.event
            if isinstance(event, SerialMoved) and event.product_id == lookup.product_id:
                here = event.location_id == lookup.location_id and event.status == lookup.status
                moved[event.serial_id] = here
        known = await self._projections.serials_at(
            connection,
            self._working_set.tenant_id,
            lookup.product_id,
            lookup.location_id,
            lookup.status,
            lookup.limit + len(moved),
        )
        found = [serial_id for serial_id in known if moved.get(serial_id, True)]
        found += [serial_id for serial_id, here in moved.items() if here and serial_id not in known]
        return tuple(found[: lookup.limit])

    async def settled(self) -> None:
        """Return once the group before this one is committed, so that tables have what it wrote."""
        if self._settle is not None:
            await self._settle()
            self._settle = None


def with_lookups(facts: Facts, wanted: Sequence[Lookup], found: Mapping[Lookup, Any]) -> Facts:
    """Return facts with the answers to lookups, each where its kind is looked for."""
    later: dict[str, Sequence[RecordedEvent]] = {}
    events: dict[int, RecordedEvent] = {}
    stocked: dict[int, bool] = {}
    for lookup in wanted:
        match lookup:
            case LaterEvents(stream):
                later[stream] = found[lookup]
            case EventAt():
                events.update(found[lookup])
            case StockOf(product_id):
                stocked[product_id] = found[lookup]
            case _:
                pass
    return facts._replace(later=later, events=events, has_stock=stocked, found=found)
