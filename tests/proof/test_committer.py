"""Group commit: every submission its own result, and none of them at another's expense."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from decimal import Decimal

import asyncpg
import pytest

from ledger.committer import Committer, GroupReport
from ledger.errors import LedgerUnavailable, QueueFull, VersionConflict
from ledger.store import Connection, lock_head, tenant_transaction
from ledger.submission import Outcome, Rendered
from schemas.common import Command
from schemas.product import RegisterProduct, ReviseProduct
from schemas.stock import ReserveStock, TransferStock
from tests.proof.rig import (
    POISON,
    Answer,
    Desk,
    Ledger,
    PoisonedProjections,
    adjust,
    issue,
    receive,
    submission,
)


@pytest.fixture(scope="module")
async def committer(ledger: Ledger) -> AsyncIterator[Committer]:
    """One API process's committer."""
    async with ledger.committer() as made:
        yield made


@pytest.fixture
async def desk(ledger: Ledger, committer: Committer) -> Desk:
    """A tenant with product A and B at locations MAIN and EAST."""
    desk = Desk(committer, await ledger.new_tenant())
    await desk.shop(["A", "B"], ["MAIN", "EAST"])
    return desk


async def test_waiting_submissions_share_commits_and_each_gets_its_own_result(
    ledger: Ledger,
) -> None:
    """200 clients ask for one each of 120: 120 get it, in far fewer than 200 commits."""
    reports: list[GroupReport] = []
    async with ledger.committer(on_group=reports.append) as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        await desk.do(receive(120))
        before = len(reports)
        answers = await asyncio.gather(*(desk.do(issue(1)) for _ in range(200)))
    granted = [answer for answer in answers if answer.refused is None]
    assert len(granted) == 120
    assert {a.refused for a in answers if a not in granted} == {"insufficient_stock"}
    positions = sorted(a.results[0].positions[0] for a in granted)
    assert positions == list(range(positions[0], positions[0] + 120))
    assert len(reports) - before < 50
    assert sum(report.commands for report in reports[before:]) == 200
    assert await ledger.unrestricted(desk.tenant_id) == 0


async def test_what_comes_while_another_process_has_the_log_goes_in_one_group(
    ledger: Ledger, desk: Desk
) -> None:
    """It waits for the head with one command, and finds nine more when it gets it."""
    reports: list[GroupReport] = []
    async with ledger.committer(on_group=reports.append) as committer, ledger.pool() as pool:
        other = Desk(committer, desk.tenant_id)
        async with tenant_transaction(pool, desk.tenant_id) as holder:
            await lock_head(holder, desk.tenant_id)
            sent = [asyncio.create_task(other.do(receive(1)))]
            await asyncio.sleep(0.2)
            sent += [asyncio.create_task(other.do(receive(1), key=str(n))) for n in range(9)]
            await asyncio.sleep(0.1)
            assert not reports
        answers = await asyncio.gather(*sent)
        again = await other.do(receive(1), key="3")
    assert [report.commands for report in reports[:1]] == [10]
    assert all(answer.refused is None for answer in answers)
    assert again.position == answers[4].position
    assert await ledger.unrestricted(desk.tenant_id) == 10


