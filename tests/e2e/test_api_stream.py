"""Following the log over HTTP, on a real server: nothing missed, nothing twice."""

from pathlib import Path

import httpx

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
