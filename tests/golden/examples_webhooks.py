"""Examples of the events of webhook endpoints; see `tests.golden.examples`."""

from collections.abc import Mapping
from typing import Final

from schemas.common import Event
from schemas.webhook import (
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointRevised,
    WebhookEndpointVerified,
    WebhookReplayRequested,
    WebhookResendRequested,
    WebhookSecretRotated,
)

EXAMPLES: Final[tuple[Event, ...]] = (
    WebhookEndpointCreated(
        endpoint_id=4,
        url="https://pos.example.com/hooks/stock",
        topics=("stock.changed",),
        format="mipos",
        description="The till in York",
        verified=True,
        kind="3",
        receiver_id="1",
    ),
    WebhookEndpointRevised(
        endpoint_id=4,
        url="https://pos.example.com/hooks/all",
        topics=("stock.changed", "stock.low"),
        description="Both tills in York",
        verified=True,
    ),
    WebhookEndpointVerified(endpoint_id=4),
    WebhookSecretRotated(endpoint_id=4, overlap_hours=48),
    WebhookEndpointDisabled(endpoint_id=4, cause="gone"),
    WebhookEndpointEnabled(endpoint_id=4),
    WebhookEndpointDeleted(endpoint_id=4),
    WebhookResendRequested(endpoint_id=4, position=41, n=1),
    WebhookReplayRequested(endpoint_id=4, from_position=40, to_position=99),
)

FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {}
