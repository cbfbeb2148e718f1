"""All that can be measured, by name, in the order of the page."""

from collections.abc import Awaitable, Callable
from typing import Final

from tests.bench import (
    bitemporal,
    dialects,
    export,
    figures,
    orders,
    outward,
    relay,
    reports,
    valuation,
    webhooks,
)
from tests.bench.plan import Bench
from tests.bench.report import Figure

SUITES: Final[dict[str, Callable[[Bench], Awaitable[list[Figure]]]]] = {
    "singles": figures.singles,
    "orders": orders.placement,
    "valuation": valuation.backdating,
    "bulk": figures.bulk,
    "dialects": dialects.bulk_entries,
    "webhooks": webhooks.deliveries,
    "latency": figures.latency,
    "reads": figures.reads,
    "reports": reports.dashboard,
    "bitemporal": bitemporal.moments,
    "rebuild": figures.rebuild,
    "memory": figures.memory,
    "depth": figures.depth,
    "processes": figures.processes,
    "relay": relay.publishing,
    "outward": outward.beside_writes,
    "export": export.export,
}
