"""A connection lost in the middle of a commit: the client is told, and its retry is safe."""

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ledger.errors import LedgerError, LedgerUnavailable, OutcomeUnknown
from tests.proof.rig import Answer, Cut, CuttingProxy, Desk, Ledger, receive


@asynccontextmanager
async def _through_proxy(
    ledger: Ledger, **options: Any
) -> AsyncGenerator[tuple[Desk, CuttingProxy]]:
    async with CuttingProxy.running(ledger.address) as proxy:
        connect = {"host": str(proxy.folder)}
        async with ledger.committer(connect=connect, **options) as committer:
            desk = Desk(committer, await ledger.new_tenant())
            await desk.shop()
            yield desk, proxy


@pytest.mark.parametrize("cut", ["before commit", "after commit"])
@pytest.mark.parametrize("warm", [True, False])
async def test_an_unknown_outcome_is_told_and_the_retry_takes_effect_once(
    ledger: Ledger, cut: Cut, warm: bool
) -> None:
    """Whether the commit had gone through or not, the same key leads to exactly one effect."""
    async with _through_proxy(ledger) as (desk, proxy):
        if warm:
            await desk.do(receive(1))
            await desk.do(receive(1))
        before = await ledger.unrestricted(desk.tenant_id)
        proxy.armed = cut
        with pytest.raises(OutcomeUnknown) as unknown:
            await desk.do(receive(10), key="k")
        assert "Idempotency-Key" in str(unknown.value)
        committed = await ledger.unrestricted(desk.tenant_id) - before
        assert committed == (10 if cut == "after commit" else 0)
        retried = await desk.do(receive(10), key="k")
        assert retried.replayed == (cut == "after commit")
        assert retried.refused is None
        assert await ledger.unrestricted(desk.tenant_id) == before + 10


@pytest.mark.parametrize("cut", ["before commit", "after commit"])
async def test_a_lost_group_does_not_mislead_the_one_decided_behind_it(
    ledger: Ledger, cut: Cut
) -> None:
    """Under load groups are decided before the one ahead has landed; here that one is lost."""
    async with _through_proxy(ledger, group_commands_max=50) as (desk, proxy):
        sent: dict[str, int] = {}
        for round_number in range(4):
            proxy.armed = cut
            keys = [f"{round_number}.{n}" for n in range(500)]
            answers = await asyncio.gather(
                *(desk.do(receive(1), key=key) for key in keys), return_exceptions=True
            )
            for key, answer in zip(keys, answers, strict=True):
                assert isinstance(answer, Answer | OutcomeUnknown), answer
                if isinstance(answer, OutcomeUnknown):
                    answer = await desk.do(receive(1), key=key)
                assert answer.refused is None
                sent[key] = answer.results[0].positions[0]
        assert proxy.cuts == 4
        assert len(set(sent.values())) == len(sent)
        assert await ledger.unrestricted(desk.tenant_id) == len(sent)
        events = await ledger.count(desk.tenant_id, "ledger.event")
        assert await ledger.value(desk.tenant_id, "SELECT position FROM ledger.head") == events


async def test_backends_killed_at_random_lose_and_double_nothing(ledger: Ledger) -> None:
    """An administrator kills the service's backends under load, again and again."""
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        dice = random.Random(7)
        running = True

        async def kill() -> None:
            while running:
                await asyncio.sleep(dice.uniform(0.02, 0.1))
                await ledger.administer(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = 'stockledger_app' AND datname = current_database()"
                )

        async def client(number: int) -> int:
            done = 0
            for n in range(25):
                for _ in range(100):
                    try:
                        answer = await desk.do(receive(1), key=f"{number}.{n}")
                    except (OutcomeUnknown, LedgerUnavailable):
                        await asyncio.sleep(0.01)
                        continue
                    except LedgerError as error:
                        raise AssertionError from error
                    assert answer.refused is None
                    done += 1
                    break
            return done

        killing = asyncio.create_task(kill())
        done = await asyncio.gather(*(client(number) for number in range(16)))
        running = False
        await killing
        assert sum(done) == 400
    assert await ledger.unrestricted(desk.tenant_id) == 400
    assert await ledger.count(desk.tenant_id, "ledger.idempotency") == 400


async def test_a_database_that_is_away_is_told_as_such(ledger: Ledger) -> None:
    """With no connection to be had nothing was recorded, and the answer says so."""
    async with CuttingProxy.running(ledger.address) as proxy:
        connect = {"host": str(proxy.folder)}
        tenant_id = await ledger.new_tenant()
        async with ledger.committer(connect=connect) as committer:
            desk = Desk(committer, tenant_id)
            await desk.shop()
            socket = next(proxy.folder.glob(".s.PGSQL.*"))
            away = socket.with_name("away")
            socket.rename(away)
            await ledger.administer(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'stockledger_app' AND datname = current_database()"
            )
            with pytest.raises(LedgerUnavailable):
                await desk.do(receive(1), key="k")
            away.rename(socket)
            assert (await desk.do(receive(1), key="k")).refused is None
    assert await ledger.unrestricted(tenant_id) == 1
