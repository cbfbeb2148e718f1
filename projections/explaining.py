"""Why a figure of a read model is what it is: the events that made it, with running values.

The events that can have made it are folded by the ordinary fold into tables of the session's
temporary schema: up to a point in one go, and the newest of them one at a time, with a look at the
figure after each. So a step is told exactly where the fold changes the figure, whatever the
read model is, and the last step's value is the read model's own.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from projections.explaining_fold import (
    Changes,
    Explanation,
    FigureFold,
    Progress,
)
from projections.figures import Figure, Row
from projections.past import Moment, empty_tables
from projections.projection import Connection
from projections.reach import reach_of

FOLDED_MAX: Final = 20_000
"""How many events a request may have folded; the command line has no such bound."""
WALKED_MAX: Final = 1_000
"""How many events that may have changed a figure a page goes through one at a time."""
STEPS_MAX: Final = 200
_SAVED: Final = "before_explaining"


class Difference(NamedTuple):
    """A figure at two moments, the steps between them, and the rows it is made of."""

    before: Row | None
    after: Row | None
    between: Explanation
    changes: Changes


async def explain(
    connection: Connection,
    tenant_id: int,
    figure: Figure,
    moment: Moment,
    *,
    before: int | None = None,
    limit: int = STEPS_MAX,
    folded_max: int | None = FOLDED_MAX,
    progress: Progress | None = None,
) -> Explanation:
    """Return the newest steps to a figure as it was at a moment, or the newest below ``before``.

    A page may have fewer than ``limit`` steps, even none, and yet lead to older ones: where many
    events might have changed the figure and did not. The connection is in a transaction of the
    tenant's. Raises `TooManyEvents` for ``folded_max``.
    """
    up_to = moment.position if before is None else min(moment.position, before - 1)
    async with _fold(connection, tenant_id, figure, moment, folded_max, progress) as fold:
        walk = limit
        while True:
            made = await fold.step(0, up_to, limit, walk)
            if made.before is None or len(made.steps) >= limit or walk >= WALKED_MAX:
                return made
            # Few of them changed it: look at more, from the beginning.
            walk = min(walk * 8, WALKED_MAX)
            await connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVED}")
            fold.begin_again()


async def diff(
    connection: Connection,
    tenant_id: int,
    figure: Figure,
    start: int,
    moment: Moment,
    *,
    before: int | None = None,
    limit: int = STEPS_MAX,
    page: int = 1,
    rows: int = 50,
    folded_max: int | None = FOLDED_MAX,
    progress: Progress | None = None,
) -> Difference:
    """Return how a figure at position ``start`` became what it is at a later moment.

    The events before ``start`` are bounded by the moment's ``as_of`` as well. Steps are told as
    by `explain`, of those between; none where the whole table is asked for.
    """
    up_to = moment.position if before is None else min(moment.position, before - 1)
    async with _fold(connection, tenant_id, figure, moment, folded_max, progress) as fold:
        await fold.to(start)
        first = await fold.figure()
        await fold.keep()
        if figure.wanted:
            between = await fold.step(start, up_to, limit, WALKED_MAX)
        else:
            between = Explanation((), first, first, None)
        await fold.to(moment.position)
        last = await fold.figure()
        changes = await fold.changes(page, rows)
    return Difference(first, last, between, changes)


async def rows_at(
    connection: Connection, tenant_id: int, figure: Figure, moment: Moment
) -> list[Row]:
    """Return the rows that a figure is made of at a moment, in the order of their key."""
    async with _fold(connection, tenant_id, figure, moment, None, None) as fold:
        await fold.to(moment.position)
        return await fold.rows()


@asynccontextmanager
async def _fold(
    connection: Connection,
    tenant_id: int,
    figure: Figure,
    moment: Moment,
    folded_max: int | None,
    progress: Progress | None,
) -> AsyncGenerator[FigureFold]:
    """Give a fold at the log's beginning; its tables are gone at the end."""
    model = figure.model
    projection = model.projection
    reach = await reach_of(connection, tenant_id, projection, model.table, figure.wanted)
    fold = FigureFold(connection, tenant_id, figure, reach, moment, progress)
    await fold.count(folded_max)
    await empty_tables(connection, [projection])
    # Rolled back at the end: the tables are empty again, and no cursor is left open by a fold.
    await connection.execute(f"SAVEPOINT {_SAVED}")
    yield fold
    await connection.execute(f"ROLLBACK TO SAVEPOINT {_SAVED}; RELEASE SAVEPOINT {_SAVED}")
