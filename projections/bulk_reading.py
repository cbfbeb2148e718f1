"""The log as the quick way reads it: in columns, and with the events that it leaves out of them."""

from collections.abc import Collection
from typing import NamedTuple

from ledger.domain.decision import RecordedEvent
from projections.log_columns import Stretch, read_columns
from projections.log_reading import read_folded
from projections.projection import Connection


class Read(NamedTuple):
    """A stretch of the log in columns, and the events in it for the ordinary folds, in order."""

    stretch: Stretch
    events: list[RecordedEvent]

    @property
    def last(self) -> int:
        """The stretch's last position."""
        return self.stretch.last


async def read_stretch(
    connection: Connection,
    tenant_id: int,
    after: int,
    up_to: int,
    types: Collection[str],
    rest: Collection[str],
    limit: int,
) -> Read | None:
    """Return the next ``limit`` events behind ``after``; None at the end.

    Those of ``types`` are in the columns, those of ``rest`` are not. Bounds and errors are those
    of `projections.log_reading.read_events`.
    """
    stretch = await read_columns(connection, tenant_id, after, up_to, types, limit)
    if stretch is None:
        return None
    events: list[RecordedEvent] = []
    while rest and after < stretch.last:
        batch = await read_folded(connection, tenant_id, after, stretch.last, rest, limit)
        assert batch is not None, "the log goes as far as the stretch"
        events += batch.events
        after = batch.last
    return Read(stretch, events)
