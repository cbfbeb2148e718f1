"""Order lines taken into a real ledger: every line told of, once, whatever happens."""

import asyncio
import csv
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from api.imports.runner import CHUNK_LINES
from deploy.address import DatabaseAddress
from deploy.wiring import House
from ledger.mapper import decode_event
from schemas.import_batch import ImportBatchClosed, ImportChunkRecorded
from tests.support.imports import (
    EXAMPLES,
    Importing,
    Interrupted,
    KilledAfter,
    LosingAnswers,
    order_lines,
)

SAMPLE = EXAMPLES / "order_lines.csv"
RETAIL = "online-retail/online_retail.xlsx"
NO_GOODS = {*("post", "dot", "c2", "d", "m", "s", "b", "bank charges", "amazonfee", "cruk", "pads")}


@pytest.fixture
def importing(house: House, database: DatabaseAddress) -> Importing:
    """A service on a database of the test's own."""
    return Importing(house, database)


async def imported_whole(importing: Importing, path: Path = SAMPLE) -> int:
    """Return a tenant that a file was taken into without trouble, by chunks of 10 lines."""
    tenant_id = await importing.new_tenant()
    await importing.take_in(tenant_id, *order_lines(path), chunk_lines=10)
    return tenant_id


async def test_every_line_is_an_event_or_a_refusal_with_its_reason(
    importing: Importing, tmp_path: Path
) -> None:
    """The report, the batch's events, the read model and the refused file say the same."""
    tenant_id = await importing.new_tenant()
    refused = tmp_path / "refused.csv"
    report = await importing.take_in(
        tenant_id, *order_lines(SAMPLE), refused=refused, chunk_lines=10
    )
    assert report.lines == len(SAMPLE.read_text().splitlines()) - 1
    assert report.lines == report.accepted + report.refused.total()
    events = [
        decode_event(row["type"], row["schema_version"], row["data"])
        for row in await importing.fetch(
            tenant_id,
            "SELECT type, schema_version, data::text FROM ledger.event"
            " WHERE stream = $1 ORDER BY version",
            f"import-{report.batch_id}",
        )
    ]
    chunks = [event for event in events if isinstance(event, ImportChunkRecorded)]
    assert sum(chunk.accepted for chunk in chunks) == report.accepted
    told = Counter(refusal.code for chunk in chunks for refusal in chunk.refusals)
    assert told == report.refused
    closed = events[-1]
    assert isinstance(closed, ImportBatchClosed)
    assert (closed.lines, closed.accepted) == (report.lines, report.accepted)
    rows = list(csv.DictReader(refused.open(newline="")))
    assert Counter(row["reason"] for row in rows) == report.refused
    originals = SAMPLE.read_text().splitlines()
    for row in rows:
        assert row["InvoiceNo"] in originals[int(row["line"]) - 1]
    (batch,) = await importing.fetch(tenant_id, "SELECT * FROM projections.import_batch")
    assert (batch["lines"], batch["accepted"]) == (report.lines, report.accepted)


async def test_returns_and_corrections_have_their_own_accounts(importing: Importing) -> None:
    """What customers brought back lowers what they have; a broken cup is an adjustment."""
    tenant_id = await imported_whole(importing)
    rows = await importing.fetch(
        tenant_id,
        "SELECT sum(customer) AS customer, sum(adjustment) AS adjustment,"
        " sum(unrestricted + supplier + customer + adjustment) AS all FROM projections.stock_level",
    )
    sold = returned = 0
    for row in csv.DictReader(SAMPLE.open(newline="")):
        if row["InvoiceNo"].startswith("C"):
            returned -= int(row["Quantity"])
    moved = await importing.fetch(
        tenant_id, "SELECT sum(quantity) FROM projections.movement WHERE type = 'StockIssued'"
    )
    sold = moved[0][0]
    assert rows[0]["customer"] == sold - returned
    assert rows[0]["adjustment"] == 2
    assert rows[0]["all"] == 0


