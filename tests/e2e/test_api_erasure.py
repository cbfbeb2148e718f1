"""Erasing customers over HTTP, searching what is sealed, and changing what it is sealed with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from api.customer_search import CustomerSearch
from api.problems import Problem
from deploy.housekeeping import tidy_up
from deploy.master_keys import MasterKeyFiles
from deploy.rewrapping import discard_lost, rotate
from deploy.wiring import House
from ledger.personal_data import PersonalData
from ledger.ports import Meta
from ledger.sealing import ERASED, UNREADABLE, KeyLost
from ledger.store import tenant_transaction
from ledger.submission import Item, Rendered, Submission
from schemas.address import Address
from schemas.common import Command
from schemas.customer import AddCustomerAddress, RegisterCustomer
from tests.support.api import Service, running_service

ADA: dict[str, Any] = {"name": "Ada Lovelace", "email": "ada@example.com", "phone": "0815"}
BOB: dict[str, Any] = {"name": "Bob", "email": "bob@example.com", "company": "Bolts"}


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a tenant of its own."""
    async with running_service(house) as running:
        yield running


async def found(service: Service, search: str, **more: str) -> tuple[list[int], int]:
    """Return the ids that a search finds, and how many it says there are."""
    reply = await service.get("/api/customers", params={"search": search, **more})
    assert reply.status_code == 200, reply.text
    return [row["id"] for row in reply.json()["customers"]], reply.json()["total"]


async def rows(service: Service, statement: str) -> Sequence[Any]:
    """Read as the service's own role."""
    async with tenant_transaction(service.house.pool, service.tenant_id) as connection:
        return await connection.fetch(statement)


async def as_before_sealing(service: Service, *commands: Command) -> None:
    """Record commands as releases did that did not seal anything."""
    await service.house.committer.behind.submit(
        Submission(
            tenant_id=service.tenant_id,
            items=[Item(command) for command in commands],
            meta=Meta(actor="user:1", source="test"),
            render=lambda outcomes: Rendered(200, b""),
        )
    )


async def test_erasing_is_for_admins_and_for_whom_nothing_is_open(service: Service) -> None:
    """Neither staff nor keys; the orders that stand in the way are named."""
    product_id, warehouse_id = await service.stocked()
    assert (await service.post("/api/customers", ADA)).status_code == 201
    refused = await service.post("/api/customers/1/erase", {}, key=service.api_key)
    assert refused.status_code == 403
    assert (await service.post("/api/customers/9/erase", {})).status_code == 404
    order = {"customer_id": 1, "items": [{"product_id": product_id, "quantity": 1}]}
    placed = await service.post("/api/orders", {**order, "warehouse_id": warehouse_id})
    assert placed.status_code == 201, placed.text
    refused = await service.post("/api/customers/1/erase")
    told = refused.json()
    assert (refused.status_code, told["code"], told["orders"]) == (
        409,
        "customer_has_open_orders",
        [1],
    )
    assert (await service.get("/api/customers/1")).json()["name"] == ADA["name"]
    assert (await service.post("/api/orders/1/cancel")).status_code == 200
    stale = await service.post("/api/customers/1/erase", headers={"If-Match": '"7"'})
    assert stale.status_code == 412
    erased = await service.post("/api/customers/1/erase")
    assert (erased.status_code, erased.json()["plain_events"]) == (200, 0)
    shown = (await service.get("/api/customers/1")).json()
    assert (shown["name"], shown["version"]) == (ERASED, 2)


async def test_what_is_said_after_an_erasure_goes_with_the_next(service: Service) -> None:
    """Orders can still be returned, with remarks; nothing is recorded by erasing again."""
    product_id, _ = await service.stocked()
    await service.post("/api/customers", ADA)
    order = {"customer_id": 1, "items": [{"product_id": product_id, "quantity": 1}]}
    await service.post("/api/orders", order)
    await service.call("PATCH", "/api/orders/1/status", {"status": "paid"})
    assert (await service.post("/api/orders/1/fulfill")).status_code == 200
    assert (await service.post("/api/customers/1/erase")).status_code == 200
    back = {"items": [{"order_item_id": 1001, "quantity": 1}], "reason": "Ada disliked it"}
    assert (await service.post("/api/orders/1/returns", back)).status_code == 201
    for reason in ("Ada disliked it", ERASED):
        (returned,) = (await service.get("/api/orders/1")).json()["returns"]
        assert returned["reason"] == reason
        head = (await service.get("/api/ledger/head")).json()
        assert (await service.post("/api/customers/1/erase")).status_code == 200
        assert (await service.get("/api/ledger/head")).json() == head


