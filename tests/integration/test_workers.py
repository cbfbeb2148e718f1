"""Several API processes of one service: one port, one database, one set of figures."""

import asyncio
from pathlib import Path

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

from tests.proof.crash import KEY, Service

WORKERS = 2
REQUESTS = 40


def _total(text: str, sample: str, **labels: str) -> float:
    return sum(
        found.value
        for family in text_string_to_metric_families(text)
        for found in family.samples
        if found.name == sample and labels.items() <= found.labels.items()
    )


def _client(service: Service) -> httpx.AsyncClient:
    """Return a client with a connection for each request, spread over the processes."""
    each = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=service.url, headers={"X-API-Key": KEY}, limits=each)


async def _tells(client: httpx.AsyncClient) -> bool:
    try:
        answer = await client.get("/metrics")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "stockledger_commands_total" in answer.text


async def test_metrics_are_those_of_all_processes_whichever_is_asked(tmp_path: Path) -> None:
    """Commands done by one process and by the other are in the same sum, at every scrape."""
    service = Service(tmp_path)
    service.environment["STOCKLEDGER_WORKERS"] = str(WORKERS)
    await service.start()
    client = _client(service)
    try:
        for number in range(REQUESTS):
            body = {"name": f"Place {number}", "code": f"P{number}"}
            made = await client.post("/api/warehouses", json=body)
            assert made.status_code == 201, made.text
        assert service.process is not None
        workers = [
            child
            for child in psutil.Process(service.process.pid).children()
            if "serve" in child.cmdline()
        ]
        assert len(workers) == WORKERS
        for _ in range(10):
            text = (await client.get("/metrics")).text
            route = {"method": "POST", "route": "/api/warehouses"}
            assert _total(text, "stockledger_http_requests_total", **route) == REQUESTS
            assert _total(text, "stockledger_commands_total") >= REQUESTS
        # One that dies takes its counts along, and leaves a scrape as good as it can be.
        workers[0].kill()
        async with asyncio.timeout(30):
            while not await _tells(client):
                await asyncio.sleep(0.05)
    finally:
        await client.aclose()
        await service.stop()
