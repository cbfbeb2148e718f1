"""What the service counts of itself, for Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

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
QUEUED: Final = Gauge("stockledger_queued_commands", "Commands that wait for the committer")


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
