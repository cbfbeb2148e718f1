"""Databases for the proofs."""

from collections.abc import AsyncIterator

import pytest

from tests.proof.rig import Ledger
from tests.support.postgres import TestServer


@pytest.fixture(scope="module")
async def ledger(postgres: TestServer) -> AsyncIterator[Ledger]:
    """A migrated database of the module's own; its tests make a tenant each."""
    async with postgres.fresh_database() as address:
        yield Ledger(address)
