"""The relay's settings: several servers, no secret shown, and nothing that is no NATS."""

import pytest

from deploy.settings import InvalidSettings, load_settings

CLUSTER = "nats://relay:hush-hush@n1:4222,tls://relay:hush-hush@n2:4222"


def test_a_cluster_is_named_by_several_urls_and_no_password_is_shown() -> None:
    """Neither in what `stockledger settings` prints nor in a log."""
    settings = load_settings({"STOCKLEDGER_NATS_URL": CLUSTER, "STOCKLEDGER_NATS_REPLICAS": "3"})
    assert settings.nats_url == CLUSTER
    assert settings.nats_replicas == 3
    assert settings.relay
    assert "hush-hush" not in repr(settings)
    assert "nats://***@n1:4222,tls://***@n2:4222" in repr(settings)


@pytest.mark.parametrize(
    "url", ["http://n1:4222", "n1:4222", "nats://n1:4222,", "nats://n1:4222, nats://n2:4222", ""]
)
def test_what_is_no_nats_is_refused_and_not_repeated(url: str) -> None:
    """It may hold a password all the same."""
    with pytest.raises(InvalidSettings) as caught:
        load_settings({"STOCKLEDGER_NATS_URL": url})
    [problem] = caught.value.problems
    assert "STOCKLEDGER_NATS_URL: the value (not shown) is wrong" in problem


def test_the_relay_can_be_switched_off() -> None:
    """By the words that other settings take."""
    assert not load_settings({"STOCKLEDGER_RELAY": "false"}).relay
