"""Following the log over HTTP, on a real server: nothing missed, nothing twice."""

import re
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from api import ledger_events, reply
from tests.support.postgres import TestServer
from tests.support.served import Served, served


def _read(service: Served, count: int, last_event_id: int | None = None) -> list[int]:
    """Return the ids of the next events, as a client that has seen ``last_event_id``."""
    headers = {"X-API-Key": service.founded.api_key}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    ids: list[int] = []
    with httpx.stream(
        "GET", f"{service.url}/api/ledger/events/stream", headers=headers, timeout=10
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            if line.startswith("id: "):
                ids.append(int(line.removeprefix("id: ")))
            if len(ids) == count:
                return ids
    return ids


def test_a_client_that_comes_back_goes_on_where_it_was(
    postgres: TestServer, tmp_path: Path
) -> None:
    """By Last-Event-ID, as browsers send it; then live."""
    with served(postgres, tmp_path) as service:
        headers = {"X-API-Key": service.founded.api_key}
        with httpx.Client(base_url=service.url, headers=headers) as client:
            for number in range(4):
                body = {"name": f"W{number}", "code": f"W{number}"}
                assert client.post("/api/warehouses", json=body).is_success
            assert _read(service, 3) == [1, 2, 3]
            assert _read(service, 3, last_event_id=3) == [4, 5, 6]
            with httpx.stream(
                "GET",
                f"{service.url}/api/ledger/events/stream?after=6",
                headers=headers,
                timeout=10,
            ) as live:
                lines = live.iter_lines()
                assert next(lines) == "retry: 1000"
                assert client.post("/api/warehouses", json={"name": "L", "code": "L"}).is_success
                assert next(line for line in lines if line.startswith("id: ")) == "id: 7"


def test_a_silent_log_is_told_of_by_comments(
    postgres: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that proxies do not take the connection for dead; they are no events."""
    monkeypatch.setattr(ledger_events, "HEARTBEAT_S", 0.2)
    with served(postgres, tmp_path) as service:
        headers = {"X-API-Key": service.founded.api_key}
        path = f"{service.url}/api/ledger/events/stream?type=OrderPlaced"
        with httpx.stream("GET", path, headers=headers, timeout=10) as response:
            lines = response.iter_lines()
            read = [next(lines) for _ in range(6)]
    assert read == ["retry: 1000", "", ": still here", "", ": still here", ""]


def test_who_takes_no_more_is_cut_off_and_may_come_back(
    postgres: TestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, in which nothing piles up and others follow on; nothing is lost to it."""
    monkeypatch.setattr(reply, "STALLED_S", 1.0)
    with served(postgres, tmp_path) as service:
        headers = {"X-API-Key": service.founded.api_key}
        with httpx.Client(base_url=service.url, headers=headers, timeout=30) as client:
            for batch in range(8):
                commands = [
                    {
                        "type": "RegisterProduct",
                        "data": {
                            "name": f"P{batch}-{n}",
                            "sku": f"P{batch}-{n}",
                            "base_price": "1",
                            "description": "x" * 2_000,
                        },
                    }
                    for n in range(500)
                ]
                sent = client.post("/api/ledger/commands", json={"commands": commands})
                assert sent.status_code == 200, sent.text
            head = client.get("/api/ledger/head").json()["position"]
        with _not_reading(service) as stalled:
            assert _read(service, head) == list(range(1, head + 1))
            time.sleep(2.0)
            text = _rest(stalled)
        # The last one may be cut in the middle.
        ids = [int(number) for number in re.findall(r"^id: (\d+)$", text, re.MULTILINE)][:-1]
        assert ids == list(range(1, len(ids) + 1)), "what came through is whole and in order"
        assert len(ids) < head, "it was cut off"
        assert _read(service, head - len(ids), ids[-1]) == list(range(len(ids) + 1, head + 1))


def _not_reading(service: Served) -> socket.socket:
    """Follow from the beginning, and read nothing."""
    address = urlsplit(service.url)
    stalled = socket.socket()
    stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stalled.connect((address.hostname, address.port))
    stalled.sendall(
        f"GET /api/ledger/events/stream HTTP/1.0\r\nHost: {address.netloc}\r\n"
        f"X-API-Key: {service.founded.api_key}\r\n\r\n".encode()
    )
    return stalled


def _rest(stalled: socket.socket) -> str:
    """Read what had been sent, up to the end of the connection."""
    stalled.settimeout(10)
    received = bytearray()
    try:
        while part := stalled.recv(1 << 16):
            received += part
    except ConnectionResetError:
        pass
    return received.decode(errors="replace")
