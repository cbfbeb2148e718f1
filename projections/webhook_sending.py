"""One attempt at a webhook over HTTP: body, signatures, and an address that may be asked.

Standard Webhooks (https://www.standardwebhooks.com): headers ``webhook-id``,
``webhook-timestamp`` and ``webhook-signature``, HMAC-SHA256 over ``id.timestamp.body``; during a
rotation with each of the secrets. miPOS (seed 001, "Webhook (Type 3)"): ``X-Signature-Request``
is the HMAC-SHA256 of the exact body, in hex, with the endpoint's secret as it is shown; the body
holds ``now``, so that no two are signed alike.

An address is looked at where the connection is made, whatever name led to it (no window for
another answer of the DNS), redirects are not followed, and no proxy is taken from the
environment.
"""

import base64
import hashlib
import hmac
import ipaddress
import socket
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
import msgspec
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from projections.webhook_endpoints import Policy
from projections.webhook_facts import MIPOS, instant, local_time
from projections.webhook_secrets import SECRET_MARK
from schemas.webhook import WebhookFormat

USER_AGENT: Final = "Stockledger-Webhooks/1"
ANSWER_BYTES_KEPT: Final = 1_024
ANSWER_BYTES_READ_MAX: Final = 64 * 1_024
"""Of a longer answer the rest is not read: the connection is closed instead."""
SIGNATURES_MAX: Final = 4
MIPOS_STATUS: Final = 204
KEEP_ALIVE_S: Final = 30.0
_NAMES_CACHED_S: Final = 10


class AddressRefused(OSError):
    """The address is not one that webhooks are sent to."""


class Limits(NamedTuple):
    """How long a receiver may take, to connect and in all."""

    connect_s: float = 5.0
    total_s: float = 15.0


class Target(NamedTuple):
    """Where an endpoint is and how it is signed for: ``secrets`` newest first."""

    tenant_id: int
    endpoint_id: int
    url: str
    format: WebhookFormat
    secrets: Sequence[str]
    receiver_id: str | None = None
    inventory_system_id: str | None = None


class Content(NamedTuple):
    """What a message says, as it is stored."""

    position: int
    n: int
    topic: str
    occurred_at: datetime
    zone: str | None
    data: str


class Attempt(NamedTuple):
    """What came of sending: ``answer`` is the first bytes of it, ``problem`` why it failed."""

    ok: bool
    status: int | None
    latency_ms: int
    answer: str | None
    problem: str | None
    retry_after_s: float | None = None


# --- what is sent ---------------------------------------------------------------------------


def message_id(tenant_id: int, position: int, endpoint_id: int, n: int) -> str:
    """Return the id of a message, the same at each attempt and replay: receivers dedupe by it."""
    return f"msg_{tenant_id}_{position}_{endpoint_id}_{n}"


def body_of(target: Target, content: Content, now: datetime) -> bytes:
    """Return the body of a message as an endpoint of its format gets it."""
    if target.format == MIPOS:
        own = msgspec.json.encode(
            {
                "pos_id": target.receiver_id or str(target.endpoint_id),
                "inventory_system_id": target.inventory_system_id,
                "now": local_time(now, content.zone or "UTC"),
            }
        )
        return own[:-1] + b"," + content.data[1:].encode()
    return (
        f'{{"type":"{content.topic}","timestamp":"{instant(content.occurred_at)}",'
        f'"data":{content.data}}}'
    ).encode()


