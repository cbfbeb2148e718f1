"""The books: by which method stock is valued, the zone of "today", and what is closed."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import ClassVar, NamedTuple, cast

from ledger.domain.decision import RecordedEvent
from projections.projection import Columns, Connection, Statements
from schemas.books import (
    BooksConfigured,
    PeriodClosed,
    PeriodReopened,
    ValuationChosen,
    ValuationMethod,
)
from schemas.common import Event

_BOOKS = Columns(
    "valuation_method text",
    "time_zone text",
    "closed_through date null",
    "version bigint",
    "position bigint",
)
_CHOSEN = Columns("product_id bigint", "valuation_method text", "position bigint")

_SQL = Statements(
    configure="""
        INSERT INTO {schema}.books AS b
            (tenant_id, valuation_method, time_zone, closed_through, version, position)
        VALUES ($1, coalesce($2, 'standard'), coalesce($3, 'UTC'), $5, $6, $7)
        ON CONFLICT (tenant_id) DO UPDATE
        SET valuation_method = coalesce($2, b.valuation_method),
            time_zone = coalesce($3, b.time_zone),
            closed_through = CASE WHEN $4 THEN $5 ELSE b.closed_through END,
            version = $6, position = $7
    """,
    choose="""
        INSERT INTO {schema}.books_product (tenant_id, product_id, valuation_method, position)
        VALUES ($1, $2, $3, $4)
        ON CONFLICT (tenant_id, product_id) DO UPDATE
        SET valuation_method = excluded.valuation_method, position = excluded.position
    """,
    unchoose="DELETE FROM {schema}.books_product WHERE tenant_id = $1 AND product_id = $2",
)


class Books:
    """Folds what is said of the books; a product that goes with them has no row of its own."""

    name: ClassVar[str] = "books"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "books": ("tenant_id",),
        "books_product": ("tenant_id", "product_id"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {BooksConfigured, ValuationChosen, PeriodClosed, PeriodReopened}
    )

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        return _BOOKS.create(schema, "books", self.tables["books"]) + _CHOSEN.create(
            schema, "books_product", self.tables["books_product"]
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write each event, one by one: they are few, a handful in a year."""
        sql = _SQL.of(schema)
        for recorded in events:
            method: str | None = None
            zone: str | None = None
            closes, through = False, None
            match recorded.event:
                case BooksConfigured() as event:
                    method, zone = event.valuation_method, event.time_zone
                case PeriodClosed() | PeriodReopened() as event:
                    closes, through = True, event.through
                case ValuationChosen(product_id=product_id, valuation_method=None):
                    await connection.execute(sql["unchoose"], tenant_id, product_id)
                case ValuationChosen(product_id=product_id, valuation_method=chosen):
                    await connection.execute(
                        sql["choose"], tenant_id, product_id, chosen, recorded.position
                    )
                case other:
                    raise TypeError(f"{self.name} does not fold {type(other).__name__}")
            await connection.execute(
                sql["configure"],
                tenant_id,
                method,
                zone,
                closes,
                through,
                recorded.version,
                recorded.position,
            )


class BooksInForce(NamedTuple):
    """How the books are kept. Nothing said: standard cost, UTC, all open, version 0."""

    valuation_method: ValuationMethod = "standard"
    time_zone: str = "UTC"
    closed_through: date | None = None
    version: int = 0


async def books_of(connection: Connection, tenant_id: int) -> BooksInForce:
    """Return how a tenant's books are kept."""
    row = await connection.fetchrow(
        """
        SELECT valuation_method, time_zone, closed_through, version
        FROM projections.books WHERE tenant_id = $1
        """,
        tenant_id,
    )
    return BooksInForce(*row) if row else BooksInForce()


async def chosen_method(
    connection: Connection, tenant_id: int, product_id: int
) -> ValuationMethod | None:
    """Return the method that was chosen for one product, None for the books' own."""
    found: str | None = await connection.fetchval(
        """
        SELECT valuation_method FROM projections.books_product
        WHERE tenant_id = $1 AND product_id = $2
        """,
        tenant_id,
        product_id,
    )
    return cast("ValuationMethod | None", found)