async def test_a_refusal_writes_nothing_and_affects_no_other(ledger: Ledger, desk: Desk) -> None:
    """The neighbours of a refused command take effect; it leaves no event, key or version."""
    good, bad, good_too = await asyncio.gather(
        desk.do(receive(5), key="good"),
        desk.do(issue(50), key="bad"),
        desk.do(receive(7), key="good too"),
    )
    assert (good.refused, bad.refused, good_too.refused) == (None, "insufficient_stock", None)
    assert bad.status == 409
    assert await ledger.unrestricted(desk.tenant_id) == 12
    keys = await ledger.rows(desk.tenant_id, "SELECT key FROM ledger.idempotency ORDER BY key")
    assert [row["key"] for row in keys] == ["good", "good too"]
    head = await ledger.value(desk.tenant_id, "SELECT position FROM ledger.head")
    assert head == await ledger.count(desk.tenant_id, "ledger.event") == good_too.position


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(lambda: RuntimeError(POISON), id="a fold that fails"),
        pytest.param(
            lambda: asyncpg.UniqueViolationError(POISON), id="a row that is there already"
        ),
        pytest.param(lambda: asyncpg.NumericValueOutOfRangeError(POISON), id="a value too large"),
    ],
)
async def test_a_submission_that_fails_the_transaction_is_answered_alone(
    ledger: Ledger, error: Callable[[], Exception]
) -> None:
    """One event that a read model cannot fold fails its own submission and no other."""
    async with ledger.committer(projections=PoisonedProjections(error)) as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        answers = await asyncio.gather(
            *(desk.do(receive(1)) for _ in range(20)),
            desk.do(receive(1000, reason=POISON)),
            *(desk.do(receive(1)) for _ in range(20)),
            return_exceptions=True,
        )
        poisoned = answers.pop(20)
        assert isinstance(poisoned, Exception)
        assert not isinstance(poisoned, LedgerUnavailable)
        assert [a for a in answers if not isinstance(a, Answer) or a.refused is not None] == []
        assert await ledger.unrestricted(desk.tenant_id) == 40
        assert (await desk.do(receive(2))).refused is None
    assert await ledger.unrestricted(desk.tenant_id) == 42


