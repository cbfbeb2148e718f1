"""Rebuilds over HTTP: asked for, done by a process of their own, and watched."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest

from deploy.bootstrap import found_tenant
from deploy.rebuilds import perform_rebuild, run_rebuilds
from deploy.wiring import House, alongside
from deploy.workers import rebuild_in_process
from ledger.store import tenant_transaction
from tests.support.api import Service, running_service

PATH = "/api/ledger/rebuilds"


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with some stock; nobody sees to rebuilds yet."""
    async with running_service(house) as service:
        await service.stocked()
        yield service


def working(house: House) -> AbstractAsyncContextManager[None]:
    """See to rebuilds in this process."""
    return alongside(run_rebuilds(house, partial(perform_rebuild, house)), "rebuilds")


async def ended(service: Service, rebuild_id: int) -> dict[str, Any]:
    """Wait for a rebuild's end; return it."""
    async with asyncio.timeout(30):
        while True:
            rebuild = (await service.get(f"{PATH}/{rebuild_id}")).json()
            if rebuild["state"] not in ("waiting", "running"):
                return rebuild
            await asyncio.sleep(0.05)


async def spoil(service: Service) -> None:
    """Make a live table wrong."""
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        await connection.execute("UPDATE projections.stock_level SET unrestricted = 7")


async def test_a_rebuild_is_asked_for_done_and_watched(service: Service, house: House) -> None:
    """It waits, it is done by a process of the service's, and its end tells of each table."""
    asked = await service.post(PATH, {"projections": ["stock_levels", "stock_by_day"]})
    assert asked.status_code == 202, asked.text
    rebuild = asked.json()
    assert asked.headers["location"] == f"{PATH}/{rebuild['id']}"
    assert (rebuild["state"], rebuild["events_done"], rebuild["tables"]) == ("waiting", 0, [])
    again = await service.post(PATH, {"projections": ["stock_levels", "stock_by_day"]})
    assert (again.status_code, again.json()["id"]) == (202, rebuild["id"])
    other = await service.post(PATH, {"projections": "all"})
    assert (other.status_code, other.json()["code"]) == (409, "rebuild_running")
    assert other.json()["rebuild_id"] == rebuild["id"]
    in_process = partial(rebuild_in_process, house.all_settings, house.address)
    async with alongside(run_rebuilds(house, in_process), "rebuilds"):
        done = await ended(service, rebuild["id"])
    assert (done["state"], done["swapped"], done["step"], done["reason"]) == (
        "done", True, None, None,
    )  # fmt: skip
    assert done["events_done"] == done["events_total"] > 0
    assert done["seconds"] > 0
    tables = {table["table"]: table for table in done["tables"]}
    assert set(tables) == {
        "stock_level", "movement", "reservation", "stock_by_day", "stock_by_day_zone",
    }  # fmt: skip
    level = tables["stock_level"]
    assert level["equal"]
    assert (level["rows_live"], level["rows_rebuilt"], level["tenants_differing"]) == (1, 1, 0)
    listed = (await service.get(PATH)).json()
    assert (listed["total"], [row["id"] for row in listed["rebuilds"]]) == (1, [rebuild["id"]])


async def test_a_difference_stops_the_swap_unless_it_is_asked_for(
    service: Service, house: House
) -> None:
    """What is wrong is named; asked for again, it is put right."""
    await spoil(service)
    async with working(house):
        first = (await service.post(PATH, {"projections": ["stock_levels"]})).json()
        found = await ended(service, first["id"])
        assert (found["state"], found["swapped"]) == ("failed", False)
        assert "replace_different" in found["reason"]
        assert {table["table"]: table["equal"] for table in found["tables"]} == {
            "stock_level": False, "movement": True, "reservation": True,
        }  # fmt: skip
        body = {"projections": ["stock_levels"], "replace_different": True}
        second = (await service.post(PATH, body)).json()
        mended = await ended(service, second["id"])
    assert (mended["state"], mended["swapped"]) == ("done", True)
    async with tenant_transaction(house.pool, service.tenant_id) as connection:
        assert await connection.fetchval("SELECT unrestricted FROM projections.stock_level") == 200


