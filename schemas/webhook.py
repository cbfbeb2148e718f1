"""Webhook endpoints: who is told of what. Secrets are in ordinary tables, never in these."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from schemas.common import Command, Event, Id, ShortText

WebhookTopic = Literal[
    "stock.changed",
    "stock.low",
    "order.status_changed",
    "import_batch.closed",
    "purchase_order.received",
    "stock.divergence",
]
WebhookFormat = Literal["standard", "mipos"]
"""``standard`` is Standard Webhooks; ``mipos`` is seed 001's outgoing webhook of type 3."""
WebhookUrl = Annotated[
    str, Meta(min_length=1, max_length=2000, pattern=r"^https?://[^\x00-\x20]+$")
]
Topics = Annotated[tuple[WebhookTopic, ...], Meta(max_length=20)]
"""What a receiver is told of; one that names nothing is kept, and is sent nothing."""
DisableCause = Literal["user", "gone", "failing"]


class CreateWebhookEndpoint(Command, frozen=True, kw_only=True):
    """Add a receiver. Its id is counted by the ledger; nothing is sent before it is verified.

    ``verified`` is for formats whose registration has no challenge of its own. ``kind`` is what
    the system that registered it calls the webhook (miPOS: ``3``, ``ORDER``, ``Menu``), and
    ``receiver_id`` what it is itself called there (miPOS: ``pos_id``).
    """

    TYPE: ClassVar[str] = "CreateWebhookEndpoint"
    url: WebhookUrl
    topics: Topics
    format: WebhookFormat = "standard"
    description: ShortText | None = None
    verified: bool = False
    kind: ShortText | None = None
    receiver_id: ShortText | None = None


class ReviseWebhookEndpoint(Command, frozen=True, kw_only=True):
    """Replace a receiver's address and topics. Another address must be verified anew."""

    TYPE: ClassVar[str] = "ReviseWebhookEndpoint"
    endpoint_id: Id
    url: WebhookUrl
    topics: Topics
    description: ShortText | None = None
    verified: bool = False


class RecordWebhookVerified(Command, frozen=True, kw_only=True):
    """Note that the receiver answered the challenge."""

    TYPE: ClassVar[str] = "RecordWebhookVerified"
    endpoint_id: Id


class RotateWebhookSecret(Command, frozen=True, kw_only=True):
    """Note that a new secret was made; the old one signs beside it for ``overlap_hours``."""

    TYPE: ClassVar[str] = "RotateWebhookSecret"
    endpoint_id: Id
    overlap_hours: Annotated[int, Meta(ge=0, le=720)] = 24


class DisableWebhookEndpoint(Command, frozen=True, kw_only=True):
    """Stop sending to a receiver; what it misses is parked."""

    TYPE: ClassVar[str] = "DisableWebhookEndpoint"
    endpoint_id: Id
    cause: DisableCause = "user"


class EnableWebhookEndpoint(Command, frozen=True, kw_only=True):
    """Send to a receiver again."""

    TYPE: ClassVar[str] = "EnableWebhookEndpoint"
    endpoint_id: Id


class DeleteWebhookEndpoint(Command, frozen=True, kw_only=True):
    """Remove a receiver for good."""

    TYPE: ClassVar[str] = "DeleteWebhookEndpoint"
    endpoint_id: Id


class ResendWebhookMessage(Command, frozen=True, kw_only=True):
    """Ask for one message to be sent again, whatever came of it before.

    ``position`` is its event's, ``n`` counts the messages of that event from 0.
    """

    TYPE: ClassVar[str] = "ResendWebhookMessage"
    endpoint_id: Id
    position: Id
    n: Annotated[int, Meta(ge=0, le=32767)] = 0


class ReplayWebhookMessages(Command, frozen=True, kw_only=True):
    """Ask for all of an endpoint's messages from one position to another to be sent again."""

    TYPE: ClassVar[str] = "ReplayWebhookMessages"
    endpoint_id: Id
    from_position: Id
    to_position: Id


WebhookCommand = (
    CreateWebhookEndpoint
    | ReviseWebhookEndpoint
    | RecordWebhookVerified
    | RotateWebhookSecret
    | DisableWebhookEndpoint
    | EnableWebhookEndpoint
    | DeleteWebhookEndpoint
    | ResendWebhookMessage
    | ReplayWebhookMessages
)


class WebhookEndpointCreated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookEndpointCreated"
    endpoint_id: int
    url: str
    topics: tuple[WebhookTopic, ...]
    format: WebhookFormat = "standard"
    description: str | None = None
    verified: bool = False
    kind: str | None = None
    receiver_id: str | None = None


class WebhookEndpointRevised(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookEndpointRevised"
    endpoint_id: int
    url: str
    topics: tuple[WebhookTopic, ...]
    description: str | None = None
    verified: bool = False


class WebhookEndpointVerified(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookEndpointVerified"
    endpoint_id: int


class WebhookSecretRotated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookSecretRotated"
    endpoint_id: int
    overlap_hours: int


class WebhookEndpointDisabled(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookEndpointDisabled"
    endpoint_id: int
    cause: DisableCause


class WebhookEndpointEnabled(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookEndpointEnabled"
    endpoint_id: int


class WebhookEndpointDeleted(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookEndpointDeleted"
    endpoint_id: int


class WebhookResendRequested(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookResendRequested"
    endpoint_id: int
    position: int
    n: int = 0


class WebhookReplayRequested(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "WebhookReplayRequested"
    endpoint_id: int
    from_position: int
    to_position: int


WebhookEvent = (
    WebhookEndpointCreated
    | WebhookEndpointRevised
    | WebhookEndpointVerified
    | WebhookSecretRotated
    | WebhookEndpointDisabled
    | WebhookEndpointEnabled
    | WebhookEndpointDeleted
    | WebhookResendRequested
    | WebhookReplayRequested
)
