"""The real ledger and the plain model must come to the same, whatever is done (I4, I5, I6)."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from schemas.common import Command
from schemas.product import ReviseProduct
from schemas.stock import (
    AdjustStock,
    CountStock,
    ExtendReservation,
    IssueReserved,
    IssueStock,
    QuarantineStock,
    ReceiveStock,
    ReceiveTransfer,
    ReleaseQuarantine,
    ReleaseReservation,
    ReserveStock,
    ReverseMovement,
    SetStock,
    ShipTransfer,
    StockEvent,
    TransferStock,
)
from tests.proof.machine import LedgerMachine
from tests.proof.rig import Ledger
from tests.support.postgres import TestServer

# These are about speed and size, and a step here is a round trip to a database.
_UNSUITED = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
)


@pytest.fixture
def _database(postgres: TestServer) -> Iterator[None]:
    """Give the machine a database and an event loop."""
    with asyncio.Runner() as runner:
        database = postgres.fresh_database()
        LedgerMachine.ledger = Ledger(runner.run(database.__aenter__()))
        LedgerMachine.runner = runner
        pool = LedgerMachine.ledger.kept_pool()
        runner.run(pool.__aenter__())
        try:
            yield
        finally:
            runner.run(pool.__aexit__(None, None, None))
            runner.run(database.__aexit__(None, None, None))


def _at_main(kind: type[Command], quantity: object = None, **more: Any) -> Command:
    if quantity is not None:
        more["quantity"] = Decimal(str(quantity))
    return kind(**{"sku": "A", "location": "MAIN", **more})


TOUR: list[list[tuple[Command, int | None, int | None]]] = [
    # Holds: used up, given back in part, extended, and one that will expire.
    [
        (_at_main(ReserveStock, 5, reservation_id="r1"), None, None),
        (_at_main(IssueReserved, 2, reservation_id="r1"), None, None),
        (_at_main(ReleaseReservation, 1, reservation_id="r1"), None, None),
        (_at_main(ExtendReservation, reservation_id="r1", expires_at=None), None, 30),
        (_at_main(ReserveStock, 6, reservation_id="r2"), None, 10),
        (_at_main(IssueStock, 9), None, None),
        (_at_main(ReleaseReservation, reservation_id="r1"), None, None),
    ],
    # r2 has expired: what it held can go, but not as of when it was held.
    [
        (_at_main(IssueStock, 18), 40, None),
        (_at_main(IssueStock, 18), None, None),
        (_at_main(ReceiveStock, 30, source="customer"), 100, None),
        (_at_main(IssueStock, 5), 90, None),
    ],
    # Blocked, freed and scrapped; counted, and something late before the count; set.
    [
        (_at_main(QuarantineStock, 7), None, None),
        (_at_main(ReleaseQuarantine, 2), None, None),
        (_at_main(ReleaseQuarantine, 1, disposition="scrap"), None, None),
        (_at_main(CountStock, 20), None, None),
        (_at_main(AdjustStock, -3), 20, None),
        (_at_main(AdjustStock, 2), 15, None),
        (_at_main(CountStock, 11), 60, None),
        (_at_main(SetStock, 25, expected_quantity=Decimal(20)), None, None),
        (_at_main(SetStock, 25), None, None),
        (_at_main(SetStock, 30, expected_quantity=Decimal(20)), None, None),
    ],
    # Moved at once, and shipped, received in part and lost.
    [
        (
            TransferStock(sku="A", from_location="MAIN", to_location="EAST", quantity=Decimal(4)),
            None,
            None,
        ),
        (
            ShipTransfer(sku="A", from_location="MAIN", to_location="EAST", quantity=Decimal(6)),
            None,
            None,
        ),
        (
            ReceiveTransfer(
                sku="A", location="EAST", transfer_id=2, quantity=Decimal(3), lost=Decimal(1)
            ),
            None,
            None,
        ),
        (
            ReceiveTransfer(sku="A", location="EAST", transfer_id=2, quantity=Decimal(3)),
            None,
            None,
        ),
        (
            ReviseProduct(product_id=1, name="A", sku="C", base_price=Decimal(1), scale=3),
            None,
            None,
        ),
        (_at_main(IssueStock, 1), None, None),
        (_at_main(IssueStock, 1, sku="C"), None, None),
    ],
    # Everything undone, now and as of its own time, the last first, and twice.
    [(ReverseMovement(position=n), None, None) for n in range(50, 30, -1)],
    [(ReverseMovement(position=n), 0, None) for n in range(50, 3, -1)],
    [(ReverseMovement(position=n), None, None) for n in range(4, 50)],
]


@pytest.mark.usefixtures("_database")
def test_a_tour_of_every_command_comes_to_what_the_model_does() -> None:
    """One history in which each kind of command is taken and refused, and each undone."""
    machine = LedgerMachine()
    try:
        machine.shop(0)
        for number, timed in enumerate(TOUR):
            machine.send([machine.dated(*one) for one in timed], number % 2)
            machine.wait(45)
            machine.send_again(number, 1 - number % 2)
            if number % 3 == 2:
                machine.restart(0)
        rows = machine.do(
            machine.ledger.rows(machine.tenant_id, "SELECT DISTINCT type FROM ledger.event")
        )
        missing = {kind.TYPE for kind in get_args(StockEvent)} - {row["type"] for row in rows}
        assert missing == set(), "the tour leaves these out"
    finally:
        machine.teardown()


def _run(examples: int, steps: int, **options: Any) -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            print_blob=True,
            suppress_health_check=[*_UNSUITED],
            **options,
        ),
    )


@pytest.mark.usefixtures("_database")
def test_the_ledger_comes_to_what_the_model_does() -> None:
    """A few short histories, always the same ones; a failure is not made smaller."""
    _run(examples=12, steps=25, derandomize=True, phases=[Phase.generate])


@pytest.mark.long
@pytest.mark.usefixtures("_database")
def test_the_ledger_comes_to_what_the_model_does_at_length() -> None:
    """Many long ones, new ones each time."""
    _run(examples=600, steps=50)
