"""The made-up shop: the same each time, and every day of its years in order."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from api.imports.demo_books import Answer, Answers
from api.imports.demo_shop import history
from schemas.common import Command
from schemas.order import PlaceOrder
from schemas.purchase import CreatePurchaseOrder
from schemas.stock import ShipTransfer

MAKING = (ShipTransfer, PlaceOrder, CreatePurchaseOrder)
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)


def told(seed: int, years: int = 1) -> list[Command]:
    """Return all the commands of a shop to which every wish is granted."""
    commands: list[Command] = []
    story = history(seed, years, NOW)
    step = next(story)
    try:
        while True:
            first = len(commands) + 1
            commands += step.commands
            answers: Answers = [
                Answer(first + n, first + n if isinstance(each, MAKING) else None)
                for n, each in enumerate(step.commands)
            ]
            step = story.send(answers)
    except StopIteration:
        return commands


def test_a_seed_is_a_shop() -> None:
    """The same seed tells the same story, another one another."""
    assert told(7) == told(7)
    assert told(7) != told(8)


def test_every_kind_of_movement_happens() -> None:
    """Or there would be nothing to explore."""
    kinds = Counter(type(command).TYPE for command in told(1))
    assert {
        *("RegisterProduct", "OpenLocation", "RegisterSupplier", "ReceiveStock", "IssueStock"),
        *("AdjustStock", "CountStock", "TransferStock", "ShipTransfer", "ReceiveTransfer"),
        *("ReserveStock", "ReleaseReservation", "IssueReserved", "QuarantineStock"),
        *("ReleaseQuarantine", "ReverseMovement", "RegisterCustomer", "DefinePriceTier"),
        *("PlaceOrder", "ChangeOrderStatus", "FulfilOrder", "ReturnOrder"),
        *("CreatePurchaseOrder", "SendPurchaseOrder", "ReceivePurchaseOrder"),
    } == set(kinds)


def test_nothing_happens_in_the_future() -> None:
    """It ends the day before, and begins the years before that."""
    times = [at for each in told(1, 2) if (at := getattr(each, "effective_at", None)) is not None]
    assert max(times) < NOW
    assert (NOW - min(times)).days in range(728, 733)


def test_years_are_bounded() -> None:
    """A century of trade would fill the disk."""
    with pytest.raises(ValueError, match="1 to 20"):
        history(1, 100, NOW)
