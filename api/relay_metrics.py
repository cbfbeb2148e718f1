"""What the relay's checkpoints say of it, for Prometheus. The relay is a process of its own."""

from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from projections.relay import RelayStanding


class RelayFigures(Collector):
    """The relay's figures as they were read last; none while the database is away."""

    def __init__(self) -> None:
        self.standing: RelayStanding | None = None

    def collect(self) -> Iterator[Metric]:
        """Give the figures."""
        standing = self.standing
        if standing is None:
            return
        yield GaugeMetricFamily(
            "stockledger_relay_lag_positions",
            "Positions that the relay is behind, for the tenant where that is most",
            standing.behind,
        )
        yield CounterMetricFamily(
            "stockledger_relay_published",
            "Events that JetStream has acknowledged",
            standing.published,
        )
        yield CounterMetricFamily(
            "stockledger_relay_failures",
            "Times that the relay had to begin again",
            standing.failures,
        )
        yield GaugeMetricFamily(
            "stockledger_relay_connected",
            "Whether the relay and NATS have heard of each other within half a minute",
            int(standing.is_connected),
        )
        yield GaugeMetricFamily(
            "stockledger_relay_stopped",
            "Tenants whose events cannot be relayed until somebody sees to it",
            standing.stopped,
        )


RELAY: Final = RelayFigures()
REGISTRY.register(RELAY)
