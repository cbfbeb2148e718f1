"""A receiver of webhooks that does as little as can be: it reads requests and answers 204.

``python -m tests.bench.webhook_receiver PORT``. It counts what comes in; ``GET /`` tells. What has
a challenge in it is sent back.
"""

import asyncio
import sys
from typing import Any, Final

import uvloop

_ECHO: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
_NO_CONTENT: Final = b"HTTP/1.1 204 No Content\r\n\r\n"


class _Receiving(asyncio.Protocol):
    """One connection. Bodies have a Content-Length, as the sender's do."""

    received = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            if head.startswith(b"get "):
                text = str(_Receiving.received).encode()
                self._transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
                )
                self._buffer = self._buffer[end + 4 :]
                continue
            start = head.index(b"content-length:") + 15
            length = int(head[start:].split(b"\r\n", 1)[0])
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            if b'"challenge"' in body:
                self._transport.write(_ECHO % (length, body))
                continue
            _Receiving.received += 1
            self._transport.write(_NO_CONTENT)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Receiving, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
