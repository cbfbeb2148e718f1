"""What events of stock do to the figures that webhooks tell: summed up, as one by one."""

from decimal import Decimal
from typing import Any, get_args

import pytest

from projections.webhook_facts import Place, add_changes, changes_of
from schemas.stock import StockEvent
from tests.golden.examples import EXAMPLES

STOCK_EVENTS = [event for event in EXAMPLES if isinstance(event, get_args(StockEvent))]


@pytest.mark.parametrize("event", STOCK_EVENTS, ids=lambda event: type(event).__name__)
def test_the_sums_are_those_of_the_changes(event: Any) -> None:
    """Of every kind of event, twice over: figures, and how many changes."""
    totals: dict[Place, list[Any]] = {}
    for _ in range(2):
        add_changes(totals, event)
    expected = {
        place: [*(2 * figure for figure in change), 2]
        for place, change in changes_of(event).items()
    }
    assert totals == expected
    assert all(type(figure) is Decimal for total in totals.values() for figure in total[:3])
