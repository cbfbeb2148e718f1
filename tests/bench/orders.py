"""Placing orders: one of three lines a request, each priced and reserved."""

from tests.bench.measure import in_turn
from tests.bench.plan import CONNECTIONS, SPREAD_PRODUCTS, Bench
from tests.bench.rates import elsewhere, rate_of
from tests.bench.report import Figure


async def placement(bench: Bench) -> list[Figure]:
    """One order a request over 64 connections, against the empty handler."""
    ours, ceiling = await bench.main(), await bench.ceiling()
    lane = ours.order("orders", CONNECTIONS, SPREAD_PRODUCTS)
    found = await in_turn(
        {
            "empty handler": rate_of(bench, ceiling, elsewhere(lane, "/empty")),
            "orders": rate_of(bench, ours.server, lane),
        },
        bench.durations.rounds,
        bench.progress,
    )
    return [
        Figure(
            name="orders of 3 lines placed, 1,000 SKUs, 64 connections",
            unit="/s",
            ours=found["orders"],
            against="empty POST handler",
            baseline=found["empty handler"],
            limit=0.25,
            note="an order is four events: its own, and a reservation for each line",
        )
    ]
