"""The made-up shop's own simple books: what is free where, and the commands it has given."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

from schemas.common import Command

Shelf = tuple[str, str]
"""A SKU and a location's code."""


class Answer(NamedTuple):
    """What became of a command: the position of its first event, and the id of what it made.

    That is a transfer, an order or a purchase order; None for any other.
    """

    position: int
    made_id: int | None = None


Answers = Sequence[Answer | None]
"""For each command of a step its answer; None where it was refused or did nothing."""


class Books:
    """What is free to sell at each place, what is blocked there, and what orders have claimed."""

    def __init__(self, random: Random, first: date) -> None:
        self.random = random
        self.free: defaultdict[Shelf, Decimal] = defaultdict(Decimal)
        self.blocked: defaultdict[Shelf, Decimal] = defaultdict(Decimal)
        self.claimed: defaultdict[Shelf, Decimal] = defaultdict(Decimal)
        self.commands: list[Command] = []
        self.begin(first)

    def begin(self, day: date) -> None:
        """Set the clock to the morning of a day."""
        self._clock = datetime.combine(day, time(6), UTC)

    @property
    def day(self) -> date:
        """The day that it is."""
        return self._clock.date()

    def tick(self) -> datetime:
        """Return a time some moments after the last; a day's bookings stay inside the day."""
        self._clock += timedelta(seconds=self.random.randint(5, 90))
        return self._clock

    def do(self, command: Command) -> int:
        """Give a command; return its place in its step, where its answer will be."""
        self.commands.append(command)
        return len(self.commands) - 1

    def taken(self) -> list[Command]:
        """Return the commands given since the last time, and begin a new list."""
        commands, self.commands = self.commands, []
        return commands
