"""What a webhook's request is made of, and which addresses it may go to."""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from projections import webhook_sending
from projections.webhook_schedule import RETRY_SPAN_S
from projections.webhook_secrets import masked_secret, new_secret
from projections.webhook_sending import (
    Content,
    Policy,
    Sender,
    Target,
    body_of,
    check_url,
    is_global,
    message_id,
    signed_headers,
)
from tests.support.receiver import receiving

AT = datetime(2026, 3, 2, 12, 0, 0, 500_000, tzinfo=UTC)
STRICT = Policy()
SECRET = new_secret()
TARGET = Target(7, 3, "https://example.com/hook", "standard", (SECRET,))
CONTENT = Content(41, 1, "stock.low", AT, None, '{"sku":"TEA","available":2.50}')

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.251",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "3fff::1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001:db8::1",
    "2001:0:7f00:1:0:0:f5ff:fffe",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "not an address",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001::200e"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_no_single_public_host_is_not_global(address: str):
    """Private, loopback, link-local, shared, reserved, multicast, and IPv4 in IPv6's clothes."""
    assert not is_global(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_global(address: str):
    assert is_global(address)


@pytest.mark.parametrize("address", [a for a in PRIVATE if " " not in a and "%" not in a])
async def test_no_connection_is_made_to_such_an_address(
    address: str, monkeypatch: pytest.MonkeyPatch
):
    """Neither given as it is, nor when a name leads there."""

    async def lead_there(*_: Any, **__: Any) -> list[Any]:
        return [
            {"hostname": "h", "host": address, "port": 443, "family": 2, "proto": 6, "flags": 0}
        ]

    host = f"[{address}]" if ":" in address else address
    async with Sender(STRICT) as sender:
        literal = await sender.post(TARGET._replace(url=f"https://{host}/"), b"{}", {})
        assert literal.problem is not None
        assert "public address" in literal.problem
        monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", lead_there)
        named = await sender.post(TARGET._replace(url="https://rebinding.example/"), b"{}", {})
        assert named.problem == f"rebinding.example leads to {address}, which is not public"


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost."])
async def test_other_ways_to_write_this_machine_lead_nowhere(host: str):
    """However the system's resolver reads them."""
    async with Sender(Policy(http_allowed=True)) as sender:
        attempt = await sender.post(TARGET._replace(url=f"http://{host}/"), b"{}", {})
    assert not attempt.ok
    assert attempt.status is None


async def test_the_connection_itself_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    """Where a name's second answer is another one, it is the one that counts."""
    monkeypatch.setattr(webhook_sending, "_address", lambda url, _policy: webhook_sending.URL(url))
    async with receiving() as receiver, Sender(STRICT) as sender:
        attempt = await sender.post(TARGET._replace(url=receiver.url()), b"{}", {})
    assert attempt.problem == "127.0.0.1 is not a public address"
    assert receiver.received == []


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    """It would look at addresses in our place."""
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        monkeypatch.setenv("http_proxy", proxy.url(""))
        async with Sender(Policy(http_allowed=True, private_allowed=True)) as sender:
            attempt = await sender.post(TARGET._replace(url=receiver.url()), b"{}", {})
    assert attempt.ok
    assert (len(proxy.received), len(receiver.received)) == (0, 1)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://example.com/", "must begin with https://"),
        ("https://user@example.com/", "user or a password"),
        ("https://localhost/", "private network"),
        ("https://api.internal/", "private network"),
        ("https://printer.local./", "private network"),
        ("https://192.168.0.1/", "192.168.0.1 is none"),
        ("https://[::1]:8443/", "::1 is none"),
        ("https://example.com:99999/", "must be an address"),
        ("https://", "must be an address"),
        ("ftp://example.com/", "must be an address"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(url: str, fault: str):
    assert fault in (check_url(url, STRICT) or "")


def test_addresses_may_be_allowed():
    """By settings, each for itself."""
    assert check_url("https://example.com/hook?x=1", STRICT) is None
    assert check_url("http://example.com/", Policy(http_allowed=True)) is None
    assert check_url("http://10.0.0.1/", Policy(http_allowed=True)) is not None
    assert check_url("https://10.0.0.1/", Policy(private_allowed=True)) is None


def test_a_body_says_what_when_and_the_data_as_they_are():
    """To the digit: a decimal is passed on as it is written."""
    assert body_of(TARGET, CONTENT, AT) == (
        b'{"type":"stock.low","timestamp":"2026-03-02T12:00:00.500000Z",'
        b'"data":{"sku":"TEA","available":2.50}}'
    )


def test_an_id_is_the_same_at_each_attempt():
    """Another one for each tenant, endpoint, event and message of it."""
    assert message_id(7, 41, 3, 1) == "msg_7_41_3_1"


def test_signatures_are_those_of_standard_webhooks():
    """As the reference implementation has them, for this time and body alone."""
    now = datetime.now(UTC)
    old, body = new_secret(), body_of(TARGET, CONTENT, now)
    headers = signed_headers(TARGET._replace(secrets=(SECRET, old)), "msg_7_41_3_1", body, now)
    for secret in (SECRET, old):
        assert Webhook(secret).verify(body, headers)
    for spoilt in (
        {**headers, "webhook-id": "msg_7_41_3_2"},
        {**headers, "webhook-timestamp": str(int(now.timestamp()) + 1)},
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, spoilt)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", headers)
    assert Webhook(SECRET).sign("msg_7_41_3_1", now, body.decode()) in headers["webhook-signature"]


def test_secrets_are_as_standard_webhooks_has_them():
    """256 random bits in base64; what may be shown of one tells nothing."""
    assert len({new_secret() for _ in range(50)}) == 50
    assert SECRET.startswith("whsec_")
    assert len(SECRET) == 6 + 44
    assert masked_secret(SECRET) == SECRET[:10] + "…"


def test_a_mipos_body_is_the_documents_own_example():
    """Seed 001, "JSON received example": every key, in the type that it has there."""
    example = {
        "pos_id": "1",
        "inventory_system_id": "4344be8c-c6b9-4c51-88a6-d620144ab406",
        "current_stock": "12.44",
        "quantity": "1.25",
        "date": "2020-05-30 12:45:03",
        "movement_type": 2,
        "external_id": "avcc123",
        "now": "2020-06-01 02:55:18",
        "store_id": 1,
    }
    own = ("pos_id", "inventory_system_id", "now")
    data = {name: value for name, value in example.items() if name not in own}
    target = Target(
        7, 3, "https://pos.example/", "mipos", (SECRET,), "1", str(example["inventory_system_id"])
    )
    content = Content(
        41, 0, "stock.changed", AT, "Europe/Madrid", msgspec.json.encode(data).decode()
    )
    body = body_of(target, content, datetime(2020, 6, 1, 0, 55, 18, tzinfo=UTC))
    assert msgspec.json.decode(body) == example
    headers = signed_headers(target, "msg_7_41_3_0", body, AT)
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["X-Signature-Request"] == expected
    assert not any(name.startswith("webhook-") for name in headers)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120), (" 7 ", 7), ("soon", None), (None, None), ("-5", None)],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None):
    read = webhook_sending._retry_after  # type: ignore[reportPrivateUsage]
    assert read(value) == seconds
    later = read(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert later is not None
    assert 80 < later <= 90
    past = datetime.now(UTC) - timedelta(seconds=RETRY_SPAN_S)
    assert read(format_datetime(past, usegmt=True)) == 0


async def test_an_answer_that_drips_ends_in_time():
    """However slowly it comes, an attempt is over after its time."""
    from aiohttp import web

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x")
            await asyncio.sleep(0.1)
        return response

    app = web.Application()
    app.router.add_post("/", drip)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore
    limits = webhook_sending.Limits(connect_s=1, total_s=0.5)
    started = asyncio.get_running_loop().time()
    async with Sender(Policy(True, True), limits) as sender:
        attempt = await sender.post(TARGET._replace(url=f"http://127.0.0.1:{port}/"), b"{}", {})
    await runner.cleanup()
    assert attempt.problem == "no answer in time"
    assert asyncio.get_running_loop().time() - started < 3
