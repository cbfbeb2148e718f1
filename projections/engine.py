"""The engine: installs the projections, and runs the inline ones in the append transaction."""

from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from ledger.domain.decision import RecordedEvent
from projections import stock_queries
from projections.aliases import Aliases, find_aliases
from projections.books import Books
from projections.categories import Categories
from projections.customers import Customers
from projections.demand import Demand
from projections.import_batches import ImportBatches
from projections.integration import Integration
from projections.listings import Listings
from projections.locations import Locations, active_locations
from projections.log_reading import (
    folded_types,
    head_position,
    of_types,
    read_events,
    set_tenant,
    tenant_ids,
)
from projections.lots import Lots
from projections.orders import Orders
from projections.price_tiers import PriceTiers
from projections.products import Products, variants_of
from projections.projection import SCHEMA, Connection, Projection, protection
from projections.purchase_orders import PurchaseOrders
from projections.sales import Sales
from projections.serials import Serials, serials_at
from projections.stock_by_day import StockByDay
from projections.stock_levels import StockLevels
from projections.suppliers import Suppliers
from projections.valuation import Valuation
from projections.webhook_endpoints import WebhookEndpoints
from projections.webhook_messages import WebhookMessages

INLINE: Final[tuple[Projection, ...]] = (
    StockLevels(),
    Products(),
    Locations(),
    Aliases(),
    Suppliers(),
    Categories(),
    PriceTiers(),
    Customers(),
    ImportBatches(),
    Lots(),
    Serials(),
    Orders(),
    PurchaseOrders(),
    Books(),
    Integration(),
    Listings(),
    WebhookEndpoints(),
)
FOLLOWING: Final[tuple[Projection, ...]] = (
    StockByDay(),
    Sales(),
    Valuation(),
    Demand(),
    WebhookMessages(),
)

log = structlog.get_logger(__name__)


