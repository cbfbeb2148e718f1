"""Invariant I3: one command, one effect, however often and wherever it is sent."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from ledger.errors import IdempotencyMismatch
from ledger.submission import Idempotency, Item, Outcome, Rendered
from schemas.common import Command
from schemas.product import RegisterProduct
from schemas.stock import SetStock
from tests.proof.rig import (
    Desk,
    Ledger,
    adjust,
    answer,
    issue,
    receive,
    render,
    render_item,
    request,
    submission,
)


async def _desk(ledger: Ledger, committer: object) -> Desk:
    desk = Desk(committer, await ledger.new_tenant())  # type: ignore[arg-type]
    await desk.shop()
    return desk


async def test_the_same_request_again_gets_the_same_bytes_and_no_second_effect(
    ledger: Ledger,
) -> None:
    """In the same process, and in another one that knows nothing of the first."""
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        first = await desk.do(receive(5), key="k")
        await desk.do(receive(1))
        again = await desk.do(receive(5), key="k")
    async with ledger.committer() as other:
        elsewhere = await Desk(other, desk.tenant_id).do(receive(5), key="k")
    assert not first.replayed
    for replay in (again, elsewhere):
        assert replay.replayed
        assert (replay.status, replay.body, replay.position) == first[:1] + first[2:4]
    assert await ledger.unrestricted(desk.tenant_id) == 6


async def test_large_requests_and_responses_are_kept_exactly(ledger: Ledger) -> None:
    """What is compressed comes back byte for byte."""
    commands = [receive(1, notes=f"line {n}") for n in range(300)]
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        first = await desk.do(*commands, key="large")
        again = await desk.do(*commands, key="large")
    assert (again.body, again.replayed) == (first.body, True)
    kept = await ledger.rows(desk.tenant_id, "SELECT * FROM ledger.idempotency")
    assert kept[0]["request_compressed"]
    assert kept[0]["response_compressed"]


async def test_another_request_under_the_same_key_is_refused_and_told_what_differs(
    ledger: Ledger,
) -> None:
    """Whether the first is committed, or still on its way in the same group."""
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        await desk.do(receive(5), key="k")
        with pytest.raises(IdempotencyMismatch) as mismatch:
            await desk.do(receive(6, notes="more"), key="k")
        assert mismatch.value.differing == ["notes", "quantity"]
        with pytest.raises(IdempotencyMismatch) as mismatch:
            await desk.do(
                receive(5), idempotency=Idempotency("k", request(receive(5), "/elsewhere"))
            )
        assert mismatch.value.differing == ["method or path"]
        answers = await asyncio.gather(
            desk.do(receive(10), key="new"),
            desk.do(receive(20), key="new"),
            desk.do(receive(100)),
            return_exceptions=True,
        )
    assert isinstance(answers[1], IdempotencyMismatch)
    assert not isinstance(answers[0], BaseException)
    assert not isinstance(answers[2], BaseException)
    assert await ledger.unrestricted(desk.tenant_id) == 115


async def test_spacing_and_order_of_members_make_no_other_request(ledger: Ledger) -> None:
    """Two bodies that are the same JSON are the same request."""
    body = msgspec.json.encode(receive(5))
    reordered = msgspec.json.format(
        msgspec.json.encode(dict(reversed(msgspec.json.decode(body).items())))
    )
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        await desk.do(receive(5), idempotency=Idempotency("k", b"POST /x\n" + body))
        again = await desk.do(receive(5), idempotency=Idempotency("k", b"POST /x\n" + reordered))
    assert again.replayed
    assert await ledger.unrestricted(desk.tenant_id) == 5


@pytest.mark.parametrize("processes", [1, 2])
async def test_twins_in_flight_get_one_result(ledger: Ledger, processes: int) -> None:
    """Sent many times at once, to one process or to two: one effect, and the same answer to all."""
    async with ledger.committer() as first, ledger.committer() as second:
        desk = await _desk(ledger, first)
        other = Desk(second, desk.tenant_id) if processes == 2 else desk
        for round_number in range(5):
            twins = [
                asyncio.create_task(place.do(receive(1), key=f"twin {round_number}"))
                for place in (desk, other)
                for _ in range(8)
            ]
            others = [asyncio.create_task(place.do(receive(100))) for place in (desk, other)]
            answers = await asyncio.gather(*twins)
            await asyncio.gather(*others)
            assert len({(a.status, a.body, a.position) for a in answers}) == 1
            assert sum(not a.replayed for a in answers) == 1
    assert await ledger.unrestricted(desk.tenant_id) == 5 * 201


async def test_a_refusal_is_not_kept_so_the_key_may_succeed_later(ledger: Ledger) -> None:
    """A refusal writes nothing: the same request is decided anew when it comes again."""
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        assert (await desk.do(issue(5), key="k")).refused == "insufficient_stock"
        await desk.do(receive(5))
        done = await desk.do(issue(5), key="k")
        assert (done.refused, done.replayed) == (None, False)
        assert (await desk.do(issue(5), key="k")).replayed
    assert await ledger.unrestricted(desk.tenant_id) == 0


async def test_what_is_kept_may_hide_a_secret(ledger: Ledger) -> None:
    """The replay shows ``body_kept`` where the response had shown a secret."""

    def show_once(outcomes: Sequence[Outcome]) -> Rendered:
        return msgspec.structs.replace(render(outcomes), body_kept=b"[]")

    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        first = await desk.do(receive(1), key="k", render=show_once)
        again = await desk.do(receive(1), key="k", render=show_once)
    assert (len(first.results), again.body, again.replayed) == (1, b"[]", True)


def _items(*commands: tuple[str | None, Command]) -> list[Item]:
    return [
        Item(command, None if key is None else Idempotency(key, request(command, "/item")))
        for key, command in commands
    ]


async def test_items_with_keys_of_their_own_take_effect_once_each(ledger: Ledger) -> None:
    """Across requests, twice within one, and next to items without a key."""
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)

        async def send(*commands: tuple[str | None, Command], atomic: bool = False) -> list:  # type: ignore[type-arg]
            made = submission(desk.tenant_id, atomic=atomic, render_item=render_item)
            made = msgspec.structs.replace(made, items=_items(*commands))
            return list(answer(await committer.submit(made)).results)

        first = await send(("a", receive(1)), (None, receive(10)), ("a", receive(1)))
        assert [bool(r.positions) for r in first] == [True, True, False]
        assert msgspec.json.decode(first[2].replay)["positions"] == list(first[0].positions)
        second = await send(("a", receive(1)), ("b", receive(100)), ("a", receive(2)))
        assert [r.replay is not None for r in second] == [True, False, False]
        assert second[2].refused == "idempotency_key_reused"
        # In an atomic request that is refused, no key is used up.
        third = await send(("c", receive(1000)), ("d", issue(10**6)), atomic=True)
        assert third[1].refused == "insufficient_stock"
        fourth = await send(("c", receive(1000)))
        assert len(fourth[0].positions) == 1
    assert await ledger.unrestricted(desk.tenant_id) == 1111


async def test_the_key_is_in_the_transaction_of_its_events(ledger: Ledger) -> None:
    """As many keys as effects at every commit, and each key's position is its effect's."""
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        await asyncio.gather(*(desk.do(adjust(1), key=f"k{n}") for n in range(100)))
    rows = await ledger.rows(
        desk.tenant_id,
        "SELECT i.key, e.meta->>'idempotency_key' AS named FROM ledger.idempotency i"
        " JOIN ledger.event e USING (tenant_id, position)",
    )
    assert len(rows) == 100
    assert all(row["key"] == row["named"] for row in rows)
    assert await ledger.unrestricted(desk.tenant_id) == Decimal(100)


async def test_a_repeated_request_that_would_now_be_refused_gets_its_first_answer(
    ledger: Ledger,
) -> None:
    """In a process that does not remember the key, too: it is asked for before a refusal.

    The last piece is sold, the SKU is taken, the version has moved on, the stock is already
    what it is set to: by the very request that comes again.
    """
    register = RegisterProduct(name="B", sku="B", base_price=Decimal(1))
    last = SetStock(sku="A", location="MAIN", quantity=Decimal(3))
    requests: list[tuple[str, Command, dict[str, Any]]] = [
        ("sell", issue(1), {}),
        ("register", register, {}),
        ("if match", receive(5), {"expected_version": 2}),
        ("set", last, {}),
    ]
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        await desk.do(receive(1))
        first = [await desk.do(command, key=key, **more) for key, command, more in requests]
    assert [answer.refused for answer in first] == [None] * 4
    async with ledger.committer() as other:
        elsewhere = Desk(other, desk.tenant_id)
        again = await asyncio.gather(
            elsewhere.do(issue(99)),
            *(elsewhere.do(command, key=key, **more) for key, command, more in requests),
        )
    assert again[0].refused == "insufficient_stock"
    assert [answer.body for answer in again[1:]] == [answer.body for answer in first]
    assert all(answer.replayed for answer in again[1:])
    assert await ledger.unrestricted(desk.tenant_id) == 3


async def test_a_repeated_atomic_batch_of_keyed_items_replays_those_that_are_done(
    ledger: Ledger,
) -> None:
    """Though another item of the batch is refused now, and the process is another one."""
    sold, refused = ("sold", issue(1)), ("refused", issue(10**6))
    async with ledger.committer() as committer:
        desk = await _desk(ledger, committer)
        await desk.do(receive(2))
        made = submission(desk.tenant_id, render_item=render_item)
        await committer.submit(msgspec.structs.replace(made, items=_items(sold)))
    async with ledger.committer() as other:
        made = msgspec.structs.replace(made, items=_items(sold, refused))
        results = answer(await other.submit(made)).results
    assert results[0].replay is not None
    assert results[1].refused == "insufficient_stock"
    assert await ledger.unrestricted(desk.tenant_id) == 1
