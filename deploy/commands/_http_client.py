"""A client of the service's HTTP API: one connection, writes that may be sent again."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

import msgspec

from api.imports.northwind_replay import Answer

ATTEMPTS_MAX: Final = 12
TIMEOUT_S: Final = 60.0
_DELAY_S_MAX: Final = 5.0
# 412 is what a read gets whose ``min_position`` has not been reached yet.
_AGAIN: Final = frozenset({412, 429, 503})


class RequestRefused(Exception):
    """The service will not have a request; the message says which, and its answer."""


class Stopped(Exception):
    """We were told to stop before a request."""


class _Fault(msgspec.Struct):
    message: str = ""


class _Problem(msgspec.Struct):
    error: str | _Fault = ""


class HttpClient:
    """Sends one request at a time with a bearer token; ``stop`` ends it before the next.

    Raises ValueError for a URL that is no service's.
    """

    def __init__(self, url: str, token: str, stop: threading.Event) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise ValueError(f"{url!r} is no address of a service, such as http://127.0.0.1:8000")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._url = url
        self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._stop = stop

    def get(self, path: str) -> Answer:
        """Read; raise RequestRefused when the answer is no success."""
        return self._request("GET", path, None, self._headers)

    def send(self, method: str, path: str, body: object, key: str) -> Answer:
        """Write under an Idempotency-Key; raise RequestRefused when the answer is no success.

        The request is sent again while the service is busy or away: with its key it takes
        effect once. Decimals are sent as text.
        """
        headers = {
            **self._headers,
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        return self._request(method, path, msgspec.json.encode(body), headers)

    def check(self, path: str) -> None:
        """Read once; raise RequestRefused when nobody answers, or not with a success."""
        try:
            self._connection.request("GET", path, headers=self._headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise RequestRefused(
                f"no service answers at {self._url} ({type(error).__name__}); start it, with make"
                " run, or say where it is: --url"
            ) from error
        if response.status != 200:
            raise RequestRefused(f"{self._url}: {response.status} {_error(content)}")

    def stream(
        self, path: str, pieces: Callable[[], Iterator[bytes]], media_type: str, key: str
    ) -> Answer:
        """Write a long body under an Idempotency-Key, piece by piece, as `send` does a short one.

        ``pieces`` gives the body from its beginning: it is asked again for each attempt.
        """
        headers = {**self._headers, "Content-Type": media_type, "Idempotency-Key": key}
        return self._request("POST", path, pieces, headers)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | Callable[[], Iterator[bytes]] | None,
        headers: dict[str, str],
    ) -> Answer:
        last = ""
        for attempt in range(ATTEMPTS_MAX):
            if self._stop.is_set():
                raise Stopped
            try:
                whole = body() if callable(body) else body
                self._connection.request(method, path, whole, headers)
                response = self._connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                # The next request opens a new connection.
                self._connection.close()
                last = f"{type(error).__name__}: {error}"
                delay = 0.1 * 2**attempt
            else:
                if response.status in (200, 201):
                    return Answer(content, response.getheader("Idempotent-Replayed") == "true")
                last = f"{response.status} {_error(content)}"
                if response.status not in _AGAIN:
                    break
                delay = float(response.getheader("Retry-After") or 1)
            time.sleep(min(_DELAY_S_MAX, delay))
        raise RequestRefused(f"{method} {path}: {last}")


def _error(content: bytes) -> str:
    try:
        error = msgspec.json.decode(content, type=_Problem).error
        return error if isinstance(error, str) else error.message
    except msgspec.DecodeError:
        return content[:200].decode("utf-8", "replace")
