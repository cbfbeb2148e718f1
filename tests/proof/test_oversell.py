"""Invariant I6: nothing is sold twice, whoever races, in however many processes."""

import pytest

from tests.proof.rig import Desk, Ledger, receive
from tests.proof.rival import Task, race
from tests.proof.test_two_committers import check_log, read_log


async def _shop(ledger: Ledger, stock: int) -> int:
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        await desk.do(receive(stock))
    return desk.tenant_id


async def test_500_clients_in_four_processes_want_the_last_one_and_one_gets_it(
    ledger: Ledger,
) -> None:
    """Stock 1: exactly one success, 499 refusals, and nothing left."""
    tenant_id = await _shop(ledger, stock=1)
    tasks = [Task(ledger.address.app, tenant_id, clients=125, seed=seed) for seed in range(4)]
    tally = await race(ledger, tasks)
    assert tally == {"issued": 1, "insufficient_stock": 499}
    assert await ledger.unrestricted(tenant_id) == 0
    log = await check_log(ledger, tenant_id)
    assert [row.type for row in log].count("StockIssued") == 1


async def _fight_over_one_sku(ledger: Ledger, rounds: int, processes: int = 2) -> None:
    """64 clients issue, and now and then receive, one of one SKU, ``rounds`` times each."""
    tenant_id = await _shop(ledger, stock=1)
    tasks = [
        Task(ledger.address.app, tenant_id, 64 // processes, rounds, restock=True, seed=seed)
        for seed in range(processes)
    ]
    tally = await race(ledger, tasks)
    assert sum(tally.values()) == 64 * rounds
    assert tally["insufficient_stock"] > 0
    on_hand, lowest = 0, 0
    for row in await read_log(ledger, tenant_id):
        on_hand += {"StockReceived": 1, "StockIssued": -1}.get(row.type, 0)
        lowest = min(lowest, on_hand)
    assert lowest == 0
    assert on_hand == 1 + tally["received"] - tally["issued"]
    assert await ledger.unrestricted(tenant_id) == on_hand
    kept = await ledger.count(tenant_id, "ledger.idempotency")
    assert kept == tally["received"] + tally["issued"]


async def test_64_clients_on_one_sku_for_20_rounds(ledger: Ledger) -> None:
    """No prefix of the log is below zero, and what was granted is what is gone."""
    await _fight_over_one_sku(ledger, rounds=20)


@pytest.mark.long
async def test_64_clients_on_one_sku_for_1_000_rounds(ledger: Ledger) -> None:
    """The same at length, in four processes."""
    await _fight_over_one_sku(ledger, rounds=1_000, processes=4)
