"""Webhook endpoints: made, verified, changed, disabled and deleted, each once."""

from typing import Any

import msgspec
import pytest

from ledger.domain.refusals_webhooks import WebhookEndpointIdle, WebhookEndpointNotFound
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
    WebhookEndpointCreated,
    WebhookEndpointDisabled,
    WebhookEndpointRevised,
    WebhookReplayRequested,
    WebhookResendRequested,
)
from tests.support.decisions import World, types

SAID: dict[str, Any] = {"url": "https://example.com/hook", "topics": ("stock.changed",)}
CREATE = CreateWebhookEndpoint(**SAID)


def revise(**change: Any) -> ReviseWebhookEndpoint:
    said: dict[str, Any] = {**SAID, **change}
    return ReviseWebhookEndpoint(endpoint_id=1, **said)


def test_creating_counts_ids_and_starts_unverified():
    """Nothing is sent to an address that has not shown that it wants it."""
    world = World()
    (first,) = world.do(CREATE)
    (second,) = world.do(CREATE)
    assert (first.stream, second.stream) == ("webhook-1", "webhook-2")
    assert first.event == WebhookEndpointCreated(endpoint_id=1, **SAID)
    assert not first.event.verified


def test_what_the_registering_system_says_is_kept():
    """miPOS has types of its own, and a name for the receiver."""
    world = World()
    command = CreateWebhookEndpoint(
        **SAID, format="mipos", verified=True, kind="3", receiver_id="77", description="till"
    )
    (created,) = world.do(command)
    assert created.event == WebhookEndpointCreated(
        endpoint_id=1,
        **SAID,
        format="mipos",
        verified=True,
        kind="3",
        receiver_id="77",
        description="till",
    )


def test_another_address_has_to_be_verified_anew():
    """The same one stays verified, whatever else is said."""
    world = World().given(CREATE, RecordWebhookVerified(endpoint_id=1))
    (topics,) = world.do(revise(topics=("stock.low",)))
    assert topics.event.verified
    (moved,) = world.do(revise(url="https://example.com/other"))
    assert moved.event == WebhookEndpointRevised(
        endpoint_id=1, url="https://example.com/other", topics=("stock.changed",), verified=False
    )
    (vouched,) = world.do(revise(url="https://example.com/third", verified=True))
    assert vouched.event.verified


@pytest.mark.parametrize(
    "command",
    [revise(), EnableWebhookEndpoint(endpoint_id=1)],
)
def test_what_is_so_already_is_nothing_to_do(command: Any):
    """Nothing is recorded of a command that changes nothing."""
    assert World().given(CREATE).do(command) == []


def test_disabling_verifying_and_deleting_take_effect_once():
    """And an endpoint that is enabled again can be disabled again."""
    world = World().given(CREATE)
    disable = DisableWebhookEndpoint(endpoint_id=1, cause="gone")
    (disabled,) = world.do(disable)
    assert disabled.event == WebhookEndpointDisabled(endpoint_id=1, cause="gone")
    assert world.do(disable) == []
    assert types(world.do(EnableWebhookEndpoint(endpoint_id=1))) == ["WebhookEndpointEnabled"]
    assert types(world.do(disable)) == ["WebhookEndpointDisabled"]
    verify = RecordWebhookVerified(endpoint_id=1)
    assert types(world.do(verify)) == ["WebhookEndpointVerified"]
    assert world.do(verify) == []
    delete = DeleteWebhookEndpoint(endpoint_id=1)
    assert types(world.do(delete)) == ["WebhookEndpointDeleted"]
    assert world.do(delete) == []


def test_each_rotation_is_recorded():
    """There may be as many secrets as rotations."""
    world = World().given(CREATE)
    rotate = RotateWebhookSecret(endpoint_id=1, overlap_hours=1)
    assert types(world.do(rotate)) == types(world.do(rotate)) == ["WebhookSecretRotated"]


@pytest.mark.parametrize("deleted", [False, True], ids=["never made", "deleted"])
@pytest.mark.parametrize(
    "command",
    [
        revise(),
        RecordWebhookVerified(endpoint_id=1),
        RotateWebhookSecret(endpoint_id=1),
        DisableWebhookEndpoint(endpoint_id=1),
        EnableWebhookEndpoint(endpoint_id=1),
        ResendWebhookMessage(endpoint_id=1, position=1),
        ReplayWebhookMessages(endpoint_id=1, from_position=1, to_position=2),
    ],
    ids=lambda command: type(command).__name__,
)
def test_an_endpoint_that_is_not_there_can_be_told_nothing(command: Any, deleted: bool):
    """A deleted one stays away; its id is not given out again."""
    world = World()
    if deleted:
        world.given(CREATE, DeleteWebhookEndpoint(endpoint_id=1))
    assert world.do(command) == WebhookEndpointNotFound(endpoint_id=1)


def test_an_endpoint_that_never_was_cannot_be_deleted():
    """While one that was deleted already is deleted as asked."""
    refused = World().do(DeleteWebhookEndpoint(endpoint_id=1))
    assert refused == WebhookEndpointNotFound(endpoint_id=1)


def test_sending_again_is_asked_for_as_often_as_one_likes():
    """Each request is a fact; what comes of it is in the delivery's log."""
    world = World().given(CREATE, RecordWebhookVerified(endpoint_id=1))
    resend = ResendWebhookMessage(endpoint_id=1, position=4, n=1)
    (asked,) = world.do(resend)
    assert asked.event == WebhookResendRequested(endpoint_id=1, position=4, n=1)
    assert types(world.do(resend)) == ["WebhookResendRequested"]
    (asked,) = world.do(ReplayWebhookMessages(endpoint_id=1, from_position=2, to_position=9))
    assert asked.event == WebhookReplayRequested(endpoint_id=1, from_position=2, to_position=9)
    backwards = ReplayWebhookMessages(endpoint_id=1, from_position=9, to_position=2)
    assert types(world.do(backwards)) == ["invalid_command"]


@pytest.mark.parametrize(
    "command",
    [
        ResendWebhookMessage(endpoint_id=1, position=1),
        ReplayWebhookMessages(endpoint_id=1, from_position=1, to_position=2),
    ],
    ids=["resend", "replay"],
)
def test_nothing_is_sent_again_to_who_is_sent_nothing(command: Any):
    """Neither before it is verified, nor while it is disabled."""
    world = World().given(CREATE)
    assert world.do(command) == WebhookEndpointIdle(endpoint_id=1, reason="unverified")
    world.given(RecordWebhookVerified(endpoint_id=1), DisableWebhookEndpoint(endpoint_id=1))
    assert world.do(command) == WebhookEndpointIdle(endpoint_id=1, reason="disabled")


@pytest.mark.parametrize("command", [CREATE, revise()], ids=["create", "revise"])
def test_a_topic_is_named_once(command: Any):
    """Twice would be told twice, or not: better asked."""
    world = World().given(CREATE)
    twice = msgspec.structs.replace(command, topics=("stock.low", "stock.low"))
    assert types(world.do(twice)) == ["webhook_topic_twice"]
