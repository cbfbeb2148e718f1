"""HTTP bodies of webhook endpoints, their deliveries and replays."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas.common import Id, Instant, ShortText
from schemas.webhook import DisableCause, WebhookFormat, WebhookTopic, WebhookUrl

ChosenTopics = Annotated[tuple[WebhookTopic, ...], Meta(min_length=1, max_length=20)]
DeliveryState = Literal["waiting", "delivered", "parked"]


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class WebhookEndpointBody(_Body, frozen=True, kw_only=True):
    """A receiver: where it is, what it is told, and in which format."""

    url: WebhookUrl
    topics: ChosenTopics
    format: WebhookFormat = "standard"
    description: ShortText | None = None


class WebhookRevisionBody(_Body, frozen=True, kw_only=True):
    """All that is said of a receiver from now on. Another address must be verified anew."""

    url: WebhookUrl
    topics: ChosenTopics
    description: ShortText | None = None


class SecretRotationBody(_Body, frozen=True, kw_only=True):
    """For how long the old secret signs beside the new one; 0 ends it at once."""

    overlap_hours: Annotated[int, Meta(ge=0, le=720)] = 24


class ReplayBody(_Body, frozen=True, kw_only=True):
    """From where to where messages are sent again: exactly one of position and time to begin at.

    Without ``to_position``, up to where the log is now.
    """

    from_position: Id | None = None
    from_time: Instant | None = None
    to_position: Id | None = None


class WebhookEndpointReply(msgspec.Struct, frozen=True, kw_only=True):
    """A receiver. ``failing_since`` is when attempts began to fail with no success since."""

    id: int
    url: str
    topics: list[WebhookTopic]
    format: WebhookFormat
    kind: str | None
    receiver_id: str | None
    description: str | None
    verified: bool
    enabled: bool
    disabled_cause: DisableCause | None
    created_at: datetime
    revised_at: datetime
    secret_rotated_at: datetime | None
    previous_secret_until: datetime | None
    failing_since: datetime | None
    version: int


class WebhookEndpointsReply(msgspec.Struct, frozen=True, kw_only=True):
    webhooks: list[WebhookEndpointReply]
    total: int
    page: int
    limit: int


class WebhookCreatedReply(msgspec.Struct, frozen=True, kw_only=True):
    """A new receiver. ``secret`` is shown this once; nothing is sent before it is verified."""

    id: int
    url: str
    topics: tuple[WebhookTopic, ...]
    format: WebhookFormat
    description: str | None
    verified: bool
    secret: str
    created_at: datetime


class SecretRotatedReply(msgspec.Struct, frozen=True, kw_only=True):
    """The new secret, shown this once; the old one signs beside it until then."""

    id: int
    secret: str
    rotated_at: datetime
    previous_secret_until: datetime


class WebhookActionReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for is so."""

    id: int
    message: str


class DeliveryReply(msgspec.Struct, frozen=True, kw_only=True):
    """A message to a receiver. ``id`` is what it gets as ``webhook-id``.

    ``due_at`` is when it is tried again; of those of one ``item`` only the first goes out.
    """

    id: str
    position: int
    n: int
    topic: WebhookTopic
    item: str
    state: DeliveryState
    attempts: int
    status: int | None
    problem: str | None
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


class DeliveriesReply(msgspec.Struct, frozen=True, kw_only=True):
    deliveries: list[DeliveryReply]
    total: int
    page: int
    limit: int


class AttemptReply(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt at a delivery; ``answer`` is the first 1,024 bytes of the receiver's."""

    delivery_id: str
    attempt: int
    started_at: datetime
    latency_ms: int
    status: int | None
    answer: str | None
    problem: str | None


class DeliveryDetailReply(DeliveryReply, frozen=True, kw_only=True):
    """A delivery with what it says, as far as its message is there, and its attempts."""

    data: dict[str, Any] | None
    log: list[AttemptReply]


class AttemptsReply(msgspec.Struct, frozen=True, kw_only=True):
    attempts: list[AttemptReply]
    total: int
    page: int
    limit: int


class ReplayReply(msgspec.Struct, frozen=True, kw_only=True):
    """Messages being sent again: ``done_position`` is how far they wait to be sent."""

    id: int
    endpoint_id: int
    from_position: int
    to_position: int
    done_position: int
    messages: int
    created_at: datetime
    finished_at: datetime | None


class ReplaysReply(msgspec.Struct, frozen=True, kw_only=True):
    replays: list[ReplayReply]
    total: int
    page: int
    limit: int