async def test_the_same_file_again_appends_nothing(importing: Importing, tmp_path: Path) -> None:
    """It is told that it was there, with the same counts and the same refused file."""
    tenant_id = await importing.new_tenant()
    first_file, second_file = tmp_path / "first.csv", tmp_path / "second.csv"
    first = await importing.take_in(tenant_id, *order_lines(SAMPLE), refused=first_file)
    before = await importing.position(tenant_id)
    again = await importing.take_in(tenant_id, *order_lines(SAMPLE), refused=second_file)
    assert again.was_complete
    assert not first.was_complete
    assert not again.appended
    assert await importing.position(tenant_id) == before
    assert (again.accepted, again.refused) == (first.accepted, first.refused)
    assert second_file.read_bytes() == first_file.read_bytes()


@pytest.mark.parametrize("submissions", [1, 2, 4, 7, 8])
async def test_a_run_that_was_killed_goes_on_to_the_same_end(
    importing: Importing, submissions: int, tmp_path: Path
) -> None:
    """Wherever it died: event for event the log of a run that was not."""
    expected = await importing.history(await imported_whole(importing))
    tenant_id = await importing.new_tenant()
    (tmp_path / "out").mkdir()
    killed = KilledAfter(importing.house.committer, submissions)
    with pytest.raises(Interrupted):
        await importing.take_in(
            tenant_id,
            *order_lines(SAMPLE),
            committer=killed,
            chunk_lines=10,
            refused=tmp_path / "out" / "refused.csv",
        )
    assert not list((tmp_path / "out").iterdir())
    report = await importing.take_in(tenant_id, *order_lines(SAMPLE), chunk_lines=10)
    assert await importing.history(tenant_id) == expected
    assert report.chunks_found == submissions - 1


async def test_lost_answers_apply_nothing_twice(importing: Importing) -> None:
    """A commit of unknown outcome is found again, not repeated."""
    expected = await importing.history(await imported_whole(importing))
    tenant_id = await importing.new_tenant()
    committer = LosingAnswers(importing.house.committer)
    await importing.take_in(tenant_id, *order_lines(SAMPLE), committer=committer, chunk_lines=10)
    assert await importing.history(tenant_id) == expected


async def test_two_runs_at_once_record_every_line_once(importing: Importing) -> None:
    """Each chunk is taken in by whichever comes first."""
    expected = await importing.history(await imported_whole(importing))
    tenant_id = await importing.new_tenant()
    reports = await asyncio.gather(
        *(importing.take_in(tenant_id, *order_lines(SAMPLE), chunk_lines=10) for _ in range(2))
    )
    assert await importing.history(tenant_id) == expected
    assert reports[0].accepted == reports[1].accepted
    assert reports[0].refused == reports[1].refused


async def test_without_opening_stock_what_is_not_there_is_refused(importing: Importing) -> None:
    """By the ledger, line by line, and told like any other refusal."""
    tenant_id = await importing.new_tenant()
    covered = await importing.take_in(
        await importing.new_tenant(), *order_lines(SAMPLE), chunk_lines=10
    )
    report = await importing.take_in(tenant_id, *order_lines(SAMPLE, "none"), chunk_lines=10)
    assert report.refused["insufficient_stock"] > 0
    assert covered.refused["insufficient_stock"] == 0
    assert report.lines == report.accepted + report.refused.total()
    assert min((await importing.on_hand(tenant_id)).values()) >= 0


# --- the real shop ----------------------------------------------------------------------


