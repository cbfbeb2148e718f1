"""Replies as plain ASGI callables: Litestar passes them through without touching them."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

Headers = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"
PROBLEM = b"application/problem+json"
NDJSON = b"application/x-ndjson"

STALLED_S = 60.0
"""How long a client may take no more of a stream; then it is cut off, and cannot pass for whole."""
_MESSAGES_IGNORED_MAX = 1_000
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_STORE = (b"cache-control", b"no-store")

# Quantities leave as JSON numbers, exactly; money is text in the structs already.
_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: Any) -> bytes:
    """Return a reply's body: JSON with decimals as exact numbers."""
    return _encoder.encode(value)


class Reply:
    """A status, a body and headers. Answers must not be cached unless ``headers`` say so."""

    __slots__ = ("body", "headers", "media_type", "status")

    def __init__(
        self, status: int, body: bytes, headers: Headers = (), media_type: bytes = JSON
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.media_type = media_type

    def start(self, *more: tuple[bytes, bytes]) -> "HTTPResponseStartEvent":
        """Return the message that begins it, with ``more`` headers."""
        return {
            "type": "http.response.start",
            "status": self.status,
            "headers": [
                (b"content-type", self.media_type),
                (b"content-length", b"%d" % len(self.body)),
                _NOSNIFF,
                _NO_STORE,
                *self.headers,
                *more,
            ],
        }

    def opening(self) -> "HTTPResponseStartEvent":
        """Return the message that begins one whose length is not known."""
        return {
            "type": "http.response.start",
            "status": self.status,
            "headers": [(b"content-type", self.media_type), _NOSNIFF, _NO_STORE, *self.headers],
        }

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send it."""
        await send(self.start())
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class StreamReply(Reply):
    """A reply whose body is made while it is sent. Its chunks are bounded by their maker."""

    __slots__ = ("chunks",)

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], media_type: bytes, headers: Headers = ()
    ) -> None:
        super().__init__(200, b"", headers, media_type)
        self.chunks = chunks

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send chunk after chunk until the end, or until the client is gone or takes no more.

        A chunk is made when the one before it has been passed on: nothing piles up here.
        """
        await send(self.opening())
        gone = asyncio.ensure_future(disconnected(receive))
        try:
            while True:
                chunk = asyncio.ensure_future(anext(self.chunks, None))
                await asyncio.wait({chunk, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.wait({chunk})
                    return
                body = chunk.result()
                if body is None:
                    break
                if not await _taken(send, body):
                    return
        finally:
            gone.cancel()
            await self.chunks.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _taken(send: "Send", body: bytes) -> bool:
    """Send a part of a body; say whether the server could pass it on before too long."""
    part: HTTPResponseBodyEvent = {
        "type": "http.response.body",
        "body": body,
        "more_body": True,
    }
    sending = asyncio.ensure_future(send(part))
    await asyncio.wait({sending}, timeout=STALLED_S)
    if sending.done():
        sending.result()
        return True
    sending.cancel()
    await asyncio.wait({sending}, timeout=1)
    return False


async def disconnected(receive: "Receive") -> None:
    """Return once the client has gone away."""
    # What is left of a request's body is of no interest any more.
    for _ in range(_MESSAGES_IGNORED_MAX):
        if (await receive())["type"] == "http.disconnect":
            return