async def test_a_side_effect_that_fails_takes_its_own_events_with_it(
    ledger: Ledger, desk: Desk
) -> None:
    """What a submission writes besides events is in its transaction, and in no neighbour's."""

    statement = "INSERT INTO access.app_user VALUES ($1, $2, 'n', $3, 'h', 'staff', true, now())"

    async def once(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        position = outcomes[0].events[0].position
        await connection.execute(statement, desk.tenant_id, position, "one@example.com")

    answers = await asyncio.gather(
        desk.do(receive(1), side_effect=once),
        desk.do(receive(10)),
        desk.do(receive(100), side_effect=once),
        desk.do(receive(1000)),
        return_exceptions=True,
    )
    assert isinstance(answers[2], asyncpg.UniqueViolationError)
    assert [a.refused for a in answers if isinstance(a, Answer)] == [None] * 3
    assert await ledger.unrestricted(desk.tenant_id) == 1011
    assert await ledger.count(desk.tenant_id, "access.app_user") == 1


async def test_a_response_that_cannot_be_rendered_fails_alone(ledger: Ledger, desk: Desk) -> None:
    """A fault in one request's rendering is that request's own."""

    def fail(_: Sequence[Outcome]) -> Rendered:
        raise ZeroDivisionError

    answers = await asyncio.gather(
        desk.do(receive(1)),
        desk.do(receive(10), render=fail),
        desk.do(receive(100)),
        return_exceptions=True,
    )
    assert isinstance(answers[1], ZeroDivisionError)
    assert await ledger.unrestricted(desk.tenant_id) == 101


async def test_a_full_queue_refuses_and_says_when_to_come_back(ledger: Ledger) -> None:
    """What does not fit is told so at once; what was let in is done."""
    async with ledger.committer(queue_commands_max=10) as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        answers = await asyncio.gather(
            *(desk.do(receive(1)) for _ in range(30)), return_exceptions=True
        )
        full = [answer for answer in answers if isinstance(answer, QueueFull)]
        assert len(full) >= 20
        assert all(error.retry_after_s >= 1 for error in full)
        done = 30 - len(full)
        assert await ledger.unrestricted(desk.tenant_id) == done
        assert committer.queued_commands == 0
        # One request may hold more than the queue does, when nothing else waits.
        assert (await desk.do(*[receive(1)] * 25)).refused is None
    assert await ledger.unrestricted(desk.tenant_id) == done + 25


async def test_an_atomic_submission_has_all_its_effects_or_none(ledger: Ledger, desk: Desk) -> None:
    """One refused command undoes those before it, and keeps those after it from counting."""
    await desk.do(receive(10))
    before = await ledger.count(desk.tenant_id, "ledger.event")
    done = await desk.do(issue(4), issue(7), receive(1), key="atomic")
    assert [result.refused for result in done.results] == [None, "insufficient_stock", None]
    assert all(result.positions == () for result in done.results)
    assert await ledger.count(desk.tenant_id, "ledger.event") == before
    assert await ledger.count(desk.tenant_id, "ledger.idempotency") == 0
    # The states in memory are back where they were, too.
    assert (await desk.do(issue(10))).refused is None
    assert await ledger.unrestricted(desk.tenant_id) == 0


async def test_independent_commands_stand_each_for_itself(ledger: Ledger, desk: Desk) -> None:
    """A refused one is reported in its place; each later one sees what the earlier ones did."""
    done = await desk.do(receive(10), issue(4), issue(7), issue(6), atomic=False, key="each")
    assert [r.refused for r in done.results] == [None, None, "insufficient_stock", None]
    assert await ledger.unrestricted(desk.tenant_id) == 0
    assert await ledger.count(desk.tenant_id, "ledger.idempotency") == 1


async def test_two_lines_for_one_item_cannot_pass_one_by_one(ledger: Ledger, desk: Desk) -> None:
    """Demand within one request adds up."""
    await desk.do(receive(10))
    assert (await desk.do(issue(6), issue(6))).refused == "insufficient_stock"
    assert await ledger.unrestricted(desk.tenant_id) == 10


async def test_finish_adds_commands_that_depend_on_the_results(ledger: Ledger, desk: Desk) -> None:
    """What ``finish`` gives is decided last, with the same effect; refused, nothing counts."""

    def bring_back(outcomes: Sequence[Outcome]) -> list[Command]:
        return [receive(sum(len(outcome.events) for outcome in outcomes), sku="B")]

    done = await desk.do(receive(1), receive(1), issue(99), atomic=False, finish=bring_back)
    assert [r.refused for r in done.results] == [None, None, "insufficient_stock", None]
    assert await ledger.unrestricted(desk.tenant_id, product_id=2) == 2

    def ask_too_much(_: Sequence[Outcome]) -> list[Command]:
        return [issue(1000)]

    done = await desk.do(receive(50), atomic=False, finish=ask_too_much)
    assert done.refused == "insufficient_stock"
    assert await ledger.unrestricted(desk.tenant_id) == 2


async def test_a_version_that_has_moved_on_is_a_conflict(ledger: Ledger, desk: Desk) -> None:
    """If-Match: the command counts only while its stream is at the version the client read."""
    await desk.do(receive(1))
    await desk.do(receive(1))
    with pytest.raises(VersionConflict) as conflict:
        await desk.do(receive(1), expected_version=1)
    assert (conflict.value.expected, conflict.value.actual) == (1, 2)
    assert (await desk.do(receive(1), expected_version=2)).refused is None
    answers = await asyncio.gather(
        *(desk.do(receive(1), expected_version=3) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, Answer) for answer in answers) == 1
    assert await ledger.unrestricted(desk.tenant_id) == 4


async def test_a_name_that_passes_from_one_product_to_another_within_a_group(
    ledger: Ledger, desk: Desk
) -> None:
    """A SKU names whoever has it at that point of the log, within one group as across groups."""
    await desk.do(receive(1, sku="A"))
    revise = ReviseProduct(product_id=1, name="A", sku="Z", base_price=Decimal(1), scale=3)
    register = RegisterProduct(name="new A", sku="a ", base_price=Decimal(1), scale=3)
    answers = await asyncio.gather(
        desk.do(receive(10, sku="A")),
        desk.do(revise),
        desk.do(receive(100, sku="A")),
        desk.do(receive(100, sku="z")),
        desk.do(register),
        desk.do(receive(1000, sku="A")),
        desk.do(register),
    )
    assert [a.refused for a in answers] == [
        None,
        None,
        "product_not_found",
        None,
        None,
        None,
        "sku_taken",
    ]
    assert await ledger.unrestricted(desk.tenant_id, 1) == 111
    assert await ledger.unrestricted(desk.tenant_id, 3) == 1000


async def test_a_client_that_goes_away_harms_nobody(ledger: Ledger, desk: Desk) -> None:
    """Its command was queued, so it takes effect once; the others are answered."""
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(desk.do(receive(1)))
        stays = [group.create_task(desk.do(receive(1))) for _ in range(5)]
        await asyncio.sleep(0)
        gone.cancel()
    assert all(task.result().refused is None for task in stays)
    assert await ledger.unrestricted(desk.tenant_id) == 6


async def test_tenants_are_written_side_by_side(ledger: Ledger, committer: Committer) -> None:
    """Each tenant's positions begin at 1 and have no gap, whatever the others do."""
    desks = [Desk(committer, await ledger.new_tenant()) for _ in range(5)]
    await asyncio.gather(*(desk.shop() for desk in desks))
    await asyncio.gather(*(desk.do(receive(1)) for desk in desks for _ in range(20)))
    for desk in desks:
        rows = await ledger.rows(desk.tenant_id, "SELECT position FROM ledger.event ORDER BY 1")
        assert [row["position"] for row in rows] == list(range(1, 23))


async def test_a_rule_of_ones_own_takes_a_submission_back_as_a_whole(
    ledger: Ledger, desk: Desk
) -> None:
    """With two of three refused, nothing stays, not even the key; with one, the rest does."""

    def most_refused(outcomes: Sequence[Outcome]) -> bool:
        return sum(outcome.refusal is not None for outcome in outcomes) > 1

    def rule(*commands: Command, key: str) -> Awaitable[Answer]:
        return desk.do(*commands, key=key, atomic=False, aborts=most_refused)

    done = await rule(receive(5), issue(99), issue(98), key="back")
    assert [r.positions for r in done.results] == [(), (), ()]
    assert [r.refused for r in done.results] == [None, "insufficient_stock", "insufficient_stock"]
    assert await ledger.unrestricted(desk.tenant_id) == 0
    assert await ledger.count(desk.tenant_id, "ledger.idempotency") == 0
    # A lone command is taken back like others.
    done = await desk.do(receive(7), atomic=False, aborts=lambda outcomes: True)
    assert (done.refused, await ledger.unrestricted(desk.tenant_id)) == (None, 0)
    done = await rule(receive(5), issue(99), issue(3), key="kept")
    assert [len(r.positions) for r in done.results] == [1, 0, 1]
    assert await ledger.unrestricted(desk.tenant_id) == 2


async def test_a_transfer_and_a_claim_are_seen_by_the_next_command(
    ledger: Ledger, desk: Desk
) -> None:
    """Commands that touch two streams, or none of the stock, still decide those after them."""
    move = TransferStock(sku="A", from_location="MAIN", to_location="EAST", quantity=Decimal(6))
    hold = ReserveStock(sku="A", location="MAIN", quantity=Decimal(3))
    done = await desk.do(receive(10), move, hold, issue(2), issue(6, location="EAST"), atomic=False)
    assert [r.refused for r in done.results] == [None, None, None, "insufficient_stock", None]
    assert await ledger.unrestricted(desk.tenant_id, 1, 1) == 4
    assert await ledger.unrestricted(desk.tenant_id, 1, 2) == 0


async def test_closing_finishes_what_waits_and_takes_no_more(ledger: Ledger) -> None:
    """A clean stop loses nothing that was let in."""
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        waiting = [asyncio.create_task(desk.do(receive(1))) for _ in range(50)]
        await asyncio.sleep(0)
        await committer.close()
        assert all(answer.refused is None for answer in await asyncio.gather(*waiting))
        with pytest.raises(LedgerUnavailable):
            await committer.submit(submission(desk.tenant_id, adjust(1)))
    assert await ledger.unrestricted(desk.tenant_id) == 50


async def test_a_writer_with_nothing_to_do_keeps_no_transaction_open(ledger: Ledger) -> None:
    """Its next one is begun with each commit, and given up a moment later when nothing comes."""
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        for _ in range(3):
            await desk.do(receive(1))
        open_ones = (
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            " AND datname = current_database()"
        )
        left = 1
        for _ in range(100):
            left = await ledger.value(desk.tenant_id, open_ones)
            if not left:
                break
            await asyncio.sleep(0.05)
        assert left == 0
        assert (await desk.do(receive(1))).refused is None
