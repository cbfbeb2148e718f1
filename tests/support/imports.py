"""A ledger to import into, and what tests want to know of it afterwards."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from api.house import Submitter
from api.imports.catalogue import RecordTranslator, known_headings
from api.imports.order_lines import (
    KNOWN_HEADINGS,
    REQUIRED,
    OpeningPolicy,
    OrderLineOptions,
    OrderLineTranslator,
)
from api.imports.refused import RefusedFile
from api.imports.runner import CHUNK_LINES, ImportReport, ImportRunner
from api.imports.tables import Table
from api.imports.translation import Translator, choose_columns
from deploy.address import DatabaseAddress
from deploy.wiring import House
from ledger.errors import OutcomeUnknown
from ledger.sealing import open_text, subjects_in
from ledger.store import tenant_transaction
from ledger.submission import Reply, Submission
from tests.support.postgres import create_tenant

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


class Interrupted(BaseException):
    """Stands for what kills a run: not an Exception, so that nothing carries on after it."""


class KilledAfter:
    """A committer whose client dies once so many submissions have been committed."""

    def __init__(self, committer: Submitter, submissions: int) -> None:
        self._committer = committer
        self._left = submissions

    async def submit(self, submission: Submission) -> Reply:
        """Commit; then die without telling, when it is time."""
        reply = await self._committer.submit(submission)
        self._left -= 1
        if self._left == 0:
            raise Interrupted
        return reply


class LosingAnswers:
    """A committer that commits every third submission and cannot say so."""

    def __init__(self, committer: Submitter) -> None:
        self._committer = committer
        self._count = 0

    async def submit(self, submission: Submission) -> Reply:
        """Commit, and lose the answer to the third, sixth, ninth."""
        reply = await self._committer.submit(submission)
        self._count += 1
        if self._count % 3 == 0:
            raise OutcomeUnknown
        return reply


@dataclass(frozen=True)
class Importing:
    """A service to import into, without HTTP."""

    house: House
    address: DatabaseAddress

    async def new_tenant(self) -> int:
        """Make an empty tenant."""
        return await create_tenant(self.address)

    async def take_in(
        self,
        tenant_id: int,
        table: Table,
        translator: Translator,
        *,
        committer: Any = None,
        refused: Path | None = None,
        chunk_lines: int = CHUNK_LINES,
    ) -> ImportReport:
        """Run an import from its first reading to its end."""
        for _ in translator.survey():
            pass
        runner = ImportRunner(
            committer or self.house.committer, self.house.pool, tenant_id, chunk_lines=chunk_lines
        )
        if refused is None:
            return await runner.run(table, translator)
        with RefusedFile(refused, table.columns) as file:
            return await runner.run(table, translator, file)

    async def fetch(self, tenant_id: int, statement: str, *arguments: object) -> Sequence[Any]:
        """Read as the service's own role."""
        async with tenant_transaction(self.house.pool, tenant_id) as connection:
            return await connection.fetch(statement, *arguments)

    async def opened(self, tenant_id: int, row: Iterable[Any]) -> tuple[Any, ...]:
        """Return a row with what is personal in it opened, as a reply would show it."""
        values = tuple(row)
        texts = "".join(value for value in values if isinstance(value, str))
        keys = await self.house.personal.keys(tenant_id, subjects_in(texts.encode()))
        return tuple(
            open_text(value, keys) if isinstance(value, str) else value for value in values
        )

    async def position(self, tenant_id: int) -> int:
        """Return the log's last position."""
        (row,) = await self.fetch(tenant_id, "SELECT position FROM ledger.head")
        return row[0]

    async def history(self, tenant_id: int) -> Sequence[tuple[Any, ...]]:
        """Return all of the log but when it was recorded, and its hashes, which depend on it."""
        rows = await self.fetch(
            tenant_id,
            """
            SELECT position, stream, version, type, data::text,
                   CASE WHEN stream LIKE 'stock-%' THEN effective_at END
            FROM ledger.event ORDER BY position
            """,
        )
        return [tuple(row) for row in rows]

    async def on_hand(self, tenant_id: int) -> dict[str, Decimal]:
        """Return what is on hand of each SKU, folded, by the read model."""
        rows = await self.fetch(
            tenant_id,
            """
            SELECT lower(p.sku), sum(l.unrestricted + l.quarantine)
            FROM projections.stock_level l JOIN projections.product p USING (product_id)
            GROUP BY 1
            """,
        )
        return dict(map(tuple, rows))


def order_lines(path: Path, opening: OpeningPolicy = "cover") -> tuple[Table, OrderLineTranslator]:
    """Open a file of order lines of a shop in London."""
    table = Table(path)
    columns = choose_columns(table, KNOWN_HEADINGS, REQUIRED)
    options = OrderLineOptions(columns=columns, zone=ZoneInfo("Europe/London"), opening=opening)
    return table, OrderLineTranslator(table, options)


def records(
    path: Path, kind: type[RecordTranslator], **options: str
) -> tuple[Table, RecordTranslator]:
    """Open a file of products, suppliers or warehouses."""
    table = Table(path)
    columns = choose_columns(table, known_headings(kind.fields), kind.required)
    return table, kind(table, columns, **options)
