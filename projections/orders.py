"""Sales orders: one row an order, a line, a claim of a line at a location, a fulfilment, a return.

Of each line, ordered = open + reserved + fulfilled + cancelled. ``reserved`` is the sum of the
line's rows in ``order_claim``, which stay when they are down to zero, and is what the line's
reservations in ``reservation`` add up to (`projections.proofs`). Names of products and
customers are not copied: a query joins them.

``total_amount`` is what was ordered, ``cancelled_amount`` what was cancelled of it since.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final, get_args

import msgspec

from ledger.domain.decision import RecordedEvent
from projections.projection import QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.order import (
    BackorderAllocated,
    CancelledLine,
    FulfilmentCancelled,
    MovedLine,
    OrderCancelled,
    OrderEvent,
    OrderFulfilled,
    OrderFulfilmentStarted,
    OrderLine,
    OrderLinesCancelled,
    OrderPaid,
    OrderPlaced,
    OrderReturned,
    OrderShipped,
)

AMOUNT: Final = "numeric(30,12)"
"""A sum of quantities times prices, to their last digit."""

_ORDER = Columns(
    "order_id bigint",
    "order_number text",
    "customer_id bigint null",
    'status text COLLATE "C"',
    'channel text COLLATE "C"',
    'allocation text COLLATE "C"',
    "location_id bigint null",
    f"total_amount {AMOUNT}",
    f"cancelled_amount {AMOUNT}",
    "item_count integer",
    "shipping_address jsonb null",
    "reference text null",
    "notes text null",
    "ordered_at timestamptz",
    "recorded_at timestamptz",
    "version bigint",
    "position bigint",
)
_LINE = Columns(
    "order_id bigint",
    "order_item_id bigint",
    "product_id bigint",
    f"ordered {QUANTITY}",
    f"open {QUANTITY}",
    f"reserved {QUANTITY}",
    f"fulfilled {QUANTITY}",
    f"cancelled {QUANTITY}",
    f"returned {QUANTITY}",
    f"unit_price {QUANTITY}",
    'price_source text COLLATE "C"',
    "unit text null",
    f"entered_quantity {QUANTITY} null",
)
_CLAIM = Columns(
    "order_id bigint", "order_item_id bigint", "location_id bigint", f"quantity {QUANTITY}"
)
_FULFILMENT = Columns(
    "order_id bigint",
    "fulfilment integer",
    "lines jsonb",
    "is_cancelled boolean",
    "fulfilled_at timestamptz",
    "recorded_at timestamptz",
    "position bigint",
)
_RETURN = Columns(
    "order_id bigint",
    "return_number integer",
    "lines jsonb",
    'disposition text COLLATE "C"',
    "reason text null",
    "returned_at timestamptz",
    "recorded_at timestamptz",
    "position bigint",
)

_FIGURES: Final = ("open", "reserved", "fulfilled", "cancelled", "returned")


def _insert(table: str, columns: Columns) -> str:
    return f"""
        INSERT INTO {{schema}}.{table} (tenant_id, {columns.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({columns.recordset})
    """


_SQL = Statements(
    place=_insert("sales_order", _ORDER),
    take=_insert("order_line", _LINE),
    claim=_insert("order_claim AS c", _CLAIM)
    + """
        ON CONFLICT (tenant_id, order_id, order_item_id, location_id) DO UPDATE
        SET quantity = c.quantity + excluded.quantity
    """,
    fulfil=_insert("order_fulfilment", _FULFILMENT),
    take_back="""
        UPDATE {schema}.order_fulfilment f SET is_cancelled = true
        FROM json_to_recordset($2::text::json) AS r (order_id bigint, fulfilment integer)
        WHERE f.tenant_id = $1 AND f.order_id = r.order_id AND f.fulfilment = r.fulfilment
    """,
    come_back=_insert("order_return", _RETURN),
    # The amount is worked out where the price is: in the line.
    change_lines=f"""
        WITH change AS (
            SELECT * FROM json_to_recordset($2::text::json)
                AS r (order_id bigint, order_item_id bigint,
                      {", ".join(f"{figure} {QUANTITY}" for figure in _FIGURES)})
        ), changed AS (
            UPDATE {{schema}}.order_line l
            SET {", ".join(f"{figure} = l.{figure} + r.{figure}" for figure in _FIGURES)}
            FROM change r
            WHERE l.tenant_id = $1 AND l.order_id = r.order_id
              AND l.order_item_id = r.order_item_id
            RETURNING l.order_id, r.cancelled * l.unit_price AS amount
        )
        UPDATE {{schema}}.sales_order o SET cancelled_amount = o.cancelled_amount + c.amount
        FROM (
            SELECT order_id, sum(amount) AS amount FROM changed GROUP BY order_id
        ) c
        WHERE o.tenant_id = $1 AND o.order_id = c.order_id AND c.amount <> 0
    """,
    change_orders="""
        UPDATE {schema}.sales_order o
        SET status = coalesce(r.status, o.status), version = r.version, position = r.position
        FROM json_to_recordset($2::text::json)
            AS r (order_id bigint, status text, version bigint, position bigint)
        WHERE o.tenant_id = $1 AND o.order_id = r.order_id
    """,
)


class Orders:
    """Folds what happens to sales orders."""

    name: ClassVar[str] = "orders"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "sales_order": ("tenant_id", "order_id"),
        "order_line": ("tenant_id", "order_id", "order_item_id"),
        "order_claim": ("tenant_id", "order_id", "order_item_id", "location_id"),
        "order_fulfilment": ("tenant_id", "order_id", "fulfilment"),
        "order_return": ("tenant_id", "order_id", "return_number"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(get_args(OrderEvent))

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables.

        An order is looked for by its date, by its customer, and by its status while it is open.
        """
        tables = self.tables
        return (
            _ORDER.create(schema, "sales_order", tables["sales_order"])
            + _LINE.create(schema, "order_line", tables["order_line"], "WITH (fillfactor = 80)")
            + _CLAIM.create(schema, "order_claim", tables["order_claim"])
            + _FULFILMENT.create(schema, "order_fulfilment", tables["order_fulfilment"])
            + _RETURN.create(schema, "order_return", tables["order_return"])
            + f"""
            CREATE INDEX ON {schema}.sales_order (tenant_id, ordered_at);
            CREATE INDEX ON {schema}.sales_order (tenant_id, customer_id, order_id)
                WHERE customer_id IS NOT NULL;
            CREATE INDEX ON {schema}.sales_order (tenant_id, status, order_id)
                WHERE status IN ('pending', 'paid', 'fulfilling');
            """
        )

    async def apply(
        self,
        connection: Connection,
        schema: str,
        tenant_id: int,
        events: Sequence[RecordedEvent],
    ) -> None:
        """Write what is new, then what has changed of that and of what was there before."""
        batch = _Batch()
        for recorded in events:
            batch.add(recorded)
        sql = _SQL.of(schema)
        for statement, rows in batch.rows():
            if rows:
                await connection.execute(sql[statement], tenant_id, rows_as_json(rows))


class _Batch:
    """What the events of a batch come to: new rows, and differences to what is there."""

    def __init__(self) -> None:
        self._orders: list[dict[str, Any]] = []
        self._lines: list[dict[str, Any]] = []
        self._fulfilments: list[dict[str, Any]] = []
        self._taken_back: list[dict[str, Any]] = []
        self._returns: list[dict[str, Any]] = []
        self._claims: dict[tuple[int, int], Decimal] = {}
        self._changes: dict[int, dict[str, Decimal]] = {}
        self._statuses: dict[int, dict[str, Any]] = {}

    def rows(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Return the rows of each statement, in the order they have to be run in."""
        claims = [
            {
                "order_id": order_item_id // 1000,
                "order_item_id": order_item_id,
                "location_id": location_id,
                "quantity": quantity,
            }
            for (order_item_id, location_id), quantity in self._claims.items()
        ]
        changes = [
            {"order_id": order_item_id // 1000, "order_item_id": order_item_id, **figures}
            for order_item_id, figures in self._changes.items()
        ]
        return [
            ("place", self._orders),
            ("take", self._lines),
            ("claim", claims),
            ("fulfil", self._fulfilments),
            ("take_back", self._taken_back),
            ("come_back", self._returns),
            ("change_lines", changes),
            ("change_orders", list(self._statuses.values())),
        ]

    def add(self, recorded: RecordedEvent) -> None:
        """Take in an event."""
        match recorded.event:
            case OrderPlaced() as event:
                self._place(recorded, event)
                return
            case OrderFulfilled(order_id=order_id, lines=lines) as event:
                self._fulfilments.append(
                    {
                        "order_id": order_id,
                        "fulfilment": event.fulfilment,
                        "lines": lines,
                        "is_cancelled": False,
                        "fulfilled_at": recorded.effective_at,
                        "recorded_at": recorded.recorded_at,
                        "position": recorded.position,
                    }
                )
                self._move(lines, -1, "reserved", "fulfilled")
                status = "fulfilled" if event.complete else "fulfilling"
            case FulfilmentCancelled(order_id=order_id, lines=lines) as event:
                self._taken_back.append({"order_id": order_id, "fulfilment": event.fulfilment})
                self._move(lines, 1, "fulfilled", "reserved")
                status = "fulfilling"
            case OrderLinesCancelled(order_id=order_id, lines=lines) as event:
                self._cancel(lines)
                status = "fulfilled" if event.complete else None
            case OrderCancelled(order_id=order_id, lines=lines):
                self._cancel(lines)
                status = "cancelled"
            case BackorderAllocated(order_id=order_id, lines=lines):
                self._move(lines, 1, "open", "reserved")
                status = None
            case OrderReturned(order_id=order_id) as event:
                self._return(recorded, event)
                status = None
            case OrderPaid(order_id=order_id):
                status = "paid"
            case OrderFulfilmentStarted(order_id=order_id):
                status = "fulfilling"
            case OrderShipped(order_id=order_id):
                status = "shipped"
            case other:
                raise TypeError(f"{Orders.name} does not fold {type(other).__name__}")
        earlier = self._statuses.get(order_id)
        self._statuses[order_id] = {
            "order_id": order_id,
            "status": status if status or earlier is None else earlier["status"],
            "version": recorded.version,
            "position": recorded.position,
        }

    def _place(self, recorded: RecordedEvent, event: OrderPlaced) -> None:
        address = event.shipping_address
        self._orders.append(
            {
                "order_id": event.order_id,
                "order_number": event.order_number,
                "customer_id": event.customer_id,
                "status": "pending",
                "channel": event.channel,
                "allocation": event.allocation,
                "location_id": event.location_id,
                "total_amount": event.total_amount,
                "cancelled_amount": 0,
                "item_count": len(event.lines),
                "shipping_address": None if address is None else _said(address),
                "reference": event.reference,
                "notes": event.notes,
                "ordered_at": recorded.effective_at,
                "recorded_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
        )
        for line in event.lines:
            self._take(event.order_id, line)

    def _take(self, order_id: int, line: OrderLine) -> None:
        self._lines.append(
            {
                "order_id": order_id,
                "order_item_id": line.id,
                "product_id": line.product_id,
                "ordered": line.quantity,
                "open": line.backordered,
                "reserved": line.quantity - line.backordered,
                "fulfilled": 0,
                "cancelled": 0,
                "returned": 0,
                "unit_price": line.unit_price,
                "price_source": line.price_source,
                "unit": line.unit,
                "entered_quantity": line.entered_quantity,
            }
        )
        for claim in line.claims:
            self._claim(line.id, claim.location_id, claim.quantity)

    def _claim(self, order_item_id: int, location_id: int, change: Decimal) -> None:
        place = (order_item_id, location_id)
        self._claims[place] = self._claims.get(place, _ZERO) + change

    def _change(self, order_item_id: int, figure: str, change: Decimal) -> None:
        figures = self._changes.get(order_item_id)
        if figures is None:
            figures = self._changes[order_item_id] = dict.fromkeys(_FIGURES, _ZERO)
        figures[figure] += change

    def _move(self, lines: Sequence[MovedLine], claimed: int, source: str, to: str) -> None:
        """Move quantities of lines from one figure to another; ``claimed`` is 1, or -1."""
        for line in lines:
            self._change(line.order_item_id, source, -line.quantity)
            self._change(line.order_item_id, to, line.quantity)
            self._claim(line.order_item_id, line.location_id, claimed * line.quantity)

    def _cancel(self, lines: Sequence[CancelledLine]) -> None:
        for line in lines:
            self._change(line.order_item_id, "open", -line.open)
            self._change(line.order_item_id, "cancelled", line.open)
            for claim in line.released:
                self._change(line.order_item_id, "reserved", -claim.quantity)
                self._change(line.order_item_id, "cancelled", claim.quantity)
                self._claim(line.order_item_id, claim.location_id, -claim.quantity)

    def _return(self, recorded: RecordedEvent, event: OrderReturned) -> None:
        for line in event.lines:
            self._change(line.order_item_id, "returned", line.quantity)
        self._returns.append(
            {
                "order_id": event.order_id,
                "return_number": event.return_number,
                "lines": event.lines,
                "disposition": event.disposition,
                "reason": event.reason,
                "returned_at": recorded.effective_at,
                "recorded_at": recorded.recorded_at,
                "position": recorded.position,
            }
        )


_ZERO: Final = Decimal(0)


def _said(address: msgspec.Struct) -> dict[str, Any]:
    """Return what is said of an address, and nothing of what is not."""
    given = msgspec.structs.asdict(address)
    return {name: value for name, value in given.items() if value is not None}
