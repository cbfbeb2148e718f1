"""Several API processes on one database: one log, as if there were one of them.

Each committer here has a pool and a memory of its own, as it would in a process of its own;
``test_oversell`` runs real processes.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ledger import merkle
from ledger.committer import Committer
from ledger.errors import CredentialRevoked, VersionConflict
from ledger.store import Connection, EventRow, read_after, read_head
from ledger.submission import Outcome
from schemas.access import RecordApiKeyCreated, RevokeApiKey
from schemas.location import ReviseLocation
from schemas.product import ReviseProduct
from tests.proof.rig import Answer, Desk, Ledger, adjust, issue, receive

_SKUS = ("A", "B", "C")


async def read_log(ledger: Ledger, tenant_id: int) -> list[EventRow]:
    """Return a tenant's whole log."""
    async with ledger.pool() as pool, pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SELECT set_config('ledger.tenant', '{tenant_id}', true)")
        return await read_after(connection, tenant_id, 0, 10**6)


async def check_log(ledger: Ledger, tenant_id: int) -> list[EventRow]:
    """Check I2 and the Merkle tree from the stored rows alone; return the log."""
    log = await read_log(ledger, tenant_id)
    assert [row.position for row in log] == list(range(1, len(log) + 1))
    versions: dict[str, int] = {}
    for row in log:
        assert row.version == versions.get(row.stream, 0) + 1, f"{row.stream} at {row.position}"
        versions[row.stream] = row.version
    times = [row.recorded_at for row in log]
    assert times == sorted(times)
    epoch, microsecond = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    leaves = [
        merkle.leaf_hash(
            tenant_id,
            row.position,
            row.stream,
            row.version,
            row.type,
            row.schema_version,
            row.data.encode(),
            row.meta.encode(),
            (row.effective_at - epoch) // microsecond,
            (row.recorded_at - epoch) // microsecond,
        )
        for row in log
    ]
    assert [row.leaf_hash for row in log] == leaves
    async with ledger.pool() as pool, pool.acquire() as connection, connection.transaction():
        await connection.execute(f"SELECT set_config('ledger.tenant', '{tenant_id}', true)")
        head = await read_head(connection, tenant_id)
    assert head.position == len(log)
    assert head.root == root_of(leaves)
    return log


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of RFC 9162's definition, by recursion instead of by a frontier."""
    if len(leaves) < 2:
        return leaves[0] if leaves else merkle.EMPTY_ROOT
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return merkle.node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


async def test_two_committers_write_one_gapless_log_and_lose_no_update(ledger: Ledger) -> None:
    """Both at once on the same few streams: sums, versions, positions and tree are right."""
    async with ledger.committer() as first, ledger.committer() as second:
        desk = Desk(first, await ledger.new_tenant())
        await desk.shop(_SKUS)
        desks = [desk, Desk(second, desk.tenant_id)]
        sums = dict.fromkeys(_SKUS, 0)

        async def client(number: int) -> None:
            dice = random.Random(number)
            for _ in range(40):
                sku, quantity = dice.choice(_SKUS), dice.randint(-5, 6) or 1
                done = await desks[number % 2].do(adjust(quantity, sku))
                if done.refused is None:
                    sums[sku] += quantity
                if dice.random() < 0.05:
                    await asyncio.sleep(0.02)

        await asyncio.gather(*(client(number) for number in range(12)))
    await check_log(ledger, desk.tenant_id)
    for product_id, sku in enumerate(_SKUS, start=1):
        assert await ledger.unrestricted(desk.tenant_id, product_id) == sums[sku]
        assert sums[sku] >= 0


async def test_taking_turns_each_sees_what_the_other_has_done(ledger: Ledger) -> None:
    """A committer that was idle catches up before it decides: stock, names, places, limits."""
    async with ledger.committer() as first, ledger.committer() as second:
        here = Desk(first, await ledger.new_tenant())
        there = Desk(second, here.tenant_id)
        await here.shop()
        for _ in range(20):
            assert (await here.do(receive(1))).refused is None
            assert (await there.do(issue(1))).refused is None
            assert (await there.do(issue(1))).refused == "insufficient_stock"
        revised = ReviseProduct(product_id=1, name="A", sku="Z", base_price=Decimal(1), scale=3)
        assert (await there.do(revised)).refused is None
        assert (await here.do(receive(1, sku="A"))).refused == "product_not_found"
        assert (await here.do(receive(1, sku="Z"))).refused is None
        limit = ReviseLocation(location_id=1, name="MAIN", code="MAIN", stock_limit=Decimal(-5))
        assert (await here.do(limit)).refused is None
        assert (await there.do(issue(6, sku="Z"))).refused is None
        assert (await here.do(issue(1, sku="Z"))).refused == "insufficient_stock"
    await check_log(ledger, here.tenant_id)


