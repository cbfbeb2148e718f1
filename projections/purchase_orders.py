"""Purchase orders: one row an order, a line, a receipt and a return.

Of each line, ``outstanding`` is what is still to come of ``ordered`` less ``received``: nothing
where more came than was ordered. ``incoming`` is that of orders that are sent or partial, at the
order's location: what is on its way, which stock levels show. Names of products and suppliers
are not copied: a query joins them.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final, get_args

from ledger.domain.decision import RecordedEvent
from ledger.domain.purchase_order_transitions import INCOMING
from projections.projection import BALANCE, QUANTITY, Columns, Connection, Statements, rows_as_json
from schemas.common import Event
from schemas.purchase import (
    PurchaseOrderCancelled,
    PurchaseOrderClosed,
    PurchaseOrderCreated,
    PurchaseOrderEvent,
    PurchaseOrderReceived,
    PurchaseOrderSent,
    PurchaseReturned,
    ReceivedLine,
)

AMOUNT: Final = "numeric(30,12)"
"""A sum of quantities times costs, to their last digit."""

_ORDER = Columns(
    "purchase_order_id bigint",
    "po_number text",
    "supplier_id bigint",
    "location_id bigint",
    'status text COLLATE "C"',
    f"total_amount {AMOUNT}",
    f"tolerance_percent {QUANTITY}",
    "expected_date date null",
    "reference text null",
    "notes text null",
    "ordered_at timestamptz",
    "recorded_at timestamptz",
    "version bigint",
    "position bigint",
)
# More may come in of a line than was ordered, so received is wider than a quantity.
_LINE = Columns(
    "purchase_order_id bigint",
    "line_id bigint",
    "product_id bigint",
    "location_id bigint",
    f"ordered {QUANTITY}",
    f"received {BALANCE}",
    f"returned {BALANCE}",
    f"outstanding {QUANTITY}",
    f"incoming {QUANTITY}",
    f"unit_cost {QUANTITY}",
    "unit text null",
    f"entered_quantity {QUANTITY} null",
)
_RECEIPT = Columns(
    "purchase_order_id bigint",
    "receipt integer",
    "lines jsonb",
    "notes text null",
    "received_at timestamptz",
    "recorded_at timestamptz",
    "position bigint",
)
_RETURN = Columns(
    "purchase_order_id bigint",
    "return_number integer",
    "lines jsonb",
    "reason text null",
    "notes text null",
    "returned_at timestamptz",
    "recorded_at timestamptz",
    "position bigint",
)


def _insert(table: str, columns: Columns) -> str:
    return f"""
        INSERT INTO {{schema}}.{table} (tenant_id, {columns.listed})
        SELECT $1, r.* FROM json_to_recordset($2::text::json) AS r ({columns.recordset})
    """


_INCOMING: Final = ", ".join(f"'{status}'" for status in sorted(INCOMING))

_SQL = Statements(
    create=_insert("purchase_order", _ORDER),
    order=_insert("purchase_line", _LINE),
    receive=_insert("purchase_receipt", _RECEIPT),
    give_back=_insert("purchase_return", _RETURN),
    move=f"""
        UPDATE {{schema}}.purchase_line l
        SET received = l.received + r.received, returned = l.returned + r.returned
        FROM json_to_recordset($2::text::json)
            AS r (purchase_order_id bigint, line_id bigint, received {BALANCE}, returned {BALANCE})
        WHERE l.tenant_id = $1 AND l.purchase_order_id = r.purchase_order_id
          AND l.line_id = r.line_id
    """,
    change="""
        UPDATE {schema}.purchase_order o
        SET status = coalesce(r.status, o.status), version = r.version, position = r.position
        FROM json_to_recordset($2::text::json)
            AS r (purchase_order_id bigint, status text, version bigint, position bigint)
        WHERE o.tenant_id = $1 AND o.purchase_order_id = r.purchase_order_id
    """,
    # Follows from the line and its order as they are by now, however they got there.
    settle=f"""
        UPDATE {{schema}}.purchase_line l
        SET outstanding = s.outstanding, incoming = s.incoming
        FROM (
            SELECT line.purchase_order_id, line.line_id,
                   greatest(line.ordered - line.received, 0) AS outstanding,
                   CASE WHEN o.status IN ({_INCOMING})
                        THEN greatest(line.ordered - line.received, 0) ELSE 0 END AS incoming
            FROM json_to_recordset($2::text::json) AS r (purchase_order_id bigint)
            JOIN {{schema}}.purchase_order o
                ON o.tenant_id = $1 AND o.purchase_order_id = r.purchase_order_id
            JOIN {{schema}}.purchase_line line
                ON line.tenant_id = $1 AND line.purchase_order_id = r.purchase_order_id
        ) s
        WHERE l.tenant_id = $1 AND l.purchase_order_id = s.purchase_order_id
          AND l.line_id = s.line_id
          AND (l.outstanding, l.incoming) IS DISTINCT FROM (s.outstanding, s.incoming)
    """,
)


class PurchaseOrders:
    """Folds what happens to purchase orders."""

    name: ClassVar[str] = "purchase_orders"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, Sequence[str]]] = {
        "purchase_order": ("tenant_id", "purchase_order_id"),
        "purchase_line": ("tenant_id", "purchase_order_id", "line_id"),
        "purchase_receipt": ("tenant_id", "purchase_order_id", "receipt"),
        "purchase_return": ("tenant_id", "purchase_order_id", "return_number"),
    }
    event_types: ClassVar[frozenset[type[Event]]] = frozenset(get_args(PurchaseOrderEvent))

    def ddl(self, schema: str) -> str:
        """Return the statements that create the tables.

        An order is looked for by its supplier and by its status; a line by what it brings in,
        while it does.
        """
        tables = self.tables
        return (
            _ORDER.create(schema, "purchase_order", tables["purchase_order"])
            + _LINE.create(
                schema, "purchase_line", tables["purchase_line"], "WITH (fillfactor = 80)"
            )
            + _RECEIPT.create(schema, "purchase_receipt", tables["purchase_receipt"])
            + _RETURN.create(schema, "purchase_return", tables["purchase_return"])
            + f"""
            CREATE INDEX ON {schema}.purchase_order (tenant_id, supplier_id, purchase_order_id);
            CREATE INDEX ON {schema}.purchase_order (tenant_id, status, purchase_order_id);
            CREATE INDEX ON {schema}.purchase_line (tenant_id, product_id, location_id)
                INCLUDE (incoming) WHERE incoming > 0;
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
        self._receipts: list[dict[str, Any]] = []
        self._returns: list[dict[str, Any]] = []
        self._moved: dict[int, dict[str, Any]] = {}
        self._changed: dict[int, dict[str, Any]] = {}

    def rows(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """Return the rows of each statement, in the order they have to be run in."""
        return [
            ("create", self._orders),
            ("order", self._lines),
            ("receive", self._receipts),
            ("give_back", self._returns),
            ("move", list(self._moved.values())),
            ("change", list(self._changed.values())),
            ("settle", [{"purchase_order_id": changed} for changed in self._changed]),
        ]

    def add(self, recorded: RecordedEvent) -> None:
        """Take in an event."""
        status: str | None = None
        match recorded.event:
            case PurchaseOrderCreated() as event:
                self._create(recorded, event)
                return
            case PurchaseOrderSent(purchase_order_id=purchase_order_id):
                status = "sent"
            case PurchaseOrderReceived(purchase_order_id=purchase_order_id) as event:
                status = "received" if event.complete else "partial"
                self._move(purchase_order_id, event.lines, "received")
                self._receipts.append(
                    {
                        "purchase_order_id": purchase_order_id,
                        "receipt": event.receipt,
                        "lines": event.lines,
                        "notes": event.notes,
                        "received_at": recorded.effective_at,
                        "recorded_at": recorded.recorded_at,
                        "position": recorded.position,
                    }
                )
            case PurchaseReturned(purchase_order_id=purchase_order_id) as event:
                self._move(purchase_order_id, event.lines, "returned")
                self._returns.append(
                    {
                        "purchase_order_id": purchase_order_id,
                        "return_number": event.return_number,
                        "lines": event.lines,
                        "reason": event.reason,
                        "notes": event.notes,
                        "returned_at": recorded.effective_at,
                        "recorded_at": recorded.recorded_at,
                        "position": recorded.position,
                    }
                )
            case PurchaseOrderClosed(purchase_order_id=purchase_order_id):
                status = "closed"
            case PurchaseOrderCancelled(purchase_order_id=purchase_order_id):
                status = "cancelled"
            case other:
                raise TypeError(f"{PurchaseOrders.name} does not fold {type(other).__name__}")
        earlier = self._changed.get(purchase_order_id, {})
        self._changed[purchase_order_id] = {
            "purchase_order_id": purchase_order_id,
            "status": status or earlier.get("status"),
            "version": recorded.version,
            "position": recorded.position,
        }

    def _create(self, recorded: RecordedEvent, event: PurchaseOrderCreated) -> None:
        self._orders.append(
            {
                "purchase_order_id": event.purchase_order_id,
                "po_number": event.po_number,
                "supplier_id": event.supplier_id,
                "location_id": event.location_id,
                "status": "draft",
                "total_amount": event.total_amount,
                "tolerance_percent": event.tolerance_percent,
                "expected_date": event.expected_date,
                "reference": event.reference,
                "notes": event.notes,
                "ordered_at": recorded.effective_at,
                "recorded_at": recorded.recorded_at,
                "version": recorded.version,
                "position": recorded.position,
            }
        )
        for line in event.lines:
            self._lines.append(
                {
                    "purchase_order_id": event.purchase_order_id,
                    "line_id": line.id,
                    "product_id": line.product_id,
                    "location_id": event.location_id,
                    "ordered": line.quantity,
                    "received": 0,
                    "returned": 0,
                    "outstanding": line.quantity,
                    "incoming": 0,
                    "unit_cost": line.unit_cost,
                    "unit": line.unit,
                    "entered_quantity": line.entered_quantity,
                }
            )

    def _move(self, purchase_order_id: int, lines: Sequence[ReceivedLine], figure: str) -> None:
        for line in lines:
            moved = self._moved.get(line.line_id)
            if moved is None:
                moved = self._moved[line.line_id] = {
                    "purchase_order_id": purchase_order_id,
                    "line_id": line.line_id,
                    "received": _ZERO,
                    "returned": _ZERO,
                }
            moved[figure] += line.quantity


_ZERO: Final = Decimal(0)
