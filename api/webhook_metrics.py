"""How deliveries of webhooks stand, for Prometheus. They are made by a process of their own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from projections.webhook_queue import Depth


class WebhookFigures(Collector):
    """The figures as they were read last; none while the database is away."""

    def __init__(self) -> None:
        self.depth: Depth | None = None

    def collect(self) -> Iterator[Metric]:
        """Give the figures."""
        depth = self.depth
        if depth is None:
            return
        results = CounterMetricFamily(
            "stockledger_webhook_deliveries",
            "Webhook deliveries that were delivered or parked, and attempts that failed",
            labels=["result"],
        )
        results.add_metric(["delivered"], depth.delivered)
        results.add_metric(["failed"], depth.failed)
        results.add_metric(["parked"], depth.parked)
        yield results
        yield GaugeMetricFamily(
            "stockledger_webhook_waiting", "Webhook deliveries that wait", depth.waiting
        )
        age = None if depth.oldest is None else datetime.now(UTC) - depth.oldest
        yield GaugeMetricFamily(
            "stockledger_webhook_oldest_waiting_seconds",
            "How long the webhook delivery that has waited longest has",
            0 if age is None else age.total_seconds(),
        )


WEBHOOKS: Final = WebhookFigures()
REGISTRY.register(WEBHOOKS)
