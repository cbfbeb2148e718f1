"""The one middleware: request id, credentials, access log, metrics and the keys' usage log.

It stands outside Litestar's router, so that what no route takes is seen as well. Everything on
its path is a dictionary look-up or an append; nothing waits, but for a credential that has not
been seen for a minute.
"""

import itertools
import re
import secrets
import time
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from api.context import CURRENT, Call
from api.house import House
from api.problems import Problem, of_exception, unauthenticated
from api.usage import UsageLog, Use
from api.verification import Verifier, credential_of

REQUESTS = Counter("stockledger_http_requests", "Requests answered", ["method", "route", "status"])
SECONDS = Histogram(
    "stockledger_http_request_seconds",
    "Time from a request's arrival to its answer's end",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

access_log = structlog.get_logger("stockledger.access")


class Gate:
    """Wraps the application; see the module."""

    def __init__(self, app: ASGIApp, house: House, usage: UsageLog) -> None:
        self._app = app
        self._house = house
        self._usage = usage
        self._verifier = Verifier(house.pool, house.settings.jwt_secret)
        self._access_log = house.settings.access_log
        # A prefix drawn at start and a count: unique, and cheaper than a UUID a request.
        self._request_prefix = secrets.token_hex(8)
        self._request_count = itertools.count(1)
        self._counters: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given_id = headers.get(b"x-request-id")
        if given_id is not None and _REQUEST_ID.fullmatch(given_id):
            request_id = given_id.decode("ascii")
        else:
            request_id = f"{self._request_prefix}-{next(self._request_count):x}"
        call = Call(self._house, scope, receive, headers, request_id)
        scope["stockledger.call"] = call  # type: ignore[typeddict-unknown-key]
        token = CURRENT.set(call)
        id_header = (b"x-request-id", request_id.encode("ascii"))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                message["headers"] = [*message["headers"], id_header]
            await send(message)

        try:
            secret = credential_of(headers)
            if secret is not None:
                call.principal = self._verifier.remembered(secret)
                if call.principal is None:
                    await self._verify(call, secret)
            await self._app(scope, receive, send_marked)
        finally:
            CURRENT.reset(token)
            self._finish(call, scope, time.perf_counter() - started)

    async def _verify(self, call: Call, secret: bytes) -> None:
        """Find the principal; what is wrong with the credential is told where one is needed."""
        try:
            call.principal = await self._verifier.verify(secret)
        except Problem as problem:
            call.refused = problem
        except Exception as fault:
            call.refused = of_exception(fault)
            if call.refused is None:
                call.refused = unauthenticated("This credential could not be checked.")
                structlog.get_logger("stockledger.api").exception("credential check failed")

    def _finish(self, call: Call, scope: Scope, elapsed: float) -> None:
        method: str = cast(dict[str, Any], scope)["method"]
        if method not in _METHODS:
            method = "other"
        route = call.route or "unmatched"
        key = (method, route, call.status)
        counters = self._counters.get(key)
        if counters is None:
            counters = (
                REQUESTS.labels(method, route, str(call.status)),
                SECONDS.labels(route),
            )
            self._counters[key] = counters
        counters[0].inc()
        counters[1].observe(elapsed)
        principal = call.principal
        if principal is not None and principal.kind == "key":
            self._usage.add(
                Use(
                    principal.tenant_id,
                    principal.id,
                    method,
                    scope["path"],
                    call.status,
                    elapsed,
                    call.address,
                    time.time(),
                )
            )
        if self._access_log:
            access_log.info(
                "request",
                request_id=call.request_id,
                method=method,
                route=route,
                status=call.status,
                ms=round(elapsed * 1000, 2),
                tenant_id=None if principal is None else principal.tenant_id,
                actor=None if principal is None else principal.actor,
            )