def signed_headers(target: Target, identifier: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that say where a body comes from."""
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
    if target.format == MIPOS:
        secret = target.secrets[0] if target.secrets else ""
        headers["X-Signature-Request"] = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        return headers
    timestamp = str(int(now.timestamp()))
    signed = f"{identifier}.{timestamp}.".encode() + body
    headers["webhook-id"] = identifier
    headers["webhook-timestamp"] = timestamp
    headers["webhook-signature"] = " ".join(
        "v1," + base64.b64encode(hmac.digest(_key(secret), signed, "sha256")).decode()
        for secret in target.secrets[:SIGNATURES_MAX]
    )
    return headers


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix(SECRET_MARK))


# --- where it may go ------------------------------------------------------------------------


def is_global(address: str) -> bool:
    """Tell whether an IP address is a public one of a single host.

    By the registries of special-purpose addresses (RFC 6890 and what has come since), not by
    Python's: that one depends on the version. Of IPv6 only global unicast is public, and of that
    nothing which stands for an address of IPv4: 6to4, Teredo; mapped ones and NAT64 lie outside.
    """
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_4)
    return ip in _UNICAST_6 and not any(ip in network for network in _SPECIAL_6)


_SPECIAL_4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_UNICAST_6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL_6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
)


def check_url(url: str, policy: Policy) -> str | None:
    """Return why webhooks cannot go to an address, None when nothing speaks against it yet.

    What its name leads to is looked at when it is sent to.
    """
    try:
        parsed = URL(url)
        host, port = parsed.host, parsed.port
    except ValueError:
        return "must be an address such as https://example.com/hook"
    if parsed.scheme not in ("https", "http") or not host or not port:
        return "must be an address such as https://example.com/hook"
    if parsed.scheme == "http" and not policy.http_allowed:
        return "must begin with https://"
    if parsed.user is not None or parsed.password is not None:
        return "must not hold a user or a password; the signature says who we are"
    if policy.private_allowed:
        return None
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".local", ".internal")):
        return "must be a public address, and this name is of a private network"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if is_global(host) else f"must be a public address, and {host} is none"


class _Resolver(AbstractResolver):
    """Asks the system's resolver, and passes on nothing unless every address may be asked."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not self._policy.private_allowed:
            for entry in found:
                if not is_global(entry["host"]):
                    raise AddressRefused(f"{host} leads to {entry['host']}, which is not public")
        return found

    async def close(self) -> None:
        await self._inner.close()


def _socket_factory(policy: Policy) -> Any:
    """Return what makes each connection's socket, and looks at the very address it will go to."""

    def make(address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, to = address
        if not policy.private_allowed and not is_global(to[0]):
            raise AddressRefused(f"{to[0]} is not a public address")
        return socket.socket(family, kind, protocol)

    return make


# --- sending --------------------------------------------------------------------------------


class Sender:
    """Sends to whatever endpoints there are, over connections that are kept. One a process."""

    def __init__(self, policy: Policy, limits: Limits | None = None) -> None:
        self._policy = policy
        self._limits = limits or Limits()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=0,
            resolver=_Resolver(self._policy),
            ttl_dns_cache=_NAMES_CACHED_S,
            keepalive_timeout=KEEP_ALIVE_S,
            socket_factory=_socket_factory(self._policy),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("Accept-Encoding", "Accept"),
            timeout=aiohttp.ClientTimeout(
                total=self._limits.total_s, sock_connect=self._limits.connect_s
            ),
            read_bufsize=ANSWER_BYTES_READ_MAX,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, target: Target, content: Content) -> Attempt:
        """Send a message once; every failure is told in what is returned."""
        now = datetime.now(UTC)
        body = body_of(target, content, now)
        identifier = message_id(target.tenant_id, content.position, target.endpoint_id, content.n)
        return await self.post(target, body, signed_headers(target, identifier, body, now))

    async def challenge(self, target: Target, challenge: str) -> Attempt:
        """Ask a receiver whether it wants to be sent to: its answer must hold the challenge.

        As JSON, ``{"challenge": …}``, or as nothing but the text.
        """
        now = datetime.now(UTC)
        body = msgspec.json.encode(
            {"type": "webhook.verification", "timestamp": instant(now), "challenge": challenge}
        )
        identifier = f"msg_{target.tenant_id}_verification_{target.endpoint_id}"
        headers = signed_headers(target._replace(format="standard"), identifier, body, now)
        attempt = await self.post(target._replace(format="standard"), body, headers)
        if attempt.ok and _challenge_in(attempt.answer or "") != challenge:
            return attempt._replace(ok=False, problem="the answer does not hold the challenge")
        return attempt

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Post a body; every failure is told in what is returned."""
        session = self._session
        assert session is not None, "a sender is used in its own block"
        started = time.perf_counter()
        try:
            url = _address(target.url, self._policy)
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = await _first_bytes(response)
                status = response.status
                retry_after_s = _retry_after(response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            return Attempt(False, None, _since(started), None, _said_of(error))
        ok = status == MIPOS_STATUS if target.format == MIPOS else 200 <= status < 300
        problem = None if ok else _said_by(target, status, answer)
        return Attempt(ok, status, _since(started), answer, problem, retry_after_s)


@lru_cache(4_096)
def _address(url: str, policy: Policy) -> URL:
    """Return an address that may be sent to; the settings may have changed since it was given."""
    fault = check_url(url, policy)
    if fault is not None:
        raise AddressRefused(f"the address {fault}")
    return URL(url)


async def _first_bytes(response: aiohttp.ClientResponse) -> str | None:
    """Return the beginning of an answer; a short rest is read so that the connection is kept."""
    if response.status == MIPOS_STATUS or response.content_length == 0:
        return None
    kept = b""
    read = 0
    while read <= ANSWER_BYTES_READ_MAX:
        chunk = await response.content.read(16 * 1024)
        if not chunk:
            break
        read += len(chunk)
        if len(kept) < ANSWER_BYTES_KEPT:
            kept += chunk[: ANSWER_BYTES_KEPT - len(kept)]
    else:
        response.close()
    return kept.decode("utf-8", "replace").replace("\x00", "\ufffd") or None


def _challenge_in(answer: str) -> str | None:
    """Return the challenge that an answer gives back."""
    text = answer.strip()
    try:
        decoded: Any = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    if isinstance(decoded, dict):
        return str(decoded.get("challenge"))  # type: ignore[reportUnknownMemberType]
    return decoded if isinstance(decoded, str) else None


def _said_by(target: Target, status: int, answer: str | None) -> str:
    """Return what is shown of an answer that is no success.

    A POS says in ``message`` what went wrong (seed 001, "Expected response").
    """
    if target.format == MIPOS:
        expected = f"answered {status} where 204 was expected"
        try:
            decoded: Any = msgspec.json.decode(answer or "")
        except msgspec.DecodeError:
            return expected
        message: Any = decoded.get("message") if isinstance(decoded, dict) else None  # type: ignore[reportUnknownMemberType]
        if message:
            shown = message if isinstance(message, str) else msgspec.json.encode(message).decode()
            return f"{expected}: {shown}"[:500]
        return expected
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed; revise the endpoint's address"
    return f"answered {status}"


def _said_of(error: Exception) -> str:
    """Return what is shown of an attempt without an answer."""
    cause: BaseException | None = error
    for _ in range(5):
        if isinstance(cause, AddressRefused):
            return str(cause)[:500]
        cause = None if cause is None else cause.__cause__ or getattr(cause, "os_error", None)
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"[:500]


def _retry_after(value: str | None) -> float | None:
    """Return the seconds that a Retry-After asks for, given as such or as a date."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
