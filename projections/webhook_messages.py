"""What webhooks have to tell: one row a message, for as long as somebody subscribes to its topic.

``webhook_subscription`` says from which position to which an endpoint is told of what; a message
is made where an endpoint of any subscription of its topic and format is there at its position.
``webhook_stock`` and ``webhook_fact`` are what messages tell besides their event. Messages are
made deliveries of by `projections.webhook_dispatch`, and are kept as the log is, so that they can
be sent again at any time.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast, get_args

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import BALANCE, Columns, Connection, Statements, rows_as_json
from projections.webhook_facts import (
    Change,
    Fact,
    FactKey,
    Figures,
    Place,
    add_changes,
    changes_of,
    facts_changed,
    facts_told,
)
from projections.webhook_fold import Message, WebhookFold
from projections.webhook_subscriptions import SUBSCRIPTION_EVENTS, Subscriptions
from schemas.common import Event
from schemas.import_batch import ImportBatchClosed, ImportBatchOpened
from schemas.integration import (
    ItemLinked,
    ItemUnlinked,
    StockDivergenceDetected,
    StoreLinked,
    StoreUnlinked,
)
from schemas.location import LocationOpened, LocationRevised
from schemas.order import (
    FulfilmentCancelled,
    OrderCancelled,
    OrderFulfilled,
    OrderFulfilmentStarted,
    OrderLinesCancelled,
    OrderPaid,
    OrderPlaced,
    OrderShipped,
)
from schemas.product import ProductEvent, ProductRegistered, ProductRevised
from schemas.purchase import PurchaseOrderCreated, PurchaseOrderReceived
from schemas.stock import ReservationExtended, StockEvent, TransferExpected

if TYPE_CHECKING:
    from projections.webhook_messages_bulk import WebhookMessagesBulk

_STOCK = Columns(
    "product_id bigint",
    "location_id bigint",
    f"unrestricted {BALANCE}",
    f"quarantine {BALANCE}",
    f"reserved {BALANCE}",
    "changes bigint",
)
_FACT = Columns('kind text COLLATE "C"', 'key text COLLATE "C"', "value text")
_SUBSCRIPTION = Columns(
    "endpoint_id bigint",
    "from_position bigint",
    "to_position bigint null",
    "topics text[]",
    'format text COLLATE "C"',
    'state text COLLATE "C"',
)
_MESSAGE = Columns(
    "position bigint",
    "n smallint",
    'topic text COLLATE "C"',
    'format text COLLATE "C"',
    'item text COLLATE "C"',
    "occurred_at timestamptz",
    "zone text null",
    "data text",
)

_SUMS: Final = ("unrestricted", "quarantine", "reserved", "changes")

_SQL = Statements(
    add=f"""
        INSERT INTO {{schema}}.webhook_stock AS s
        SELECT d.* FROM unnest((SELECT $1::text::{{schema}}.webhook_stock[])) AS d
        ON CONFLICT (tenant_id, product_id, location_id) DO UPDATE
        SET {", ".join(f"{name} = s.{name} + excluded.{name}" for name in _SUMS)}
        RETURNING {_STOCK.listed}
    """,
    places=f"""
        SELECT {_STOCK.listed} FROM {{schema}}.webhook_stock
        WHERE tenant_id = $1 AND product_id = ANY ($2::bigint[])
    """,
    facts="""
        SELECT kind, key, value FROM {schema}.webhook_fact
        WHERE tenant_id = $1 AND (kind, key) IN (SELECT * FROM unnest($2::text[], $3::text[]))
    """,
    keep_facts="""
        INSERT INTO {schema}.webhook_fact (tenant_id, kind, key, value)
        SELECT $1, r.* FROM unnest($2::text[], $3::text[], $4::text[]) AS r
        ON CONFLICT (tenant_id, kind, key) DO UPDATE SET value = excluded.value
    """,
    end_facts="""
        DELETE FROM {schema}.webhook_fact
        WHERE tenant_id = $1 AND (kind, key) IN (SELECT * FROM unnest($2::text[], $3::text[]))
    """,
    open_subscriptions=f"""
        SELECT {_SUBSCRIPTION.listed} FROM {{schema}}.webhook_subscription
        WHERE tenant_id = $1 AND to_position IS NULL
    """,
    keep_subscriptions=f"""
        INSERT INTO {{schema}}.webhook_subscription (tenant_id, {_SUBSCRIPTION.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({_SUBSCRIPTION.recordset})
        ON CONFLICT (tenant_id, endpoint_id, from_position) DO UPDATE
        SET {_SUBSCRIPTION.overwrite(keep={"endpoint_id", "from_position"})}
    """,
    end_subscriptions="""
        DELETE FROM {schema}.webhook_subscription
        WHERE tenant_id = $1 AND endpoint_id = ANY ($2::bigint[])
    """,
    tell=f"""
        INSERT INTO {{schema}}.webhook_message (tenant_id, {_MESSAGE.listed})
        SELECT $1, r.* FROM unnest(
            $2::bigint[], $3::smallint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
            $8::text[], $9::text[]
        ) AS r
    """,
)

STOCK_EVENTS: Final[frozenset[type[Event]]] = frozenset(get_args(StockEvent))
_Any = Any
"""An event whose type the fold looks at."""


class WebhookMessages:
    """Folds what webhooks tell of, and who is told."""

    name: ClassVar[str] = "webhook_messages"
    version: ClassVar[int] = 2
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "webhook_message": ("tenant_id", "position", "n"),
        "webhook_subscription": ("tenant_id", "endpoint_id", "from_position"),
        "webhook_stock": ("tenant_id", "product_id", "location_id"),
        "webhook_fact": ("tenant_id", "kind", "key"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(
        {
            *get_args(StockEvent),
            *get_args(ProductEvent),
            LocationOpened,
            LocationRevised,
            OrderPlaced,
            OrderPaid,
            OrderFulfilmentStarted,
            OrderFulfilled,
            FulfilmentCancelled,
            OrderShipped,
            OrderLinesCancelled,
            OrderCancelled,
            PurchaseOrderCreated,
            PurchaseOrderReceived,
            ImportBatchOpened,
            ImportBatchClosed,
            StoreLinked,
            StoreUnlinked,
            ItemLinked,
            ItemUnlinked,
            StockDivergenceDetected,
            *SUBSCRIPTION_EVENTS,
        }
    ) - {TransferExpected, ReservationExtended}

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables."""
        tables = self.tables
        full = "WITH (fillfactor = 70)"
        return (
            _MESSAGE.create(schema, "webhook_message", tables["webhook_message"])
            + _SUBSCRIPTION.create(schema, "webhook_subscription", tables["webhook_subscription"])
            + _STOCK.create(schema, "webhook_stock", tables["webhook_stock"], full)
            + _FACT.create(schema, "webhook_fact", tables["webhook_fact"])
        )

    def bulk_fold(self, tenant_id: int) -> "WebhookMessagesBulk":
        """Return the quick way into empty tables."""
        # It takes a moment to load: only where it is needed.
        from projections.webhook_messages_bulk import WebhookMessagesBulk

        return WebhookMessagesBulk(tenant_id)

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Add up the stock of the batch; go through it for messages if anybody is interested."""
        sql = _SQL.of(schema)
        rows = await connection.fetch(sql["open_subscriptions"], tenant_id)
        subscriptions = Subscriptions(dict(row) for row in rows)
        kinds = {type(recorded.event) for recorded in events}
        interested = subscriptions.interests or not kinds.isdisjoint(SUBSCRIPTION_EVENTS)
        stock: dict[int, Mapping[Place, Change]] = {}
        sums: dict[Place, list[Any]] = {}
        for recorded in events:
            if type(recorded.event) in STOCK_EVENTS:
                add_changes(sums, recorded.event)
                if interested:
                    stock[recorded.position] = changes_of(recorded.event)
        after = await _write_stock(connection, sql, tenant_id, sums)
        figures: dict[Place, Figures] = {}
        if interested:
            revised = {
                cast(_Any, recorded.event).product_id
                for recorded in events
                if isinstance(recorded.event, ProductRegistered | ProductRevised)
            }
            if revised:
                after += await connection.fetch(sql["places"], tenant_id, list(revised))
            figures = _before(after, sums)
        facts = await _load_facts(connection, sql, tenant_id, events, stock, figures)
        fold = WebhookFold(facts, figures)
        for recorded in events:
            if type(recorded.event) in SUBSCRIPTION_EVENTS:
                subscriptions.add(recorded)
            elif type(recorded.event) not in STOCK_EVENTS:
                fold.add(recorded, {}, subscriptions.interests)
            elif interested and (changes := stock[recorded.position]):
                fold.add(recorded, changes, subscriptions.interests)
        await _write_facts(connection, sql, tenant_id, fold)
        await _write_subscriptions(connection, sql, tenant_id, subscriptions)
        await _write_messages(connection, sql, tenant_id, fold.messages)


def _before(after: Iterable[Any], sums: Mapping[Place, Sequence[Any]]) -> dict[Place, Figures]:
    """Return the figures as they were before the batch, of those that are known after it."""
    found: dict[Place, Figures] = {}
    nothing = (Decimal(0), Decimal(0), Decimal(0), 0)
    for product_id, location_id, *figures in after:
        place = product_id, location_id
        total = sums.get(place, nothing)
        found[place] = Figures(*(now - change for now, change in zip(figures, total, strict=True)))
    return found


async def _write_stock(
    connection: Connection,
    sql: Mapping[str, str],
    tenant_id: int,
    sums: Mapping[Place, Sequence[Any]],
) -> list[Any]:
    if not sums:
        return []
    rows = ",".join(
        f'"({tenant_id},{product_id},{location_id},{total[0]},{total[1]},{total[2]},{total[3]})"'
        for (product_id, location_id), total in sums.items()
    )
    return await connection.fetch(sql["add"], f"{{{rows}}}")


async def _load_facts(
    connection: Connection,
    sql: Mapping[str, str],
    tenant_id: int,
    events: Sequence[RecordedEvent],
    stock: Mapping[int, Mapping[Place, Change]],
    places: Iterable[Place],
) -> dict[FactKey, Fact | None]:
    """Return the facts that the events change, and those that their messages tell.

    ``places`` are all those of which the figures are at hand.
    """
    # A reorder level that is raised tells of places that no event of the batch is of.
    keys: dict[FactKey, None] = {("location", str(location_id)): None for _, location_id in places}
    for recorded in events:
        if type(recorded.event) in STOCK_EVENTS:
            changed = stock.get(recorded.position) if stock else None
            if changed:
                keys.update(dict.fromkeys(facts_told(recorded.event, changed)))
        else:
            keys.update(dict.fromkeys(facts_changed(recorded.event)))
            keys.update(dict.fromkeys(facts_told(recorded.event, ())))
    if not keys:
        return {}
    rows = await connection.fetch(sql["facts"], tenant_id, *zip(*keys, strict=True))
    return {(row["kind"], row["key"]): msgspec.json.decode(row["value"]) for row in rows}


async def _write_facts(
    connection: Connection, sql: Mapping[str, str], tenant_id: int, fold: WebhookFold
) -> None:
    kept: list[tuple[str, str, str]] = []
    ended: list[FactKey] = []
    for key in sorted(fold.changed):
        fact = fold.facts[key]
        if fact is None:
            ended.append(key)
        else:
            kept.append((*key, msgspec.json.encode(fact).decode()))
    if kept:
        await connection.execute(sql["keep_facts"], tenant_id, *zip(*kept, strict=True))
    if ended:
        await connection.execute(sql["end_facts"], tenant_id, *zip(*ended, strict=True))


async def _write_subscriptions(
    connection: Connection, sql: Mapping[str, str], tenant_id: int, subscriptions: Subscriptions
) -> None:
    if subscriptions.ended:
        await connection.execute(sql["end_subscriptions"], tenant_id, sorted(subscriptions.ended))
    if subscriptions.changed:
        await connection.execute(
            sql["keep_subscriptions"], tenant_id, rows_as_json(subscriptions.changed)
        )


async def _write_messages(
    connection: Connection, sql: Mapping[str, str], tenant_id: int, messages: Sequence[Message]
) -> None:
    if messages:
        await connection.execute(sql["tell"], tenant_id, *zip(*messages, strict=True))
