"""Webhook endpoints: who is told of what is recorded here.

Secrets are in an ordinary table, and what is sent in others; these streams hold neither.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    InvalidCommand,
    NewEvent,
    RecordedEvent,
    Refs,
    State,
)
from ledger.domain.refusals_webhooks import (
    WebhookEndpointIdle,
    WebhookEndpointNotFound,
    WebhookTopicTwice,
)
from schemas.webhook import (
    CreateWebhookEndpoint,
    DeleteWebhookEndpoint,
    DisableWebhookEndpoint,
    EnableWebhookEndpoint,
    RecordWebhookVerified,
    ReplayWebhookMessages,
    ResendWebhookMessage,
    ReviseWebhookEndpoint,
    RotateWebhookSecret,
    WebhookCommand,
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


def stream(endpoint_id: int) -> str:
    """Return the name of an endpoint's stream."""
    return f"webhook-{endpoint_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class WebhookState(msgspec.Struct, frozen=True, gc=False):
    """What decisions need of an endpoint; ``endpoint_id`` 0 is one that never was, or is gone."""

    endpoint_id: int = 0
    url: str = ""
    topics: tuple[str, ...] = ()
    description: str | None = None
    verified: bool = False
    enabled: bool = True
    deleted: bool = False


INITIAL: Final = WebhookState()


def evolve(state: WebhookState, recorded: RecordedEvent) -> WebhookState:
    """Return the state after an event."""
    match recorded.event:
        case WebhookEndpointCreated() as event:
            return WebhookState(
                endpoint_id=event.endpoint_id,
                url=event.url,
                topics=event.topics,
                description=event.description,
                verified=event.verified,
            )
        case WebhookEndpointRevised() as event:
            return msgspec.structs.replace(
                state,
                url=event.url,
                topics=event.topics,
                description=event.description,
                verified=event.verified,
            )
        case WebhookEndpointVerified():
            return msgspec.structs.replace(state, verified=True)
        case WebhookSecretRotated() | WebhookResendRequested() | WebhookReplayRequested():
            return state
        case WebhookEndpointDisabled():
            return msgspec.structs.replace(state, enabled=False)
        case WebhookEndpointEnabled():
            return msgspec.structs.replace(state, enabled=True)
        case WebhookEndpointDeleted():
            return WebhookState(deleted=True)
        case event:
            raise TypeError(f"a webhook endpoint has no {type(event).__name__}")


# --- decisions --------------------------------------------------------------------------


class WebhookDecider(Decider):
    """The decider of webhook endpoints."""

    def allocates(self, command: WebhookCommand) -> str | None:
        """Creating counts an id."""
        return "webhook" if isinstance(command, CreateWebhookEndpoint) else None

    def streams(self, command: WebhookCommand, refs: Refs) -> Sequence[str]:
        """The endpoint's own."""
        return (stream(_id(command, refs)),)

    def decide(
        self, command: WebhookCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it is so already, or a refusal.

        Refusals: WebhookEndpointNotFound, WebhookEndpointIdle, WebhookTopicTwice, InvalidCommand.
        """
        endpoint_id = _id(command, refs)
        name = stream(endpoint_id)
        state: WebhookState = states[name]
        if isinstance(command, CreateWebhookEndpoint):
            return _create(command, name, endpoint_id)
        if isinstance(command, DeleteWebhookEndpoint) and state.deleted:
            return []
        if not state.endpoint_id:
            return WebhookEndpointNotFound(endpoint_id=endpoint_id)
        match command:
            case ReviseWebhookEndpoint():
                return _revise(command, name, state)
            case RecordWebhookVerified():
                event = WebhookEndpointVerified(endpoint_id=endpoint_id)
                return [] if state.verified else [NewEvent(name, event)]
            case RotateWebhookSecret():
                event = WebhookSecretRotated(**msgspec.structs.asdict(command))
                return [NewEvent(name, event)]
            case DisableWebhookEndpoint():
                event = WebhookEndpointDisabled(endpoint_id=endpoint_id, cause=command.cause)
                return [NewEvent(name, event)] if state.enabled else []
            case EnableWebhookEndpoint():
                event = WebhookEndpointEnabled(endpoint_id=endpoint_id)
                return [] if state.enabled else [NewEvent(name, event)]
            case DeleteWebhookEndpoint():
                return [NewEvent(name, WebhookEndpointDeleted(endpoint_id=endpoint_id))]
            case ResendWebhookMessage() | ReplayWebhookMessages():
                return _send_again(command, name, state)


DECIDER: Final = WebhookDecider()


def _id(command: WebhookCommand, refs: Refs) -> int:
    return refs.new_id if isinstance(command, CreateWebhookEndpoint) else command.endpoint_id


def _create(command: CreateWebhookEndpoint, name: str, endpoint_id: int) -> Decision:
    if (twice := _twice(command.topics)) is not None:
        return WebhookTopicTwice(topic=twice)
    said = msgspec.structs.asdict(command)
    return [NewEvent(name, WebhookEndpointCreated(**said, endpoint_id=endpoint_id))]


def _revise(command: ReviseWebhookEndpoint, name: str, state: WebhookState) -> Decision:
    """Return what is new; the same address stays verified, another has to be verified anew."""
    if (twice := _twice(command.topics)) is not None:
        return WebhookTopicTwice(topic=twice)
    verified = command.verified or (state.verified and command.url == state.url)
    said = (command.url, command.topics, command.description, verified)
    if said == (state.url, state.topics, state.description, state.verified):
        return []
    revised = WebhookEndpointRevised(**msgspec.structs.asdict(command))
    return [NewEvent(name, msgspec.structs.replace(revised, verified=verified))]


def _send_again(
    command: ResendWebhookMessage | ReplayWebhookMessages, name: str, state: WebhookState
) -> Decision:
    """Return that it was asked for, where there is somebody to send to."""
    if not state.verified or not state.enabled:
        reason = "disabled" if not state.enabled else "unverified"
        return WebhookEndpointIdle(endpoint_id=command.endpoint_id, reason=reason)
    said = msgspec.structs.asdict(command)
    if isinstance(command, ResendWebhookMessage):
        return [NewEvent(name, WebhookResendRequested(**said))]
    if command.to_position < command.from_position:
        return InvalidCommand(field="to_position", fault="must not come before from_position")
    return [NewEvent(name, WebhookReplayRequested(**said))]


def _twice(topics: Sequence[str]) -> str | None:
    """Return a topic that is named more than once."""
    return next((topic for topic in topics if topics.count(topic) > 1), None)
