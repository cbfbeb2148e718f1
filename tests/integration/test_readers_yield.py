"""An analyst's connection gets what commands and reads leave of the processors."""

import asyncio
import os
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from deploy.analysts import create_analyst
from deploy.readers import keep_readers_yielding
from deploy.wiring import House, alongside
from ledger.yielding import turn_ns
from tests.support.postgres import create_tenant

WITHIN_S = 20.0


async def test_a_readers_connections_yield_and_nobody_elses(house: House) -> None:
    """Each of them, soon after it is made; the service's own and an operator's stay as usual."""
    uri = await create_analyst(house.address, await create_tenant(house.address), "Ann")
    usual = psutil.Process().nice()
    operator = await asyncpg.connect(**house.address.administrator)
    readers = [await asyncpg.connect(uri) for _ in range(2)]
    try:
        async with alongside(keep_readers_yielding(house), "readers"), asyncio.timeout(WITHIN_S):
            for reader in readers:
                assert await reader.fetchval("SHOW max_parallel_workers_per_gather") == "0"
                while psutil.Process(reader.get_server_pid()).nice() <= usual:
                    await asyncio.sleep(0.05)
            readers.append(await asyncpg.connect(uri))
            while psutil.Process(readers[-1].get_server_pid()).nice() <= usual:
                await asyncio.sleep(0.05)
            assert _session_yields(readers[-1])
            assert _lets_others_go_first(readers[-1])
        assert psutil.Process(operator.get_server_pid()).nice() == usual
        async with house.pool.acquire() as connection:
            assert psutil.Process(connection.get_server_pid()).nice() == usual
    finally:
        for connection in (*readers, operator):
            await connection.close()


def _session_yields(connection: "asyncpg.Connection[Any]") -> bool:
    """Tell whether a connection's process yields as a session too, where the system has that."""
    file = Path(f"/proc/{connection.get_server_pid()}/autogroup")
    return not file.exists() or int(file.read_text().split()[-1]) > 0


def _lets_others_go_first(connection: "asyncpg.Connection[Any]") -> bool:
    """Tell whether who wakes up need not wait for its turn to end, where the system has that."""
    usual = turn_ns(os.getpid())
    return not usual or turn_ns(connection.get_server_pid()) > usual
