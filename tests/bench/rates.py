"""Measuring how many answers a second a server gives."""

from collections.abc import Awaitable, Callable

from tests.bench.load import Lane
from tests.bench.measure import load
from tests.bench.plan import Bench
from tests.bench.servers import API_KEY, Server


def rate_of(
    bench: Bench, server: Server, lane: Lane, each: int = 1
) -> Callable[[], Awaitable[float]]:
    """Return a measurement: a lane's answers a second, times what each answer stands for."""

    async def measure() -> float:
        results = await load(server.port, API_KEY, [lane], durations=bench.durations)
        return results[lane.name].per_second * each

    return measure


def elsewhere(lane: Lane, path: str) -> Lane:
    """Return the same lane to another path."""
    return Lane(
        name=lane.name,
        connections=lane.connections,
        kind=lane.kind,
        options={**lane.options, "path": path},
    )
