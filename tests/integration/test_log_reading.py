"""The log as projections read it: what a batch may hold."""

import secrets

from ledger.store import Pool, tenant_transaction
from projections.engine import Engine
from projections.log_columns import read_columns
from projections.log_reading import BATCH_BYTES_MAX, READ_BATCH, read_events
from schemas.supplier import SupplierRegistered
from tests.support.written_log import Scribe

TYPES = frozenset({SupplierRegistered.TYPE})


async def _read(pool: Pool, tenant_id: int, last: int) -> list[list[int]]:
    """Return the positions of each batch from the first event on."""
    batches: list[list[int]] = []
    async with tenant_transaction(pool, tenant_id) as connection:
        position = 0
        while batch := await read_events(connection, tenant_id, position, last, TYPES):
            batches.append([event.position for event in batch.events])
            position = batch.last
    return batches


async def _read_columns(pool: Pool, tenant_id: int, last: int) -> list[list[int]]:
    """Return the same, where the log is read in columns."""
    batches: list[list[int]] = []
    async with tenant_transaction(pool, tenant_id) as connection:
        position = 0
        while stretch := await read_columns(
            connection, tenant_id, position, last, TYPES, READ_BATCH
        ):
            batches.append([n for column in stretch.columns for n in column.positions.tolist()])
            position = stretch.last
    return batches


async def test_large_events_make_batches_small_and_none_is_left_out(
    pool: Pool, tenant_id: int
) -> None:
    """Twenty events of a megabyte come in three batches; one larger than a batch comes alone."""
    scribe = Scribe(pool, Engine([], []), tenant_id)
    # Random digits: the database does not make them smaller.
    sizes = [BATCH_BYTES_MAX + 1, *[1024 * 1024] * 20, 10]
    for number, size in enumerate(sizes, 1):
        registered = SupplierRegistered(supplier_id=number, name=secrets.token_hex(size // 2))
        await scribe.write((f"supplier-{number}", registered))
    batches = await _read(pool, tenant_id, len(sizes))
    assert batches == [[1], *(list(range(n, n + 7)) for n in (2, 9, 16))]
    assert await _read_columns(pool, tenant_id, len(sizes)) == batches


async def test_small_events_fill_a_batch(pool: Pool, tenant_id: int) -> None:
    """The bound on the size is none on how many there are."""
    scribe = Scribe(pool, Engine([], []), tenant_id)
    await scribe.write(
        *((f"supplier-{n}", SupplierRegistered(supplier_id=n, name="A")) for n in range(1, 2001))
    )
    assert await _read(pool, tenant_id, 2000) == [list(range(1, 2001))]
    assert await _read_columns(pool, tenant_id, 2000) == [list(range(1, 2001))]
