"""What `stockledger explain` and `diff` show of a customer: texts, as the API does, not tokens."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from deploy.commands._explaining import figure_of, steps_json, unsealed
from deploy.wiring import House
from ledger.sealing import ERASED, MARKER
from ledger.store import tenant_transaction
from projections import explaining
from projections.explaining import Difference
from projections.past import Moment
from tests.support.api import Service, running_service

NAME = 'Ada "the first" Lovelace'
LATER = "Ada King"


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """A service with a tenant of its own."""
    async with running_service(house) as running:
        yield running


async def difference(service: Service, house: House) -> Difference:
    """Return all that ever happened to the first customer."""
    async with tenant_transaction(house.pool, service.tenant_id) as connection:
        figure = await figure_of(connection, service.tenant_id, "customer", ["customer_id=1"])
        head: int = await connection.fetchval("SELECT position FROM ledger.head")
        moment = Moment(head)
        made = await explaining.diff(
            connection, service.tenant_id, figure, 0, moment, limit=10, rows=10, folded_max=None
        )
    return await unsealed(house, service.tenant_id, made)


async def test_names_can_be_read_until_they_are_erased(service: Service, house: House) -> None:
    """In rows, in steps, and in the events' data, which stays JSON."""
    made = await service.post("/api/customers", {"name": NAME, "email": "ada@example.com"})
    assert made.status_code == 201, made.text
    changed = await service.call("PUT", "/api/customers/1", json={"name": LATER})
    assert changed.status_code == 200, changed.text
    found = await difference(service, house)
    assert found.after is not None
    assert found.after["name"] == LATER
    steps = msgspec.json.encode(steps_json(found.between))
    assert MARKER not in steps
    names = [step["data"].get("name") for step in msgspec.json.decode(steps)]
    assert names == [NAME, LATER]
    erased = await service.post("/api/customers/1/erase", {})
    assert erased.status_code == 200, erased.text
    found = await difference(service, house)
    assert found.after is not None
    assert found.after["name"] == ERASED
    assert b"Ada" not in msgspec.json.encode(steps_json(found.between))
