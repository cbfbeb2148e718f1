"""Invariant I7: quantities and money are decimals from the wire to the disk."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from deploy.settings import Settings
from deploy.wiring import House, house_at
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer


@pytest.fixture(scope="module")
async def service(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """A service with a place and products with six digits behind the point."""
    async with (
        postgres.fresh_database() as address,
        house_at(Settings(data_dir=tmp_path_factory.mktemp("exact")), address) as house,
        running_service(house) as service,
    ):
        await service.stocked(0)
        yield service


async def _product(service: Service, sku: str) -> None:
    body = {
        "commands": [
            {
                "type": "RegisterProduct",
                "data": {"name": sku, "sku": sku, "base_price": "1", "scale": 6},
            }
        ]
    }
    answer = await service.post("/api/ledger/commands", body)
    assert answer.json()["refused"] == 0, answer.text


async def _receive(service: Service, sku: str, *quantities: str) -> int:
    """Receive quantities, each written into the JSON as it is; return the status."""
    commands = ",".join(
        f'{{"type":"ReceiveStock","data":{{"sku":"{sku}","location_id":1,"quantity":{text}}}}}'
        for text in quantities
    )
    answer = await service.call(
        "POST",
        "/api/ledger/commands",
        content=f'{{"commands":[{commands}]}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    if answer.status_code == 200 and answer.json()["refused"]:
        return answer.json()["results"][0]["problem"]["status"]
    return answer.status_code


async def _unrestricted(service: Service, sku: str) -> Decimal:
    async with service.house.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT set_config('ledger.tenant', $1, true)", str(service.tenant_id)
        )
        return await connection.fetchval(
            "SELECT unrestricted FROM projections.stock_level JOIN projections.product"
            " USING (tenant_id, product_id) WHERE sku = $1",
            sku,
        )


@pytest.mark.parametrize("written", ['"0.1"', "0.1", "1e-1", '"0.100000"'])
async def test_a_thousand_tenths_are_a_hundred(service: Service, written: str) -> None:
    """Numbers and strings alike; binary fractions would make it 99.9999999999986."""
    sku = f"TENTH {written}"
    await _product(service, sku.replace('"', "'"))
    assert await _receive(service, sku.replace('"', "'"), *[written] * 1000) == 200
    assert str(await _unrestricted(service, sku.replace('"', "'"))) == "100.000000"


@pytest.mark.parametrize("text", ["999999999999.999999", "123456789012.345678", "0.000001"])
async def test_the_widest_and_the_finest_figure_stay_as_they_are(
    service: Service, text: str
) -> None:
    """More digits than a double holds, as a JSON number: from the wire to the disk and back."""
    sku = f"WIDE {text}"
    await _product(service, sku)
    assert await _receive(service, sku, text) == 200
    assert str(await _unrestricted(service, sku)) == text
    head = (await service.get("/api/ledger/head")).json()["position"]
    shown = await service.get(f"/api/ledger/events?after={head - 1}")
    assert shown.json()["events"][0]["data"]["quantity"] == text


@pytest.mark.parametrize(
    "text",
    ["1e400", '"1e400"', '"NaN"', '"Infinity"', '"1_0"', '"\uff11"', "0.0000001", "1000000000000",
     '"-0.0000001"', "true", "[1]", '""', '" 1"'],
)  # fmt: skip
async def test_what_is_no_plain_decimal_within_bounds_is_refused(
    service: Service, text: str
) -> None:
    """At the edge, with nothing recorded."""
    await _product(service, f"BAD {text}".replace('"', "'"))
    status = await _receive(service, f"BAD {text}".replace('"', "'"), text)
    assert 400 <= status < 500
    assert await _unrestricted(service, f"BAD {text}".replace('"', "'")) is None


async def test_no_column_is_a_binary_fraction(service: Service) -> None:
    """Neither real nor double precision anywhere in the ledger's tables."""
    house: House = service.house
    async with house.admin() as owner:
        columns = await owner.fetch(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns"
            " WHERE table_schema IN ('ledger', 'access', 'projections')"
            " AND data_type IN ('real', 'double precision', 'money')"
        )
    assert columns == []
