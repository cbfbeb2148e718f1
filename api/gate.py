"""The one middleware: request id, credentials, access log, metrics and the keys' usage log.

It stands outside Litestar's router, so that what no route takes is seen as well, and so that
a path without parameters is answered without it: what the router and its layers do for a
request costs more than the request itself does here. Everything on its path is a dictionary
look-up or an append; nothing waits, but for a credential that has not been seen for a minute.
"""

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.context import Call
from api.current_call import CURRENT
from api.endpoint import Serve
from api.house import House
from api.metrics import REQUESTS, RequestTally
from api.problems import Problem, of_exception, unauthenticated
from api.reply import Reply
from api.usage import UsageLog, Use
from api.verification import Verifier, credential_of

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

access_log = structlog.get_logger("stockledger.access")


class Gate:
    """Wraps the application; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        house: House,
        usage: UsageLog,
        direct: Mapping[tuple[str, str], Serve],
    ) -> None:
        """``direct`` are the handlers of paths without parameters, by method and path."""
        self._app = app
        self._house = house
        self._usage = usage
        self._direct = direct
        self._verifier = Verifier(house.pool, house.settings.jwt_secret)
        self._access_log = house.settings.access_log
        # A prefix drawn at start and a count: unique, and cheaper than a UUID a request.
        self._request_prefix = secrets.token_hex(8)
        self._request_count = itertools.count(1)
        self._tallies: dict[tuple[str, str, int], RequestTally] = {}

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
        token = CURRENT.set(call)
        try:
            secret = credential_of(headers, scope["path"])
            if secret is not None:
                call.principal = self._verifier.remembered(secret)
                if call.principal is None:
                    await self._verify(call, secret)
            serve = self._direct.get((scope["method"], scope["path"]))
            if serve is None:
                await self._route(call, scope, receive, send)
                return
            reply = await serve(call)
            if type(reply) is not Reply:
                await reply(scope, receive, _marking(call, send))
                return
            call.status = reply.status
            await send(reply.start(_id_header(call)))
            await send({"type": "http.response.body", "body": reply.body, "more_body": False})
        finally:
            CURRENT.reset(token)
            self._finish(call, scope, time.perf_counter() - started)

    async def _route(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Let Litestar's router find the handler, which finds the call in the scope."""
        known = cast(dict[str, Any], scope)
        known["stockledger.call"] = call
        try:
            await self._app(scope, receive, _marking(call, send))
        finally:
            # The call knows its scope. A circle would keep all that a request was made of until
            # the garbage collector comes, and have it come often.
            del known["stockledger.call"]

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
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = REQUESTS.tally(*key)
        tally.add(elapsed)
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


def _id_header(call: Call) -> tuple[bytes, bytes]:
    return (b"x-request-id", call.request_id.encode("ascii"))


def _marking(call: Call, send: Send) -> Send:
    """Return ``send`` with the request's id on the response, whose status is noted."""

    async def send_marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
            message["headers"] = [*message["headers"], _id_header(call)]
        await send(message)

    return send_marked
