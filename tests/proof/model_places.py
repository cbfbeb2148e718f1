"""What the model keeps of a product at a location, and what a command would change there.

Every question about the past is answered by going through everything that ever happened, at
every time that something did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

ZERO = Decimal(0)


@dataclass
class Hold:
    """A claim; gone when nothing is left of it."""

    quantity: Decimal
    since: datetime
    expires_at: datetime | None
    owner: str | None


@dataclass
class Count:
    """A count and all that it has moved, its revisions included."""

    at: datetime
    position: int
    moved: Decimal
    withdrawn: bool = False


@dataclass
class Incoming:
    """What is left on its way of a transfer."""

    quantity: Decimal
    since: datetime
    source: int


@dataclass
class Place:
    """A product at a location. ``steps`` are (time, unrestricted, quarantine, claimed)."""

    limit: Decimal
    steps: list[tuple[datetime, Decimal, Decimal, Decimal]] = field(default_factory=list)
    holds: dict[str, Hold] = field(default_factory=dict)
    counts: list[Count] = field(default_factory=list)
    incoming: dict[int, Incoming] = field(default_factory=dict)

    def on_hand_at(self, at: datetime) -> tuple[Decimal, Decimal]:
        """Return on hand and quarantine after everything of a time."""
        there = [step for step in self.steps if step[0] <= at]
        quarantine = sum((q for _, _, q, _ in there), ZERO)
        return sum((u for _, u, _, _ in there), ZERO) + quarantine, quarantine

    def live(self, reservation_id: str, now: datetime) -> Hold | None:
        """Return a hold that has not expired."""
        hold = self.holds.get(reservation_id)
        if hold is None or (hold.expires_at is not None and hold.expires_at <= now):
            return None
        return hold

    def expire(self, now: datetime) -> None:
        """End the holds that have expired, as of when they did."""
        for name, hold in list(self.holds.items()):
            if hold.expires_at is not None and hold.expires_at <= now:
                self.steps.append((hold.expires_at, ZERO, ZERO, -hold.quantity))
                del self.holds[name]


@dataclass
class Movement:
    """A leg of goods, as the movements' table should show it, and what undoing it takes."""

    type: str
    product: int
    place: int
    leg: tuple[str, int, str, int]
    quantity: Decimal
    at: datetime
    transfer: int | None = None
    direct: bool = False
    count: Count | None = None
    undone: bool = False
    twin: "Movement | None" = None


class Figures(NamedTuple):
    """What is available and in quarantine, or a difference of these, as of a time."""

    at: datetime
    available: Decimal
    quarantine: Decimal


@dataclass
class Effect:
    """What a command changes at a place from a time on, with the count it must not disturb."""

    place: Place
    at: datetime
    unrestricted: Decimal
    quarantine: Decimal
    claimed: Decimal
    revised: Count | None

    def fits(self, now: datetime) -> bool:
        """Tell whether available and quarantine stay high enough, wherever this lowers them."""
        own = [Figures(self.at, self.unrestricted - self.claimed, self.quarantine)]
        if self.revised is not None:
            own.append(Figures(self.revised.at, -self.unrestricted - self.quarantine, ZERO))
        if all(step.available >= 0 and step.quarantine >= 0 for step in own):
            return True
        place = self.place
        there = [Figures(at, u - c, q) for at, u, q, c in place.steps]
        there += [
            Figures(hold.expires_at, hold.quantity, ZERO)
            for hold in place.holds.values()
            if hold.expires_at is not None and hold.expires_at <= now
        ]
        for time in {step.at for step in [*own, *there] if step.at >= self.at}:
            lowered, before = _as_of(time, own), _as_of(time, there)
            if lowered.available < 0 and before.available + lowered.available < place.limit:
                return False
            if lowered.quarantine < 0 and before.quarantine + lowered.quarantine < 0:
                return False
        return True


def _as_of(time: datetime, steps: Sequence[Figures]) -> Figures:
    there = [step for step in steps if step.at <= time]
    available = sum((step.available for step in there), ZERO)
    return Figures(time, available, sum((step.quarantine for step in there), ZERO))
