"""The append's compare-and-set on the head, alone: no key of a table would refuse these."""

from collections.abc import Callable

import pytest

from ledger import store
from ledger.store import Head, Pool, tenant_transaction
from projections.engine import Engine
from schemas.supplier import SupplierRegistered
from tests.support.written_log import META, Scribe


def _ahead(head: Head) -> Head:
    return head._replace(position=head.position + 5)


def _other_root(head: Head) -> Head:
    return head._replace(root=bytes(32))


@pytest.mark.parametrize("belief", [_ahead, _other_root], ids=["a later position", "another root"])
async def test_an_append_to_another_head_than_the_one_there_does_nothing(
    pool: Pool, tenant_id: int, belief: Callable[[Head], Head]
) -> None:
    """A writer that believes in another head appends nothing, and is told so.

    The stream is new and the position free, so that only the comparison stands in its way.
    """
    scribe = Scribe(pool, Engine([], []), tenant_id)
    await scribe.write(("supplier-1", SupplierRegistered(supplier_id=1, name="Acme")))
    async with tenant_transaction(pool, tenant_id) as connection:
        head = await store.lock_head(connection, tenant_id)
        expected = belief(head)
        row = store.EventRow(
            position=expected.position + 1,
            stream="supplier-2",
            version=1,
            type="SupplierRegistered",
            schema_version=1,
            data='{"supplier_id":2,"name":"Bell"}',
            meta=META,
            effective_at=scribe.now,
            recorded_at=scribe.now,
            leaf_hash=bytes(32),
        )
        after = expected._replace(position=expected.position + 1)
        moved = await store.append(
            connection, tenant_id, expected=expected, head=after, events=store.NewEvents.of([row])
        )
    assert not moved
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await store.read_head(connection, tenant_id) == head
        assert await connection.fetchval("SELECT count(*) FROM ledger.event") == 1
