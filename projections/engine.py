"""The engine: installs the projections, and runs the inline ones in the append transaction."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ledger.domain.decision import RecordedEvent
from projections import order_queries, stock_queries
from projections.aliases import Aliases, find_aliases
from projections.books import Books
from projections.categories import Categories
from projections.customers import Customers, subjects_of
from projections.demand import Demand
from projections.import_batches import ImportBatches
from projections.integration import Integration
from projections.listings import Listings
from projections.locations import Locations, active_locations
from projections.log_reading import head_position, set_tenant, tenant_ids
from projections.lots import Lots
from projections.orders import Orders
from projections.price_tiers import PriceTiers
from projections.products import Products, variants_of
from projections.projection import SCHEMA, Connection, Projection, protection
from projections.purchase_orders import PurchaseOrders
from projections.sales import Sales
from projections.serials import Serials, serials_at
from projections.star import Star
from projections.star_views import create_views, drop_views
from projections.stock_by_day import StockByDay
from projections.stock_history import StockHistory
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
    StockHistory(),
    Sales(),
    Valuation(),
    Demand(),
    Star(),
    WebhookMessages(),
)


class Differing(NamedTuple):
    """How the installed projections differ from a release's.

    ``changed`` are to be built: new ones, and those of another version. ``retired`` are names that
    the release does not have. ``tables`` are the live tables of both.
    """

    changed: Sequence[Projection]
    retired: Sequence[str]
    tables: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.changed or self.retired)

    def __str__(self) -> str:
        return ", ".join([*(projection.name for projection in self.changed), *self.retired])


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
        versions = ",".join(sorted(f"{p.name} {p.version}" for p in self.inline))
        self.models = hashlib.sha256(versions.encode()).hexdigest()[:16]
        """Names the inline projections' versions; see `ledger.store.Head`."""

    @property
    def projections(self) -> tuple[Projection, ...]:
        """All of them, inline ones first."""
        return (*self.inline, *self.following)

    @property
    def names_following(self) -> list[str]:
        """The names of those that have a checkpoint of their own."""
        return [projection.name for projection in self.following]

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

    async def open_orders(
        self, connection: Connection, tenant_id: int, customer_id: int, limit: int
    ) -> Sequence[int]:
        """Return the ids of a customer's orders that are neither fulfilled nor cancelled."""
        return await order_queries.open_orders(connection, tenant_id, customer_id, limit)

    async def subjects_of(
        self,
        connection: Connection,
        tenant_id: int,
        customers: Sequence[int],
        orders: Sequence[int],
    ) -> tuple[Mapping[int, str], Mapping[int, str]]:
        """Return whose keys seal what is said of customers and of their orders, by id."""
        return await subjects_of(connection, tenant_id, customers, orders)

    def ddl(self) -> str:
        """Return the statements that create every projection's tables, for reading."""
        return "\n".join(projection.ddl(SCHEMA) for projection in self.projections)

    async def install(self, connection: Connection) -> list[str]:
        """Create what is missing while no log has events, as the owner, in a transaction.

        Return the names created. Where there are events, what is missing or of another version is
        built beside the live tables instead (`projections.deployment`). Nothing to do is no work.
        """
        await connection.execute(_PREPARE)
        differing = await self.differing(connection, lock=True)
        if not differing:
            if await connection.fetchval(_MODELS) != self.models:
                await self.record_installed(connection, (), ())
            await create_views(connection)
            return []
        for tenant_id in await tenant_ids(connection):
            await set_tenant(connection, tenant_id)
            if await head_position(connection, tenant_id, lock=True):
                return []
        await drop_views(connection)
        for table in differing.tables:
            await connection.execute(f"DROP TABLE {SCHEMA}.{table}")
        for projection in differing.changed:
            await connection.execute(projection.ddl(SCHEMA))
        names = [projection.name for projection in differing.changed]
        await self.record_installed(connection, names, differing.retired)
        await create_views(connection)
        return names

    async def differing(self, connection: Connection, *, lock: bool = False) -> Differing:
        """Return how the installed projections differ from these; false where they do not."""
        rows = await connection.fetch(_READ_INSTALLED + (" FOR UPDATE" if lock else ""))
        present = {row["name"]: row for row in rows}
        changed = [
            projection
            for projection in self.projections
            if projection.name not in present
            or present[projection.name]["version"] != projection.version
        ]
        retired = [name for name in present if name not in self._by_name]
        gone = [*(p.name for p in changed if p.name in present), *retired]
        return Differing(
            changed, retired, [table for name in gone for table in present[name]["tables"]]
        )

    async def record_installed(
        self, connection: Connection, installed: Sequence[str], retired: Sequence[str]
    ) -> None:
        """Note what is installed now, in every head too: whoever appends by others is fenced off.

        The caller's transaction holds all heads, or there is nothing in any log.
        """
        for name in installed:
            projection = self.named(name)
            await connection.execute(
                _INSTALLED, projection.name, projection.version, list(projection.tables)
            )
        await connection.execute(
            "DELETE FROM projections.installed WHERE name = ANY ($1::text[])", retired
        )
        await connection.execute(_SET_MODELS, self.models)
        for tenant_id in await tenant_ids(connection):
            await set_tenant(connection, tenant_id)
            await connection.execute(
                "UPDATE ledger.head SET models = $2 WHERE tenant_id = $1 AND models <> $2",
                tenant_id,
                self.models,
            )
            await connection.execute(
                "DELETE FROM projections.checkpoint "
                "WHERE tenant_id = $1 AND name = ANY ($2::text[])",
                tenant_id,
                retired,
            )
        await connection.execute("SELECT set_config('ledger.tenant', '', true)")


_READ_INSTALLED: Final = "SELECT name, version, tables FROM projections.installed"
_MODELS: Final = "SELECT ledger.installed_models()"
_SET_MODELS: Final = """
INSERT INTO ledger.read_models (models) VALUES ($1)
ON CONFLICT (singleton) DO UPDATE SET models = excluded.models
"""

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