async def test_erasing_and_ordering_in_one_request_are_decided_in_order(service: Service) -> None:
    """No order slips in between: that of the same group counts as well."""
    product_id, _ = await service.stocked()
    await service.post("/api/customers", ADA)
    order = {"customer_id": 1, "items": [{"product_id": product_id, "quantity": 1}]}
    answers = await asyncio.gather(
        *(service.post("/api/orders", order) for _ in range(3)),
        service.post("/api/customers/1/erase"),
        *(service.post("/api/orders", order) for _ in range(3)),
    )
    erased = answers[3].status_code == 200
    placed = [answer.status_code == 201 for answer in (*answers[:3], *answers[4:])]
    assert erased != any(placed), [answer.text for answer in answers]


async def test_keys_and_names_of_addresses_go(service: Service) -> None:
    """Of what was refused or repeated too; the address is free again."""
    for _ in range(2):
        made = await service.post("/api/customers", ADA, headers={"Idempotency-Key": "ada"})
        assert made.status_code == 201
    taken = await service.post("/api/customers", {**BOB, "email": "ADA@example.com"})
    assert taken.json()["customer_id"] == 1
    assert len(await rows(service, "SELECT FROM access.subject_key")) == 1
    assert len(await rows(service, "SELECT FROM access.email_name")) == 1
    await service.call("PUT", "/api/customers/1", {**ADA, "email": "a@example.com"})
    assert len(await rows(service, "SELECT FROM access.subject_key")) == 1
    assert (await service.post("/api/customers/1/erase")).status_code == 200
    assert not await rows(service, "SELECT FROM access.subject_key")
    assert not await rows(service, "SELECT FROM access.email_name")
    assert (await service.post("/api/customers", ADA)).status_code == 201


async def test_addresses_that_nobody_has_are_forgotten_after_a_day(service: Service) -> None:
    """Those of refused commands, and those that were given up; not those that somebody has."""
    await service.post("/api/customers", ADA)
    await service.post("/api/customers", {**BOB, "price_tier_id": 99})
    await service.call("PUT", "/api/customers/1", {**ADA, "email": "a@example.com"})
    names = "SELECT name FROM access.email_name"
    assert len(await rows(service, names)) == 3
    await tidy_up(service.house)
    assert len(await rows(service, names)) == 3
    async with service.house.admin() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL ledger.tenant = {service.tenant_id}")
        await connection.execute(
            "UPDATE access.email_name SET created_at = created_at - interval '25 hours'"
        )
    await tidy_up(service.house)
    (kept,) = await rows(service, names)
    (customer,) = await rows(service, "SELECT email_key FROM projections.customer")
    assert kept["name"] == customer["email_key"]


async def test_nobody_erases_in_bulk(service: Service) -> None:
    """The keys are destroyed by the route, which is for admins; the command alone is not taken."""
    await service.post("/api/customers", ADA)
    command = {"type": "EraseCustomer", "data": {"customer_id": 1}}
    refused = await service.post("/api/ledger/commands", {"commands": [command]})
    assert refused.status_code == 400


async def test_what_says_nothing_new_writes_nothing(service: Service) -> None:
    """The same text is the same token, so a revision that revises nothing is seen to be one."""
    await service.post("/api/customers", ADA)
    before = (await service.get("/api/ledger/head")).json()
    same = await service.call("PUT", "/api/customers/1", {**ADA, "email": " ada@example.com "})
    assert same.status_code == 200
    assert (await service.get("/api/ledger/head")).json() == before


async def test_what_is_older_than_sealing_goes_on_and_is_told_of(service: Service) -> None:
    """It is read, found, unique and revised as ever; erased, it is counted as plain."""
    await as_before_sealing(
        service,
        RegisterCustomer(**ADA),
        RegisterCustomer(**BOB),
        AddCustomerAddress(customer_id=1, type="billing", address=Address(city="Old Town")),
    )
    assert (await service.get("/api/customers/1")).json()["addresses"][0]["city"] == "Old Town"
    assert await found(service, "lovelace") == ([1], 1)
    taken = await service.post("/api/customers", {"name": "C", "email": "ADA@example.com "})
    assert (taken.status_code, taken.json()["customer_id"]) == (409, 1)
    # Once it is said anew it is sealed, and its address is as unique as it was.
    for name in ("Ada", "Ada L."):
        revised = await service.call("PUT", "/api/customers/1", {**ADA, "name": name})
        assert revised.status_code == 200, revised.text
    taken = await service.post("/api/customers", {"name": "C", "email": "ada@example.com"})
    assert (taken.status_code, taken.json()["customer_id"]) == (409, 1)
    taken = await service.call("PUT", "/api/customers/2", {**BOB, "email": "ada@example.com"})
    assert taken.status_code == 409
    (row,) = await rows(service, "SELECT name FROM projections.customer WHERE customer_id = 1")
    assert row["name"].startswith("sealed:1:")
    assert await found(service, "ada l.") == ([1], 1)
    erased = (await service.post("/api/customers/1/erase")).json()
    assert erased["plain_events"] == 2
    assert (await service.post("/api/customers/2/erase")).json()["plain_events"] == 1
    shown = (await service.get("/api/customers/1")).json()
    assert shown["name"] == ERASED


