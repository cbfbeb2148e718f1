"""What every test may ask for: a database, a pool of the service's role, the real input files."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop
from hypothesis import settings

from api.credentials import PASSWORD_COST
from deploy.address import DatabaseAddress
from deploy.running import collect_seldom
from deploy.settings import Settings
from deploy.wiring import House, house_at
from ledger.store import Pool, create_pool
from tests.support.postgres import TestServer, create_tenant, running_server

# Hundreds of tenants are made; how dear a password is to guess matters for none of them.
PASSWORD_COST.update(time_cost=1, memory_cost=8, parallelism=1)
# How long an example takes tells of the machine, and of who else runs on it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --require-data: automation, which has the input files, must not skip their tests."""
    parser.addoption(
        "--require-data",
        action="store_true",
        help="fail, instead of skipping, tests whose input files are not there",
    )


def pytest_collection_finish() -> None:
    """Collect garbage as seldom as the service does: thousands of tests are there to stay."""
    collect_seldom()


def pytest_unconfigure() -> None:
    """Let libraries take leave of what they made."""
    gc.unfreeze()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Name the event loop that tests run on: the service's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def postgres() -> Iterator[TestServer]:
    """A running server for the whole run."""
    with running_server() as server:
        yield server


@pytest.fixture
async def database(postgres: TestServer) -> AsyncIterator[DatabaseAddress]:
    """A fresh database with every migration and the projections' tables."""
    async with postgres.fresh_database() as address:
        yield address


@pytest.fixture
async def pool(database: DatabaseAddress) -> AsyncIterator[Pool]:
    """A pool on the fresh database, logged in as the service is."""
    pool = await create_pool(database.app, size_min=1, size_max=8)
    yield pool
    pool.terminate()


@pytest.fixture
async def tenant_id(database: DatabaseAddress) -> int:
    """An empty tenant in the fresh database."""
    return await create_tenant(database)


@pytest.fixture
async def house(database: DatabaseAddress, tmp_path: Path) -> AsyncIterator[House]:
    """The whole service but HTTP, on the fresh database."""
    async with house_at(Settings(data_dir=tmp_path), database) as house:
        yield house


@pytest.fixture(scope="session")
def test_data(request: pytest.FixtureRequest) -> Path:
    """The folder of real input files; the test is skipped where there is none."""
    folder = Path(os.environ.get("STOCKLEDGER_TEST_DATA") or Settings().test_data)
    if not folder.is_dir():
        message = f"no input files in {folder}; set STOCKLEDGER_TEST_DATA to their folder"
        if request.config.getoption("--require-data"):
            pytest.fail(message)
        pytest.skip(message)
    return folder
