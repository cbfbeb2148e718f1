"""Long streams are not replayed, and memory is bounded, with the same decisions."""

import random
import time
from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest

from ledger.committer import Committer
from ledger.domain import registry
from ledger.draft import SNAPSHOT_EVERY_EVENTS
from ledger.working_set import recorded
from schemas.common import Command
from schemas.product import RegisterProduct
from schemas.stock import ReserveStock
from tests.proof.rig import CountingConnection, Desk, Ledger, adjust, issue, receive
from tests.proof.test_two_committers import read_log


async def test_a_stream_loaded_from_its_snapshot_is_the_fold_of_its_events(
    ledger: Ledger,
) -> None:
    """What a fresh process decides on equals the state that every event adds up to."""
    dice = random.Random(3)
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        for _ in range(9):
            commands: list[Command] = [receive(dice.randint(1, 9)) for _ in range(20)]
            commands += [ReserveStock(sku="A", location="MAIN", quantity=Decimal(1))] * 3
            commands += [issue(dice.randint(1, 3)) for _ in range(8)]
            assert (await desk.do(*commands)).refused is None
    stored = await ledger.rows(desk.tenant_id, "SELECT * FROM ledger.snapshot")
    assert [row["stream"] for row in stored] == ["stock-1-1"]
    assert stored[0]["version"] >= 200

    async with ledger.committer() as fresh:
        await Desk(fresh, desk.tenant_id).do(issue(10**6))
        held = fresh._writers[desk.tenant_id].working_set.states.get("stock-1-1")
    folded = registry.initial("stock")
    log = [row for row in await read_log(ledger, desk.tenant_id) if row.stream == "stock-1-1"]
    for row in log:
        folded = registry.evolve("stock")(folded, recorded(row))
        if row.version == stored[0]["version"]:
            assert msgspec.json.encode(folded) == stored[0]["state"]
    assert held == (len(log), folded)


async def _events(
    committer: Committer, desk: Desk, number: int, command: Callable[[int], Command]
) -> None:
    for first in range(0, number, 2000):
        many = [command(n) for n in range(first, min(first + 2000, number))]
        assert (await desk.do(*many)).refused is None


async def _decide_cold(ledger: Ledger, events: int) -> None:
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        await _events(committer, desk, events, lambda _: receive(1))
    connect = {"connection_class": CountingConnection}
    async with ledger.committer(connect=connect) as fresh:
        cold = Desk(fresh, desk.tenant_id)
        await cold.do(receive(1, sku="unknown"))
        CountingConnection.events_read = 0
        began = time.perf_counter()
        assert (await cold.do(issue(events + 1))).refused == "insufficient_stock"
        assert (await cold.do(issue(events))).refused is None
        seconds = time.perf_counter() - began
    # Product and location have one event each; the stock's snapshot leaves at most so many.
    assert CountingConnection.events_read <= SNAPSHOT_EVERY_EVENTS + 2
    assert seconds < 1.0
    assert await ledger.unrestricted(desk.tenant_id) == 0


async def test_a_stream_with_20_000_events_is_decided_on_without_replaying_them(
    ledger: Ledger,
) -> None:
    """Counted by the events that are read, and by the clock."""
    await _decide_cold(ledger, 20_000)


@pytest.mark.long
async def test_a_stream_with_1_000_000_events_is_decided_on_without_replaying_them(
    ledger: Ledger,
) -> None:
    """The same, fifty times as long."""
    await _decide_cold(ledger, 1_000_000)


async def test_memory_is_bounded_and_forgetting_changes_no_decision(ledger: Ledger) -> None:
    """5,000 SKUs through a cache of 100 states: held ones stay few, sums stay right."""
    skus = 5_000
    async with ledger.committer(states_cached_max=100, group_commands_max=100) as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop(["first"])

        def register(n: int) -> Command:
            return RegisterProduct(name=f"P{n}", sku=f"S{n}", base_price=Decimal(1))

        await _events(committer, desk, skus, register)
        await _events(committer, desk, skus, lambda n: receive(n % 50 + 1, sku=f"S{n}"))
        held = committer._writers[desk.tenant_id].working_set
        dice = random.Random(1)
        for _ in range(150):
            n = dice.randrange(skus)
            there = n % 50 + 1
            done = await desk.do(
                issue(there + 1, sku=f"S{n}"),
                issue(there, sku=f"s{n}"),
                adjust(there, sku=f"S{n}"),
                atomic=False,
            )
            assert [r.refused for r in done.results] == ["insufficient_stock", None, None]
        # A product's state, its stock's state and its alias; the place's state and alias.
        assert held.size() <= 200
    rows = await ledger.rows(
        desk.tenant_id, "SELECT product_id - 2 AS n, unrestricted FROM projections.stock_level"
    )
    assert len(rows) == skus
    assert all(row["unrestricted"] == row["n"] % 50 + 1 for row in rows)