class _Expected:
    """What the file comes to, worked out by other means than the importer's."""

    def __init__(self, path: Path) -> None:
        rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()[1:]
        self.lines = len(rows)
        self.kinds: Counter[str] = Counter()
        changes: defaultdict[str, list[int]] = defaultdict(list)
        for invoice, code, _, quantity, _, _, customer in rows:
            assert isinstance(quantity, float)
            sku = (code if isinstance(code, str) else str(int(code))).lower()  # type: ignore[arg-type]
            if sku in NO_GOODS or sku.startswith("gift_"):
                self.kinds["not_goods"] += 1
                continue
            if quantity > 0:
                self.kinds["issue"] += 1
                changes[sku].append(-int(quantity))
            elif str(invoice).startswith("C") or customer != "":
                self.kinds["return"] += 1
                changes[sku].append(-int(quantity))
            else:
                self.kinds["correction"] += 1
                changes[sku].append(int(quantity))  # thrown away, so below zero
        self.on_hand: dict[str, Decimal] = {}
        self.openings = 0
        for sku, moves in changes.items():
            lowest = total = 0
            for move in moves:
                total += move
                lowest = min(lowest, total)
            self.on_hand[sku] = Decimal(total - lowest)
            self.openings += lowest < 0


@pytest.mark.data
async def test_the_real_shop_adds_up(importing: Importing, test_data: Path, tmp_path: Path) -> None:
    """50,999 lines: counts by reason and stock by SKU as worked out with plain Python.

    The run is killed half-way and goes on: a line told twice or left out there would be seen in
    the counts, which are those of the log.
    """
    path = test_data / RETAIL
    expected = _Expected(path)
    assert expected.lines == 50_999
    tenant_id = await importing.new_tenant()
    killed = KilledAfter(importing.house.committer, 26)
    with pytest.raises(Interrupted):
        await importing.take_in(tenant_id, *order_lines(path), committer=killed)
    half_way = await importing.position(tenant_id)
    refused = tmp_path / "refused.csv"
    report = await importing.take_in(tenant_id, *order_lines(path), refused=refused)
    assert report.chunks_found == 25
    assert 0 < half_way < report.position
    assert report.lines == expected.lines
    assert report.accepted + report.refused.total() == expected.lines
    assert report.refused == Counter(not_goods=expected.kinds["not_goods"])
    events: Counter[str] = Counter()
    for kind, count in await importing.fetch(
        tenant_id, "SELECT type, count(*) FROM ledger.event GROUP BY type"
    ):
        events[kind] = count
    assert events["StockIssued"] == expected.kinds["issue"]
    assert events["StockAdjusted"] == expected.kinds["correction"]
    assert events["StockReceived"] == expected.kinds["return"] + expected.openings
    assert events["ProductRegistered"] == len(expected.on_hand)
    assert events["ImportChunkRecorded"] == -(-expected.lines // CHUNK_LINES)
    assert await importing.on_hand(tenant_id) == expected.on_hand
    with refused.open(newline="") as stream:
        assert sum(1 for _ in csv.reader(stream)) - 1 == report.refused.total()


@pytest.mark.data
async def test_a_killed_run_of_the_real_shop_ends_with_the_log_of_a_whole_one(
    importing: Importing, test_data: Path, tmp_path: Path
) -> None:
    """Event for event, over the shop's first days; the same file again adds nothing."""
    path = first_lines(test_data / RETAIL, tmp_path / "lines.csv", 4_000)
    whole_id, killed_id = await importing.new_tenant(), await importing.new_tenant()
    await importing.take_in(whole_id, *order_lines(path), chunk_lines=200)
    killed = KilledAfter(importing.house.committer, 11)
    with pytest.raises(Interrupted):
        await importing.take_in(killed_id, *order_lines(path), committer=killed, chunk_lines=200)
    rest = await importing.take_in(killed_id, *order_lines(path), chunk_lines=200)
    assert rest.chunks_found == 10
    assert await importing.history(killed_id) == await importing.history(whole_id)
    again = await importing.take_in(killed_id, *order_lines(path), chunk_lines=200)
    assert again.was_complete
    assert await importing.position(killed_id) == rest.position


def first_lines(path: Path, to: Path, count: int) -> Path:
    """Write the first lines of the workbook as CSV."""
    rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(nrows=count + 1)
    with to.open("w", newline="", encoding="utf-8") as stream:
        for row in rows:
            # A whole number is a number of type float in a workbook.
            csv.writer(stream).writerow(
                int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in row
            )
    return to