async def test_a_search_sees_what_was_written_just_now(service: Service) -> None:
    """New customers, revised ones and erased ones; filtered and paged."""
    for number in range(1, 6):
        body = {"name": f"Ada {number}", "customer_type": "b2b" if number > 3 else "retail"}
        assert (await service.post("/api/customers", body)).status_code == 201
    assert await found(service, "ada") == ([1, 2, 3, 4, 5], 5)
    assert await found(service, "ADA", type="b2b") == ([4, 5], 2)
    assert await found(service, "ada", page="2", limit="2") == ([3, 4], 5)
    assert await found(service, "ada", limit="2", cursor="4") == ([5], 5)
    await service.call("PUT", "/api/customers/2", {"name": "Straße 7"})
    assert await found(service, "STRASSE") == ([2], 1)
    assert await found(service, "ada") == ([1, 3, 4, 5], 4)
    await service.post("/api/customers/1/erase")
    assert await found(service, "ada") == ([3, 4, 5], 3)
    assert service.house.customer_search.held == 4
    assert await found(service, "Ada\n3") == ([], 0)


async def test_a_search_is_bounded_in_memory(service: Service) -> None:
    """With more customers than a process may hold, only a whole e-mail address is found."""
    await as_before_sealing(service, RegisterCustomer(name="Old", email="old@example.com"))
    for number in range(2, 5):
        await service.post(
            "/api/customers", {"name": f"A{number}", "email": f"a{number}@b.example"}
        )
    search = CustomerSearch(service.house.personal, held_max=3)
    tenant_id = service.tenant_id
    async with tenant_transaction(service.house.pool, tenant_id) as connection:
        with pytest.raises(Problem, match="whole e-mail"):
            await search.find(connection, tenant_id, "a2")
        assert search.held == 0
        assert await search.find(connection, tenant_id, "A3@b.example") == [3]
        assert await search.find(connection, tenant_id, "OLD@example.com") == [1]
        assert await search.find(connection, tenant_id, "a9@b.example") == []
        search = CustomerSearch(service.house.personal, held_max=4)
        assert await search.find(connection, tenant_id, "a3") == [3]


async def test_master_keys_change_while_customers_are_registered(service: Service) -> None:
    """Nothing is lost, and nothing is left that the old one opens."""
    masters = service.house.masters
    assert isinstance(masters, MasterKeyFiles)
    first = masters.newest()

    async def register(number: int) -> None:
        for step in range(6):
            body = {"name": f"C {number}.{step}"}
            made = await service.post("/api/customers", body)
            assert (made.status_code, made.json()["name"]) == (201, body["name"])

    told: list[tuple[int, int | None]] = []
    rotating = asyncio.create_task(
        rotate(service.house, masters, lambda done, total: told.append((done, total)))
    )
    await asyncio.gather(*map(register, range(3)), rotating)
    assert (await rotating).destroyed == 1
    assert told, "it is told how far it is"
    assert masters.find(first.id) is None
    wrapped = await rows(service, "SELECT wrapped_key FROM access.subject_key")
    assert {row[0][:8] for row in wrapped} == {masters.newest().id}
    names = (await service.get("/api/customers?limit=200")).json()["customers"]
    assert len([row for row in names if row["name"].startswith("C ")]) == 18


async def test_without_its_master_key_nothing_is_read_or_sealed(service: Service) -> None:
    """It is told so, and nothing else fails; with the key back, all is back."""
    await service.post("/api/customers", ADA)
    masters = service.house.masters
    assert isinstance(masters, MasterKeyFiles)
    (path,) = masters.folder.iterdir()
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        assert (await service.get("/api/customers/1")).json()["name"] == UNREADABLE
        restarted = PersonalData(service.house.pool, MasterKeyFiles(masters.folder))
        with pytest.raises(KeyLost):
            await restarted.tenant_key(service.tenant_id)
    finally:
        aside.rename(path)
    assert (await service.get("/api/customers/1")).json()["name"] == ADA["name"]


async def test_keys_whose_master_key_is_gone_are_given_up(service: Service) -> None:
    """As after a rotation, when an older database is put back: it takes customers again then."""
    await service.post("/api/customers", ADA)
    masters = service.house.masters
    assert isinstance(masters, MasterKeyFiles)
    lost = masters.newest().id
    masters.make()
    await service.post("/api/customers", {"name": "Cleo"})
    masters.destroy([lost])
    restarted = PersonalData(service.house.pool, masters)
    with pytest.raises(KeyLost):
        await restarted.tenant_key(service.tenant_id)
    names = [row["name"] for row in (await service.get("/api/customers")).json()["customers"]]
    assert names == [UNREADABLE, "Cleo"]
    assert await discard_lost(service.house, masters) == 1
    await restarted.tenant_key(service.tenant_id)
    names = [row["name"] for row in (await service.get("/api/customers")).json()["customers"]]
    assert names == [ERASED, "Cleo"]
