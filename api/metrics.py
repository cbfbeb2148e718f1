"""What the service counts of itself, for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.committer import GroupReport

COMMANDS: Final = Counter("stockledger_commands", "Commands decided")
EVENTS: Final = Counter("stockledger_events", "Events appended")
REFUSALS: Final = Counter("stockledger_refusals", "Commands refused", ["code"])
CONTENDED: Final = Counter("stockledger_contended_groups", "Groups committed under the head's lock")
GROUP_COMMANDS: Final = Histogram(
    "stockledger_group_commands",
    "Commands in one commit",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
)
COMMIT_SECONDS: Final = Histogram(
    "stockledger_commit_seconds",
    "Time to decide and commit a group",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
REQUEST_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
)  # fmt: skip
QUEUED: Final = Gauge("stockledger_queued_commands", "Commands that wait for the committer")
LAG: Final = Gauge(
    "stockledger_projection_lag_positions",
    "Positions that a following projection is behind, for the tenant where that is most",
    ["projection"],
)
PARKED: Final = Gauge(
    "stockledger_projection_parked",
    "Tenants for which an event that it could not fold has stopped a following projection",
    ["projection"],
)


def observe_group(report: GroupReport) -> None:
    """Count one commit."""
    COMMANDS.inc(report.commands)
    EVENTS.inc(report.events)
    GROUP_COMMANDS.observe(report.commands)
    COMMIT_SECONDS.observe(report.seconds)
    if report.contended:
        CONTENDED.inc()
    for refusal in report.refusals:
        REFUSALS.labels(refusal.CODE).inc()


class RequestTally:
    """The requests of one method, route and status, counted as plain numbers.

    A counter and a histogram of the library cost two locks and a walk through the buckets a
    request; these are only made into theirs when somebody asks.
    """

    __slots__ = ("_by_bucket", "_seconds")

    def __init__(self) -> None:
        self._by_bucket = [0] * (len(REQUEST_SECONDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count a request that took so long."""
        self._by_bucket[bisect_left(REQUEST_SECONDS, seconds)] += 1
        self._seconds += seconds

    @property
    def by_bucket(self) -> list[int]:
        """How many took at most each of ``REQUEST_SECONDS`` and more than the one before."""
        return self._by_bucket

    @property
    def seconds(self) -> float:
        """How long all of them took together."""
        return self._seconds


class Requests(Collector):
    """All requests that this process has answered, for the registry."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, str, int], RequestTally] = {}

    def tally(self, method: str, route: str, status: int) -> RequestTally:
        """Return where requests of a method, route and status are counted."""
        tally = self._tallies.get((method, route, status))
        if tally is None:
            tally = self._tallies[method, route, status] = RequestTally()
        return tally

    def collect(self) -> Iterator[Metric]:
        """Give the counts by method, route and status, and the times by route."""
        counts = CounterMetricFamily(
            "stockledger_http_requests",
            "Requests answered",
            labels=["method", "route", "status"],
        )
        times = HistogramMetricFamily(
            "stockledger_http_request_seconds",
            "Time from a request's arrival to its answer's end",
            labels=["route"],
        )
        by_route: dict[str, list[RequestTally]] = {}
        for (method, route, status), tally in self._tallies.items():
            counts.add_metric([method, route, str(status)], sum(tally.by_bucket))
            by_route.setdefault(route, []).append(tally)
        bounds = [*map(str, REQUEST_SECONDS), "+Inf"]
        for route, tallies in by_route.items():
            buckets = map(sum, zip(*(tally.by_bucket for tally in tallies), strict=True))
            times.add_metric(
                [route],
                list(zip(bounds, accumulate(buckets), strict=True)),
                sum(tally.seconds for tally in tallies),
            )
        yield counts
        yield times


REQUESTS: Final = Requests()
REGISTRY.register(REQUESTS)
