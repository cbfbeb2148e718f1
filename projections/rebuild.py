"""Rebuilding projections from the log, beside the live ones and while these go on.

1. Each tenant's log is folded into tables of a shadow schema (`projections.shadow`).
2. At one position a tenant, the digests of the live and the shadow tables are compared. Where
   they are equal the tables may be swapped. Where they differ, the live table was wrong, or the
   fold has changed without a new version: nothing is swapped, unless it was asked for; and then
   only if a third copy, folded the ordinary way, agrees with the shadow at that position.
3. The tenants' heads are held, so that nobody appends; the shadow catches up; readers that
   began before it had are waited for, since an old snapshot would show them a table not yet
   filled; then the tables change places in one transaction.

It needs two connections that log in as the owner.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import structlog

from ledger.errors import UnreadableEvent
from projections.comparing import table_names
from projections.engine import Engine
from projections.log_reading import head_position, set_tenant, tenant_ids
from projections.projection import SCHEMA, Connection, Projection
from projections.shadow import WITNESS, Progress, Shadow, ShadowBusy, digests, shadow_schemas
from projections.swapping import SwapFailed, swap

WITNESS_BATCH_EVENTS: Final = 10_000

Step = Literal["folding", "comparing", "folding again", "swapping"]

log = structlog.get_logger(__name__)


class RebuildFailed(Exception):
    """The rebuilt tables could not be put in place; the live ones are as they were."""


class TableReport(NamedTuple):
    """What became of one table of a tenant: rows compared, at a position, and whether equal."""

    tenant_id: int
    table: str
    position: int
    rows_live: int
    rows_rebuilt: int
    equal: bool


class Report(NamedTuple):
    """What a rebuild did. ``differing`` are the tables that were not as the log says.

    ``swapped`` tells whether the rebuilt tables are in place: not if some differed, unless it was
    asked for.
    """

    events: int
    seconds: float
    tables: Sequence[TableReport]
    swapped: bool

    @property
    def differing(self) -> list[TableReport]:
        return [table for table in self.tables if not table.equal]


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""


def _no_step(step: Step) -> None:
    """Tell nobody."""


async def rebuild(
    reader: Connection,
    writer: Connection,
    engine: Engine,
    names: Sequence[str],
    progress: Progress = _no_progress,
    *,
    replace_different: bool = False,
    on_step: Callable[[Step], None] = _no_step,
) -> Report:
    """Rebuild projections from the log and put them in the place of the live ones.

    Raises LookupError for an unknown name, RebuildFailed when another rebuild runs, when the
    installed tables are of another release, when the log holds an event that cannot be read, when
    readers or views stand in the way of the swap for too long, or when two folds of the log do not
    agree; nothing has changed then.
    """
    projections = [engine.named(name) for name in dict.fromkeys(names)]
    started = time.monotonic()
    try:
        async with shadow_schemas(writer):
            if await engine.differing(writer):
                raise RebuildFailed(
                    "the installed read models are of another release; rebuild with that one"
                )
            shadow = Shadow(reader, writer, projections, progress)
            await shadow.begin()
            on_step("folding")
            await shadow.catch_up(lambda: _live(reader, engine, projections))
            await shadow.analyse()
            on_step("comparing")
            tables = await _compare(reader, engine, shadow)
            differing = [table for table in tables if not table.equal]
            if differing and not replace_different:
                return Report(shadow.folded, time.monotonic() - started, tables, False)
            if differing:
                on_step("folding again")
                await _call_witness(reader, writer, engine, shadow, differing)
            on_step("swapping")
            await swap(reader, shadow, engine)
            return Report(shadow.folded, time.monotonic() - started, tables, True)
    except (ShadowBusy, SwapFailed, UnreadableEvent) as error:
        raise RebuildFailed(str(error)) from error


async def _live(
    reader: Connection, engine: Engine, projections: Sequence[Projection]
) -> dict[tuple[int, str], int]:
    """Return how far the live tables are, in a transaction of its own."""
    async with reader.transaction():
        return await _positions(reader, engine, projections)


async def _positions(
    reader: Connection, engine: Engine, projections: Sequence[Projection]
) -> dict[tuple[int, str], int]:
    """Return how far each projection's live tables are, as the reader's transaction sees them."""
    found: dict[tuple[int, str], int] = {}
    for tenant_id in await tenant_ids(reader):
        await set_tenant(reader, tenant_id)
        head = await head_position(reader, tenant_id)
        rows = await reader.fetch(
            "SELECT name, position FROM projections.checkpoint WHERE tenant_id = $1", tenant_id
        )
        checkpoints: Mapping[str, int] = {row[0]: row[1] for row in rows}
        for projection in projections:
            is_following = engine.is_following(projection)
            found[tenant_id, projection.name] = (
                checkpoints.get(projection.name, 0) if is_following else head
            )
    return found


async def _compare(reader: Connection, engine: Engine, shadow: Shadow) -> list[TableReport]:
    """Compare live and shadow tables, each projection of each tenant at one position.

    The live tables are read in one snapshot; the shadow is brought to the position of it.
    Nobody waits for this.
    """
    names = ", ".join(f"{SCHEMA}.{table}" for table in table_names(shadow.projections))
    async with reader.transaction(isolation="repeatable_read"):
        # Before the snapshot, so that no other swap can come between the two.
        await reader.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
        targets = await _positions(reader, engine, shadow.projections)
        await shadow.fold_to(targets)
        tenants = [tenant_id for tenant_id, _ in targets]
        live, rebuilt = await asyncio.gather(
            digests(reader, SCHEMA, tenants, shadow.projections), shadow.digests(tenants)
        )
    reports: list[TableReport] = []
    for (tenant_id, name), position in targets.items():
        for table in engine.named(name).tables:
            before, after = live[tenant_id, table], rebuilt[tenant_id, table]
            report = TableReport(
                tenant_id, table, position, before.rows, after.rows, before == after
            )
            if not report.equal:
                log.error(
                    "projection_differed",
                    tenant_id=tenant_id,
                    projection=name,
                    position=position,
                    rows=before.rows,
                    reason=f"the live table {table} is not what the log gives",
                )
            reports.append(report)
    return reports


async def _call_witness(
    reader: Connection,
    writer: Connection,
    engine: Engine,
    shadow: Shadow,
    differing: Sequence[TableReport],
) -> None:
    """Fold the log once more for what differed; raise RebuildFailed unless that agrees.

    The witness takes no quick way, and batches of another size.
    """
    tables = {report.table for report in differing}
    projections = [p for p in shadow.projections if not tables.isdisjoint(p.tables)]
    witness = Shadow(
        reader,
        writer,
        projections,
        _no_progress,
        schema=WITNESS,
        quick=False,
        batch_events=WITNESS_BATCH_EVENTS,
    )
    await witness.begin()
    targets = {
        (report.tenant_id, projection.name): shadow.position(report.tenant_id, projection.name)
        for report in differing
        for projection in projections
    }
    await witness.fold_to(targets)
    tenants = [tenant_id for tenant_id, _ in targets]
    mine, theirs = await shadow.digests(tenants), await witness.digests(tenants)
    faults = sorted(
        {table for (tenant_id, table), found in theirs.items() if found != mine[tenant_id, table]}
    )
    if faults:
        raise RebuildFailed(
            f"two folds of the log do not agree on {', '.join(faults)}: this is a fault of this "
            "release, and nothing was changed"
        )
