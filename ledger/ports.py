"""What the log needs from the read models, handed in at wiring: it imports none of them."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.store import Connection


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who did it, through what, and why: stored with each event.

    ``actor`` is ``user:<id>``, ``key:<id>`` or ``system:<name>``; ``source`` the API it came
    through; ``correlation_id`` the request; ``causation`` what led to it.
    """

    actor: str
    source: str
    actor_name: str | None = None
    correlation_id: str | None = None
    causation: str | None = None
    idempotency_key: str | None = None


class InlineProjections(Protocol):
    """The read models written in the transaction that appends."""

    @property
    def models(self) -> str:
        """Names their versions, as `ledger.store.Head` does where these are installed."""
        ...

    async def apply(
        self, connection: Connection, tenant_id: int, events: Sequence[RecordedEvent]
    ) -> None:
        """Fold newly appended events, in order. Runs after they are inserted."""
        ...

    async def find_aliases(
        self, connection: Connection, tenant_id: int, aliases: Sequence[tuple[str, str]]
    ) -> Mapping[tuple[str, str], int]:
        """Return the ids of those of the (kind, folded key) pairs that have one."""
        ...

    async def stocked_locations(
        self, connection: Connection, tenant_id: int, product_id: int
    ) -> Sequence[int]:
        """Return the locations where a product is on hand, in transit or reserved."""
        ...

    async def active_locations(self, connection: Connection, tenant_id: int) -> Sequence[int]:
        """Return the ids of the active locations, in order."""
        ...

    async def serials_at(
        self,
        connection: Connection,
        tenant_id: int,
        product_id: int,
        location_id: int,
        status: str,
        limit: int,
    ) -> Sequence[int]:
        """Return the ids of a product's serials at a place and in a status, oldest first."""
        ...

    async def variants_of(
        self, connection: Connection, tenant_id: int, product_id: int, limit: int
    ) -> Sequence[int]:
        """Return the ids of the products in the catalogue that are variants of one."""
        ...

    async def open_orders(
        self, connection: Connection, tenant_id: int, customer_id: int, limit: int
    ) -> Sequence[int]:
        """Return the ids of a customer's orders that are neither fulfilled nor cancelled."""
        ...

    async def subjects_of(
        self,
        connection: Connection,
        tenant_id: int,
        customers: Sequence[int],
        orders: Sequence[int],
    ) -> tuple[Mapping[int, str], Mapping[int, str]]:
        """Return whose keys seal what is said of customers and of their orders, by id.

        Those are left out that have none yet; orders go by their customers.
        """
        ...