async def test_only_the_first_tenants_admins_may_ask(service: Service, house: House) -> None:
    """The tables are of all tenants; and a key is no person."""
    keyed = await service.post(PATH, {"projections": "all"}, key=service.api_key)
    assert keyed.status_code == 403
    founded = await found_tenant(house, "Other", email="other@example.com", password="a" * 20)
    login = await service.client.post(
        "/api/auth/login", json={"email": "other@example.com", "password": "a" * 20}
    )
    headers = {"Authorization": f"Bearer {login.json()['token']}"}
    refused = await service.client.post(PATH, json={"projections": "all"}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    mine = (await service.post(PATH, {"projections": "all"})).json()
    hidden = await service.client.get(f"{PATH}/{mine['id']}", headers=headers)
    assert (hidden.status_code, hidden.json()["code"]) == (404, "rebuild_not_found")
    assert founded.tenant_id != service.tenant_id


async def test_another_tenants_figures_are_not_told(service: Service, house: House) -> None:
    """Only that there is a difference, and of how many."""
    other = await found_tenant(house, "Other", email="other@example.com", password="a" * 20)
    async with tenant_transaction(house.pool, other.tenant_id) as connection:
        await connection.execute(
            "INSERT INTO projections.stock_level VALUES "
            "($1, 1, 1, 5, 0, 0, -5, 0, 0, 0, 0, NULL, 1, 1, 1)",
            other.tenant_id,
        )
    async with working(house):
        asked = (await service.post(PATH, {"projections": ["stock_levels"]})).json()
        found = await ended(service, asked["id"])
    level = next(table for table in found["tables"] if table["table"] == "stock_level")
    assert (level["equal"], level["tenants_differing"]) == (False, 1)
    assert (level["rows_live"], level["rows_rebuilt"]) == (1, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"projections": ["stock"]}, "projections"),
        ({"projections": []}, "projections"),
        ({"projections": "some"}, "projections"),
        ({"projections": "all", "replace": True}, "replace"),
        ({}, "projections"),
    ],
)
async def test_a_wrong_request_says_what_is_wrong(
    service: Service, body: dict[str, Any], field: str
) -> None:
    """And an unknown name, which there are."""
    refused = await service.post(PATH, body)
    assert refused.status_code == 400, refused.text
    assert field in refused.json()["detail"]
    if body.get("projections") == ["stock"]:
        assert "stock_levels, products" in refused.json()["detail"]


async def test_a_rebuild_whose_process_died_has_failed(service: Service, house: House) -> None:
    """It is found by those who look for the next one, and the next one is done."""
    await service.post(PATH, {"projections": ["products"]})
    async with tenant_transaction(house.pool, service.tenant_id) as connection:
        await connection.execute(
            "UPDATE ledger.rebuild SET state = 'running', started_at = now(),"
            " beat_at = now() - interval '2 minutes'"
        )
    async with working(house):
        first = await ended(service, 1)
        assert (first["state"], "has ended" in first["reason"]) == ("failed", True)
        second = (await service.post(PATH, {"projections": ["products"]})).json()
        assert (await ended(service, second["id"]))["state"] == "done"


async def test_a_superseded_process_is_not_ready_and_serves_nothing(service: Service) -> None:
    """Whoever balances the load sends on to others; those who come get 503 that says why."""
    assert (await service.get("/health/ready")).status_code == 200
    service.house.superseded = True
    ready = await service.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]["release"]) == (503, "superseded")
    refused = await service.get("/api/products")
    assert (refused.status_code, refused.json()["code"]) == (503, "superseded")
    assert refused.headers["retry-after"] == "1"