class Engine:
    """The read models of one service. It satisfies `ledger.ports.InlineProjections`.

    An inline projection is written in the transaction that appends, and so is never behind; a
    following one has a checkpoint of its own (`projections.following`).
    """

    def __init__(
        self,
        inline: Sequence[Projection] = INLINE,
        following: Sequence[Projection] = FOLLOWING,
    ) -> None:
        self.inline = tuple(inline)
        self.following = tuple(following)
        self._by_name = {projection.name: projection for projection in (*inline, *following)}

    @property
    def projections(self) -> tuple[Projection, ...]:
        """All of them, inline ones first."""
        return (*self.inline, *self.following)

    def named(self, name: str) -> Projection:
        """Return a projection; raise LookupError, naming those there are, for an unknown name."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise LookupError(f"there is no projection {name!r}; there are: {known}") from None

    def is_following(self, projection: Projection) -> bool:
        """Tell whether a projection has a checkpoint of its own."""
        return projection in self.following

    async def apply(
        self, connection: Connection, tenant_id: int, events: Sequence[RecordedEvent]
    ) -> None:
        """Fold newly appended events into the inline projections, in order."""
        kinds = {type(recorded.event) for recorded in events}
        for projection in self.inline:
            types = projection.event_types
            if kinds <= types:
                await projection.apply(connection, SCHEMA, tenant_id, events)
            elif not kinds.isdisjoint(types):
                mine = [recorded for recorded in events if type(recorded.event) in types]
                await projection.apply(connection, SCHEMA, tenant_id, mine)

    async def find_aliases(
        self, connection: Connection, tenant_id: int, aliases: Sequence[tuple[str, str]]
    ) -> Mapping[tuple[str, str], int]:
        """Return the ids of those of the (kind, folded key) pairs that have one."""
        return await find_aliases(connection, tenant_id, aliases)

    async def stocked_locations(
        self, connection: Connection, tenant_id: int, product_id: int
    ) -> Sequence[int]:
        """Return the locations where a product is on hand, in transit or reserved."""
        return await stock_queries.stocked_locations(connection, tenant_id, product_id)

    async def active_locations(self, connection: Connection, tenant_id: int) -> Sequence[int]:
        """Return the ids of the active locations, in order."""
        return await active_locations(connection, tenant_id)

    async def serials_at(
        self,
        connection: Connection,
        tenant_id: int,
        product_id: int,
        location_id: int,
        status: str,
        limit: int,
    ) -> Sequence[int]:
        """Return the ids of a product's serials at a place and in a status, oldest first."""
        return await serials_at(connection, tenant_id, product_id, location_id, status, limit)

    async def variants_of(
        self, connection: Connection, tenant_id: int, product_id: int, limit: int
    ) -> Sequence[int]:
        """Return the ids of the products in the catalogue that are variants of one."""
        return await variants_of(connection, tenant_id, product_id, limit)

    def ddl(self) -> str:
        """Return the statements that create every projection's tables, for reading."""
        return "\n".join(projection.ddl(SCHEMA) for projection in self.projections)

    async def install(self, connection: Connection) -> list[str]:
        """Create what is missing, as the owner, in a transaction; return the names built.

        A projection that is new to a log with events, or whose version has changed, is folded
        from the log before the transaction ends, while the tenants' heads are held: it is
        complete before anybody sees it. Nothing to do is no work.
        """
        await connection.execute(_PREPARE)
        rows = await connection.fetch(
            "SELECT name, version, tables FROM projections.installed FOR UPDATE"
        )
        present = {row["name"]: row for row in rows}
        missing = [
            projection
            for projection in self.projections
            if projection.name not in present
            or present[projection.name]["version"] != projection.version
        ]
        for projection in missing:
            if (old := present.get(projection.name)) is not None:
                for table in old["tables"]:
                    await connection.execute(f"DROP TABLE {SCHEMA}.{table}")
            await connection.execute(projection.ddl(SCHEMA))
            await connection.execute(
                _INSTALLED, projection.name, projection.version, list(projection.tables)
            )
        if missing:
            await self._build(connection, missing)
        return [projection.name for projection in missing]

    async def _build(self, connection: Connection, missing: Sequence[Projection]) -> None:
        types = folded_types(missing)
        for tenant_id in await tenant_ids(connection):
            await set_tenant(connection, tenant_id)
            head = await head_position(connection, tenant_id, lock=True)
            position = 0
            while batch := await read_events(connection, tenant_id, position, head, types):
                for projection in missing:
                    mine = of_types(batch.events, projection.event_types)
                    if mine:
                        await projection.apply(connection, SCHEMA, tenant_id, mine)
                position = batch.last
            for projection in missing:
                if self.is_following(projection):
                    await connection.execute(
                        MOVE_CHECKPOINT, tenant_id, projection.name, projection.version, head
                    )
            if head:
                names = ", ".join(projection.name for projection in missing)
                log.info("projections_built", tenant_id=tenant_id, projection=names, position=head)
        await connection.execute("SELECT set_config('ledger.tenant', '', true)")


_PREPARE: Final = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
GRANT USAGE ON SCHEMA {SCHEMA} TO stockledger_app;
CREATE TABLE IF NOT EXISTS {SCHEMA}.installed (
    name         text COLLATE "C" PRIMARY KEY,
    version      integer NOT NULL,
    tables       text[] NOT NULL,
    installed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
GRANT SELECT ON {SCHEMA}.installed TO stockledger_app;
DO $$ BEGIN
    IF to_regclass('{SCHEMA}.checkpoint') IS NULL THEN
        CREATE TABLE {SCHEMA}.checkpoint (
            tenant_id       integer NOT NULL,
            name            text COLLATE "C" NOT NULL,
            version         integer NOT NULL,
            position        bigint NOT NULL CHECK (position >= 0),
            parked_at       timestamptz,
            parked_position bigint,
            parked_reason   text,
            PRIMARY KEY (tenant_id, name)
        );
        {protection(SCHEMA, "checkpoint")}
    END IF;
END $$;
"""

_INSTALLED: Final = """
INSERT INTO projections.installed (name, version, tables) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE
SET version = excluded.version, tables = excluded.tables, installed_at = clock_timestamp()
"""

MOVE_CHECKPOINT: Final = """
INSERT INTO projections.checkpoint (tenant_id, name, version, position) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, name) DO UPDATE
SET version = excluded.version, position = excluded.position, parked_at = NULL,
    parked_position = NULL, parked_reason = NULL
"""
