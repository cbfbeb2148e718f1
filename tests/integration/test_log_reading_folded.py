"""The log as those read it who fold little of it: what they do not fold is left out."""

import random
import secrets
from decimal import Decimal
from typing import ClassVar

import pytest

from ledger.errors import UnreadableEvent
from ledger.store import Pool, tenant_transaction
from projections import log_reading
from projections.engine import Engine
from projections.log_reading import BATCH_BYTES_MAX, read_folded
from schemas.common import Event
from schemas.customer import CustomerRegistered
from schemas.stock import StockReceived
from schemas.supplier import SupplierRegistered
from tests.support.written_log import Scribe, Written

RECEIVED = StockReceived(product_id=1, location_id=1, quantity=Decimal(1))
TYPES = frozenset({SupplierRegistered.TYPE, CustomerRegistered.TYPE})


def registered(number: int, size: int = 2) -> Written:
    """Make a supplier whose name has that many letters, which do not get smaller."""
    return f"supplier-{number}", SupplierRegistered(
        supplier_id=number, name=secrets.token_hex(size // 2)
    )


async def read(pool: Pool, tenant_id: int, last: int, limit: int) -> list[tuple[int, list[int]]]:
    """Return each batch from the first event on: where it ends, and its positions."""
    batches: list[tuple[int, list[int]]] = []
    async with tenant_transaction(pool, tenant_id) as connection:
        after = 0
        while batch := await read_folded(connection, tenant_id, after, last, TYPES, limit):
            assert after < batch.last <= last, "it goes on, and not too far"
            batches.append((batch.last, [event.position for event in batch.events]))
            after = batch.last
    return batches


async def test_only_what_is_folded_counts(pool: Pool, tenant_id: int) -> None:
    """To how many events, and to their size; the first one is taken whatever its size."""
    scribe = Scribe(pool, Engine([], []), tenant_id)
    other = StockReceived(
        product_id=1, location_id=1, quantity=Decimal(1), notes=secrets.token_hex(1024 * 1024)
    )
    for number in range(1, 6):
        await scribe.write(*[("stock-1-1", other)] * 2, registered(number))
    assert await read(pool, tenant_id, 15, 4) == [(12, [3, 6, 9, 12]), (15, [15])]
    await scribe.write(("stock-1-1", other), registered(6, BATCH_BYTES_MAX + 1), registered(7))
    batches = await read(pool, tenant_id, 18, 10)
    assert batches == [(15, [3, 6, 9, 12, 15]), (17, [17]), (18, [18])]


async def test_a_stretch_of_nothing_is_gone_through_by_and_by(
    pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In empty batches, up to the target or to the end of the log, whichever is first."""
    monkeypatch.setattr(log_reading, "SCANNED_EVENTS_MAX", 10)
    scribe = Scribe(pool, Engine([], []), tenant_id)
    await scribe.write(*[("stock-1-1", RECEIVED)] * 25, registered(1), ("stock-1-1", RECEIVED))
    assert await read(pool, tenant_id, 15, 5) == [(10, []), (15, [])]
    assert (await read(pool, tenant_id, 27, 5))[:3] == [(10, []), (20, []), (26, [26])]
    async with tenant_transaction(pool, tenant_id) as connection:
        assert await read_folded(connection, tenant_id, 26, 1000, TYPES) == (27, [])
        assert await read_folded(connection, tenant_id, 27, 1000, TYPES) is None


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("scanned", [1, 7, 1000])
async def test_whatever_the_bounds_every_event_comes_once(
    pool: Pool, tenant_id: int, monkeypatch: pytest.MonkeyPatch, scanned: int, limit: int
) -> None:
    """In order, and none that is not folded."""
    monkeypatch.setattr(log_reading, "SCANNED_EVENTS_MAX", scanned)
    chance = random.Random(scanned + limit)
    scribe = Scribe(pool, Engine([], []), tenant_id)
    entries = [
        registered(number) if chance.random() < 0.2 else ("stock-1-1", RECEIVED)
        for number in range(80)
    ]
    await scribe.write(*entries)
    wanted = [n for n, entry in enumerate(entries, 1) if entry[1] is not RECEIVED]
    batches = await read(pool, tenant_id, 80, limit)
    assert [position for _, positions in batches for position in positions] == wanted
    assert batches[-1][0] == 80


async def test_what_this_release_does_not_know_is_told(pool: Pool, tenant_id: int) -> None:
    """Of our streams, though nobody folds it."""

    class Melted(Event, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = "Melted"

    scribe = Scribe(pool, Engine([], []), tenant_id)
    await scribe.write(("stock-1-1", RECEIVED), ("lamp-1", Melted()), registered(1))
    assert await read(pool, tenant_id, 3, 10) == [(3, [3])]
    await scribe.write(("stock-1-1", Melted()))
    with pytest.raises(UnreadableEvent, match="Melted"):
        await read(pool, tenant_id, 4, 10)
