"""The projection of links to other systems and of divergences."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from ledger.aliases import EXTERNAL_ITEM, EXTERNAL_STORE, external_alias
from ledger.store import Pool, tenant_transaction
from projections.aliases import find_aliases
from projections.engine import Engine
from schemas.common import Event
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
    SupplierLinked,
)
from tests.support.written_log import Scribe

ENGINE = Engine()


@pytest.fixture
def scribe(pool: Pool, tenant_id: int) -> Scribe:
    """An empty log with its projections."""
    return Scribe(pool, ENGINE, tenant_id)


async def links(scribe: Scribe) -> set[tuple[Any, ...]]:
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        rows = await connection.fetch(
            "SELECT system, kind, target_id, external_id, unit FROM projections.external_link"
        )
    return {tuple(row) for row in rows}


def item(product_id: int, external_id: str, unit: str | None = None) -> tuple[str, Event]:
    return f"link-mipos-item-{product_id}", ItemLinked(
        system="mipos", external_id=external_id, product_id=product_id, unit=unit
    )


def no_item(product_id: int, external_id: str) -> tuple[str, Event]:
    return f"link-mipos-item-{product_id}", ItemUnlinked(
        system="mipos", external_id=external_id, product_id=product_id
    )


async def test_a_link_is_what_was_last_said_and_an_ended_one_is_gone(scribe: Scribe) -> None:
    await scribe.write(
        ("link-mipos-store-3", StoreLinked(system="mipos", external_id="17", location_id=3)),
        ("link-woocommerce-store-3", StoreLinked(
            system="woocommerce", external_id="17", location_id=3)),
        ("link-mipos-supplier-2", SupplierLinked(
            system="mipos", external_id="s", supplier_id=2)),
        item(7, "a"),
        item(7, "a", "box"),
        item(8, "b"),
        no_item(8, "b"),
        item(9, "b"),
    )  # fmt: skip
    expected = {
        ("mipos", "store", 3, "17", None),
        ("woocommerce", "store", 3, "17", None),
        ("mipos", "supplier", 2, "s", None),
        ("mipos", "item", 7, "a", "box"),
        ("mipos", "item", 9, "b", None),
    }
    assert await links(scribe) == expected
    ended = StoreUnlinked(system="mipos", external_id="17", location_id=3)
    await scribe.write(("link-mipos-store-3", ended), no_item(7, "a"))
    assert await links(scribe) == {
        row for row in expected if row[:3] not in {("mipos", "store", 3), ("mipos", "item", 7)}
    }
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        store = external_alias(EXTERNAL_STORE, "mipos", "17")
        other = external_alias(EXTERNAL_STORE, "woocommerce", "17")
        known = external_alias(EXTERNAL_ITEM, "mipos", "b")
        found = await find_aliases(connection, scribe.tenant_id, [store, other, known])
    assert found == {other: 3, known: 9}


async def test_each_divergence_is_a_row(scribe: Scribe) -> None:
    diverged = StockDivergenceDetected(
        system="mipos",
        product_id=7,
        location_id=3,
        external_id="a",
        on_hand=Decimal("12.47"),
        reported=Decimal("12.44"),
        difference=Decimal("-0.03"),
        reported_at=datetime(2020, 5, 30, tzinfo=UTC),
    )
    await scribe.write(("divergence-7-3", diverged), ("divergence-7-3", diverged))
    await scribe.write(("divergence-7-3", diverged))
    async with tenant_transaction(scribe.pool, scribe.tenant_id) as connection:
        rows = await connection.fetch(
            "SELECT position, on_hand, reported, difference FROM projections.stock_divergence"
            " ORDER BY position"
        )
    figures = (Decimal("12.47"), Decimal("12.44"), Decimal("-0.03"))
    assert [tuple(row) for row in rows] == [(position, *figures) for position in (1, 2, 3)]


@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 2, 2]])
async def test_a_fold_in_batches_of_any_size_gives_the_same_rows(
    scribe: Scribe, sizes: list[int]
) -> None:
    """The engine folds each write in one batch; here the same events come in several writes."""
    events = [
        item(1, "a"), no_item(1, "a"), item(2, "a"), item(2, "a", "box"), no_item(2, "a"),
        item(1, "b"), item(3, "a"),
    ]  # fmt: skip
    for size in sizes:
        batch, events = events[:size], events[size:]
        await scribe.write(*batch)
    assert await links(scribe) == {
        ("mipos", "item", 1, "b", None),
        ("mipos", "item", 3, "a", None),
    }