async def test_one_of_two_who_read_the_same_version_wins(ledger: Ledger) -> None:
    """If-Match holds across processes."""
    async with ledger.committer() as first, ledger.committer() as second:
        desk = Desk(first, await ledger.new_tenant())
        await desk.shop()
        other = Desk(second, desk.tenant_id)
        await desk.do(receive(1))
        await other.do(receive(1))
        for version in range(2, 12):
            answers = await asyncio.gather(
                *(place.do(receive(1), expected_version=version) for place in (desk, other)),
                return_exceptions=True,
            )
            assert sum(isinstance(answer, Answer) for answer in answers) == 1
            assert sum(isinstance(answer, VersionConflict) for answer in answers) == 1


async def _make_key(ledger: Ledger, desk: Desk, key_id: int) -> None:
    await ledger.administer(
        f"SET ROLE stockledger_owner; SET ledger.tenant = {desk.tenant_id};"
        "INSERT INTO access.api_key (tenant_id, key_id, name, key_prefix, key_hash, permissions,"
        f" created_by, created_at) VALUES ({desk.tenant_id}, {key_id}, 'k', 'p',"
        f" sha256('{desk.tenant_id}.{key_id}'), '{{write}}', 'proof', now())"
    )
    command = RecordApiKeyCreated(key_id=key_id, name="k", key_prefix="p", permissions=("write",))
    assert (await desk.do(command)).refused is None


async def _revoke(desk: Desk, key_id: int) -> Answer:
    async def mark(connection: Connection, outcomes: Sequence[Outcome]) -> None:
        await connection.execute(
            "UPDATE access.api_key SET revoked_at = now() WHERE tenant_id = $1 AND key_id = $2",
            desk.tenant_id,
            key_id,
        )

    return await desk.do(RevokeApiKey(key_id=key_id), side_effect=mark)


async def test_a_revoked_key_is_refused_at_once_by_every_process(ledger: Ledger) -> None:
    """Also by the one that had verified it and has not heard of the revocation."""
    async with ledger.committer() as first, ledger.committer() as second:
        desk = Desk(first, await ledger.new_tenant())
        await desk.shop()
        other = Desk(second, desk.tenant_id)
        await _make_key(ledger, desk, 1)
        for place in (desk, other):
            assert (await place.do(receive(1), credential=("key", 1))).refused is None
        assert (await _revoke(desk, 1)).refused is None
        for place in (other, desk):
            with pytest.raises(CredentialRevoked):
                await place.do(receive(1), credential=("key", 1))
            # One that changes nothing in the log is no way round it either.
            with pytest.raises(CredentialRevoked):
                await place.do(issue(99), credential=("key", 1))
    assert await ledger.unrestricted(desk.tenant_id) == 2


async def test_a_key_revoked_in_the_same_group_ends_there(ledger: Ledger) -> None:
    """What was sent with the key behind its revocation has no effect."""
    async with ledger.committer() as committer:
        desk = Desk(committer, await ledger.new_tenant())
        await desk.shop()
        await _make_key(ledger, desk, 1)
        answers = await asyncio.gather(
            desk.do(receive(1), credential=("key", 1)),
            _revoke(desk, 1),
            desk.do(receive(10), credential=("key", 1)),
            desk.do(receive(100)),
            return_exceptions=True,
        )
    assert isinstance(answers[2], CredentialRevoked)
    assert await ledger.unrestricted(desk.tenant_id) == 101


async def test_a_process_far_behind_starts_afresh(ledger: Ledger) -> None:
    """More than it would catch up with event by event: it forgets, and reads anew."""

    async def bulk(committer: Committer, tenant_id: int, commands: int) -> None:
        done = await Desk(committer, tenant_id).do(*[receive(1)] * commands)
        assert done.refused is None

    async with ledger.committer() as first, ledger.committer() as second:
        desk = Desk(first, await ledger.new_tenant())
        await desk.shop()
        other = Desk(second, desk.tenant_id)
        await other.do(receive(1))
        for _ in range(11):
            await bulk(first, desk.tenant_id, 2000)
        assert (await other.do(issue(22_001))).refused is None
        assert (await desk.do(issue(1))).refused == "insufficient_stock"
    assert await ledger.unrestricted(desk.tenant_id) == 0
