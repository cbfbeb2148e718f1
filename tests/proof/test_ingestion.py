"""Ingestion at its limits: killed in the middle, and larger than anything that may be held."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from deploy.wiring import House
from tests.support.api import Service, running_service

PATH = "/api/integrations/v1/ingestion/order-lines"
KEY = "ingestion-proof-key-0001"
START_TIMEOUT_S = 90


def line(number: int, pad: str = "") -> bytes:
    """Return one of the lines, every thousandth of an article that there is not."""
    sku = "NONE" if number % 1_000 == 999 else f"A{number % 50}"
    return msgspec.json.encode(
        {"sku": sku, "quantity": number % 9 + 1, "orderDate": f"2025-{number % 12 + 1:02}-05"}
    ) + pad.encode()  # fmt: skip


def ndjson(count: int, pad: str = "") -> Iterator[bytes]:
    """Yield so many lines, five hundred a piece."""
    for start in range(0, count, 500):
        rows = [line(number, pad) for number in range(start, min(start + 500, count))]
        yield b"\n".join(rows) + b"\n"


def document(count: int, pad: str = "") -> Iterator[bytes]:
    """Yield the same as one JSON document, with what is said of all behind the lines."""
    for nth, piece in enumerate(ndjson(count, pad)):
        yield (b"," if nth else b'{"lines":[') + piece.strip().replace(b"\n", b",")
    yield b'],"externalSourceId":"late"}'


# --- killed -----------------------------------------------------------------------------


class Process:
    """The service as a process of its own, on a folder that outlives it."""

    def __init__(self, data_dir: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = data_dir.with_suffix(".log")
        self._environment = {
            **{name: value for name, value in os.environ.items() if "STOCKLEDGER_" not in name},
            "STOCKLEDGER_DATA_DIR": str(data_dir),
            "STOCKLEDGER_PORT": str(self.port),
            "STOCKLEDGER_BOOTSTRAP_API_KEY": KEY,
            "STOCKLEDGER_RELAY": "false",
        }

    def start(self) -> None:
        """Start it, and wait until it takes requests."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", "serve"],
                env=self._environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.ask("GET", "/health/ready")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        pytest.fail(f"the service did not start:\n{self._log.read_text()}")

    def kill(self) -> None:
        """Kill all processes of it at once, without a word."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=30)

    def stop(self) -> None:
        """Stop it in the ordinary way."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Send a request; return status, body and headers."""
        url = urlsplit(f"http://127.0.0.1:{self.port}")
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=60)
        given = {"X-API-Key": KEY, **{name.replace("_", "-"): v for name, v in headers.items()}}
        try:
            connection.request(method, path, body, given)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """A service with fifty articles."""
    process = Process(tmp_path / "data")
    process.start()
    try:
        commands = [
            {"type": "RegisterProduct", "data": {"name": f"A{n}", "sku": f"A{n}", "base_price": 1}}
            for n in range(50)
        ]
        body = msgspec.json.encode({"commands": commands})
        status, answer, _ = process.ask(
            "POST", "/api/ledger/commands", body, content_type="application/json"
        )
        assert status == 200, answer
        yield process
    finally:
        process.stop()


def test_killed_half_way_a_request_goes_on_where_it_stopped(process: Process) -> None:
    """kill -9, twice; then the answer is that of a request which was left alone."""
    count = 20_000
    ndjson_type = {"content_type": "application/x-ndjson"}
    status, body, _ = process.ask(
        "POST", PATH, ndjson(count), idempotency_key="whole", **ndjson_type
    )
    assert status == 201, body
    whole = msgspec.json.decode(body)

    def cut_off(pieces: int) -> Iterator[bytes]:
        for nth, piece in enumerate(ndjson(count)):
            if nth == pieces:
                wait_for_lines(process, pieces * 500 - 1_000)
                process.kill()
            yield piece

    for pieces in (11, 26):
        with pytest.raises((OSError, http.client.HTTPException)):
            process.ask("POST", PATH, cut_off(pieces), idempotency_key="cut", **ndjson_type)
        process.start()
        batch = latest(process, "open")
        assert pieces * 500 - 1_000 <= batch["lines"] <= pieces * 500
        assert batch["lines"] % 1_000 == 0
    status, body, headers = process.ask(
        "POST", PATH, ndjson(count), idempotency_key="cut", **ndjson_type
    )
    assert status == 201, body
    assert headers["Idempotent-Replayed"] is None
    told = msgspec.json.decode(body)
    assert {**told, "importBatchId": ""} == {**whole, "importBatchId": ""}
    assert told["refused"] == 20
    status, again, headers = process.ask(
        "POST", PATH, ndjson(count), idempotency_key="cut", **ndjson_type
    )
    assert (status, again, headers["Idempotent-Replayed"]) == (201, body, "true")
    batch = latest(process, "closed")
    assert (batch["id"], batch["chunks"], batch["lines"]) == (told["importBatchId"], 20, count)


def latest(process: Process, status: str) -> Any:
    """Return the latest batch that has a status."""
    answer = process.ask("GET", f"/api/import-batches?status={status}&limit=1")
    return msgspec.json.decode(answer[1])["import_batches"][0]


def wait_for_lines(process: Process, count: int) -> None:
    """Wait until so many lines of the open batch are recorded."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        body = msgspec.json.decode(process.ask("GET", "/api/import-batches?status=open")[1])
        if any(batch["lines"] >= count for batch in body["import_batches"]):
            return
        time.sleep(0.02)
    pytest.fail("the lines were not recorded")


# --- large ------------------------------------------------------------------------------


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The service in this process, with fifty articles."""
    async with running_service(house) as service:
        commands = [
            {"type": "RegisterProduct", "data": {"name": f"A{n}", "sku": f"A{n}", "base_price": 1}}
            for n in range(50)
        ]
        answer = await service.post("/api/ledger/commands", {"commands": commands})
        assert answer.status_code == 200
        yield service


async def resident_growth(service: Service, form: str, count: int, pad: str) -> tuple[int, int]:
    """Send so many lines; return the body's length, and by how much memory grew meanwhile."""
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for piece in (ndjson if form == "ndjson" else document)(count, pad):
            sent += len(piece)
            yield piece

    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    media = "application/x-ndjson" if form == "ndjson" else "application/json"
    answer = await service.client.post(
        PATH,
        content=pieces(),
        headers={"X-API-Key": service.api_key, "Content-Type": media},
        timeout=120,
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["lines"] == count
    return sent, memory("VmHWM") - before


def memory(name: str) -> int:
    """Return a figure of this process's memory, in bytes."""
    for row in Path("/proc/self/status").read_text().splitlines():
        if row.startswith(f"{name}:"):
            return int(row.split()[1]) * 1024
    raise AssertionError(name)


@pytest.mark.parametrize("form", ["ndjson", "json"])
async def test_a_hundred_thousand_lines_are_never_held(service: Service, form: str) -> None:
    """A body of 65 MB and more, whose lines are as long as real ones get, in a tenth of that."""
    await resident_growth(service, form, 5_000, " " * 600)
    sent, growth = await resident_growth(service, form, 100_000, " " * 600)
    assert sent > 65_000_000
    assert growth < sent // 10, f"{growth:,} bytes for a body of {sent:,}"
