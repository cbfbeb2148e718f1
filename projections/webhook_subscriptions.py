"""Who is told of what, from which position of the log to which: folded from the endpoints' events.

An endpoint is told of what happens after it was first verified. While it is disabled its
messages are parked; while a new address of it waits to be verified they wait. What happens to
its topics takes effect at the position where it happens.
"""

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from ledger.domain.decision import RecordedEvent
from schemas.common import Event
from schemas.webhook import (
    WebhookEndpointCreated,
    WebhookEndpointDeleted,
    WebhookEndpointDisabled,
    WebhookEndpointEnabled,
    WebhookEndpointRevised,
    WebhookEndpointVerified,
    WebhookFormat,
    WebhookTopic,
)

State = Literal["pending", "active", "disabled"]

SUBSCRIPTION_EVENTS: Final[frozenset[type[Event]]] = frozenset(
    {
        WebhookEndpointCreated,
        WebhookEndpointRevised,
        WebhookEndpointVerified,
        WebhookEndpointDisabled,
        WebhookEndpointEnabled,
        WebhookEndpointDeleted,
    }
)


class Subscription(msgspec.Struct):
    """A stretch of the log in which an endpoint is told of topics in a way.

    Positions above ``from_position`` and up to ``to_position`` are in it. ``pending`` is one
    of an endpoint that was never verified, which is told nothing.
    """

    endpoint_id: int
    from_position: int
    to_position: int | None
    topics: tuple[WebhookTopic, ...]
    format: WebhookFormat
    state: State


class Subscriptions:
    """The open subscriptions of a tenant, while events are folded.

    ``changed`` are the rows to write, ``ended`` the endpoints whose rows are to be deleted
    before that.
    """

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        found = [msgspec.convert(row, Subscription) for row in rows]
        self._open = {subscription.endpoint_id: subscription for subscription in found}
        self._changed: dict[tuple[int, int], Subscription] = {}
        self.ended: set[int] = set()
        self.interests = self._interests()

    @property
    def changed(self) -> list[dict[str, Any]]:
        return [msgspec.structs.asdict(subscription) for subscription in self._changed.values()]

    def add(self, recorded: RecordedEvent) -> None:
        """Take in an event of an endpoint."""
        position = recorded.position
        match recorded.event:
            case WebhookEndpointCreated() as event:
                self._put(
                    Subscription(
                        event.endpoint_id,
                        position,
                        None,
                        event.topics,
                        event.format,
                        "active" if event.verified else "pending",
                    )
                )
            case WebhookEndpointRevised() as event:
                was = self._open[event.endpoint_id]
                state = "active" if was.state == "pending" and event.verified else was.state
                self._follow(was, position, event.topics, state)
            case WebhookEndpointVerified(endpoint_id=endpoint_id):
                was = self._open[endpoint_id]
                state = "active" if was.state == "pending" else was.state
                self._follow(was, position, was.topics, state)
            case WebhookEndpointDisabled(endpoint_id=endpoint_id):
                was = self._open[endpoint_id]
                state = "pending" if was.state == "pending" else "disabled"
                self._follow(was, position, was.topics, state)
            case WebhookEndpointEnabled(endpoint_id=endpoint_id):
                was = self._open[endpoint_id]
                state = "pending" if was.state == "pending" else "active"
                self._follow(was, position, was.topics, state)
            case WebhookEndpointDeleted(endpoint_id=endpoint_id):
                self._open.pop(endpoint_id, None)
                self.ended.add(endpoint_id)
                self._changed = {
                    key: value for key, value in self._changed.items() if key[0] != endpoint_id
                }
            case other:
                raise TypeError(f"subscriptions do not fold {type(other).__name__}")
        self.interests = self._interests()

    def _follow(
        self, was: Subscription, position: int, topics: tuple[WebhookTopic, ...], state: State
    ) -> None:
        """End a stretch where another one begins, if they differ."""
        if (was.topics, was.state) == (topics, state):
            return
        self._keep(msgspec.structs.replace(was, to_position=position))
        self._put(msgspec.structs.replace(was, from_position=position, topics=topics, state=state))

    def _put(self, subscription: Subscription) -> None:
        self._open[subscription.endpoint_id] = subscription
        self._keep(subscription)

    def _keep(self, subscription: Subscription) -> None:
        self._changed[subscription.endpoint_id, subscription.from_position] = subscription

    def _interests(self) -> frozenset[tuple[WebhookFormat, WebhookTopic]]:
        """Return the topics in formats that anybody is to be told of."""
        return frozenset(
            (subscription.format, topic)
            for subscription in self._open.values()
            if subscription.state != "pending"
            for topic in subscription.topics
        )
