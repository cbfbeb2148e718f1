"""Northwind told to the service, request by request, as any client would over HTTP.

Every write has an Idempotency-Key made of what it stands for in the files, and every body is
the same on each run. So a run that was stopped is gone on with by the next, and a whole one
adds nothing when it is run again, for as long as the service keeps its keys.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NamedTuple, Protocol, TypeVar
from zoneinfo import ZoneInfo

import msgspec

from api.imports import northwind_trade as trade
from api.imports.northwind import Northwind, Order, Place, Product
from api.imports.northwind_trade import Day, Purchase

ZONE: Final = "America/Los_Angeles"  # Northwind is in Seattle
WAREHOUSE: Final = "NORTHWIND"
METHOD: Final = "fifo"
ADDRESSES: Final = ("billing", "shipping")
Reply = TypeVar("Reply")


class Answer(NamedTuple):
    """A successful answer's body, and whether it is that of an earlier request."""

    body: bytes
    replayed: bool


class Client(Protocol):
    """Sends requests, again where that is needed; raises when they are refused."""

    def get(self, path: str) -> Answer:
        """Read."""
        ...

    def send(self, method: str, path: str, body: object, key: str) -> Answer:
        """Write, under an Idempotency-Key."""
        ...


class Told(msgspec.Struct):
    """How far it is: ``done`` of ``total`` steps of a stage."""

    stage: str
    done: int
    total: int


class Month(NamedTuple):
    """A month as the service's reports have it: by order date, and by shipping date."""

    month: str
    orders: int
    revenue: Decimal
    shipped: Decimal
    cogs: Decimal
    margin: Decimal


class Outcome(msgspec.Struct):
    """Writes of this run, and how many of them had been taken before; the last position."""

    writes: int = 0
    replayed: int = 0
    position: int = 0


class _Created(msgspec.Struct):
    id: int


class _Head(msgspec.Struct):
    position: int


class _Warehouse(msgspec.Struct):
    id: int
    code: str


class _Warehouses(msgspec.Struct):
    warehouses: list[_Warehouse]


class _Stats(msgspec.Struct):
    total_orders: int
    total_revenue: Decimal


class _Period(msgspec.Struct):
    period: date
    revenue: Decimal
    cogs: Decimal
    gross_margin: Decimal


class _Financial(msgspec.Struct):
    periods: list[_Period]


class AnotherLedger(Exception):
    """The tenant has a ledger that this did not begin."""


class Replay:
    """One run of it through a client."""

    def __init__(
        self, client: Client, northwind: Northwind, on_step: Callable[[Told], None]
    ) -> None:
        self._client = client
        self._northwind = northwind
        self._on_step = on_step
        self._zone = ZoneInfo(ZONE)
        self._outcome = Outcome()
        self._warehouse = 0
        self._categories: dict[int, int] = {}
        self._suppliers: dict[int, int] = {}
        self._products: dict[int, int] = {}
        self._customers: dict[str, int] = {}
        self._orders: dict[int, int] = {}
        self._purchases: dict[str, int] = {}

    def run(self) -> Outcome:
        """Tell all of it. Raises AnotherLedger before the first write where that would mix."""
        self._require_ours()
        self._set_up()
        self._register_products()
        self._register_customers()
        for day in self._stage("trading", list(trade.days(self._northwind))):
            self._live(day)
        self._close()
        head = self._read("/api/ledger/head", _Head)
        self._outcome.position = head.position
        return self._outcome

    def months(self) -> Iterator[Month]:
        """Yield each month's figures, asked of the service's reports once it has been told all."""
        last = self._northwind.last_day
        month = self._northwind.orders[0].ordered.replace(day=1)
        financial = self._read(
            f"/api/reports/financial?from={month}&to={last}&group_by=month"
            f"&min_position={self._outcome.position}",
            _Financial,
        )
        by_month = {f"{period.period:%Y-%m}": period for period in financial.periods}
        while month <= last:
            label = f"{month:%Y-%m}"
            stats = self._read(f"/api/orders/stats?period={label}", _Stats)
            shipped = by_month.get(label, _Period(month, *(Decimal(0),) * 3))
            yield Month(
                label,
                stats.total_orders,
                stats.total_revenue,
                shipped.revenue,
                shipped.cogs,
                shipped.gross_margin,
            )
            month = date(month.year + month.month // 12, month.month % 12 + 1, 1)

    # --- before the first day -------------------------------------------------------------

    def _require_ours(self) -> None:
        found = self._read("/api/warehouses", _Warehouses).warehouses
        if found and WAREHOUSE not in {each.code for each in found}:
            raise AnotherLedger("there is another ledger in this tenant already; name a new one")

    def _set_up(self) -> None:
        northwind = self._northwind
        books = {"valuation_method": METHOD, "time_zone": ZONE}
        self._send("PUT", "/api/books", books, "books")
        warehouse = {
            "name": "Northwind Traders",
            "code": WAREHOUSE,
            "city": "Seattle",
            "state": "WA",
            "country": "USA",
            "time_zone": ZONE,
            "is_default": True,
        }
        self._warehouse = self._create("/api/warehouses", warehouse, "warehouse")
        for number, name in self._stage("categories", list(northwind.categories.items())):
            self._categories[number] = self._create(
                "/api/products/categories", {"name": name}, f"category/{number}"
            )
        for number, supplier in self._stage("suppliers", list(northwind.suppliers.items())):
            body = {
                "name": supplier.name,
                "code": f"NW-S{number:02}",
                "phone": supplier.phone or None,
                "payment_terms": "Net 30",
                "lead_time_days": trade.DELIVERY_DAYS,
            }
            self._suppliers[number] = self._create("/api/suppliers", body, f"supplier/{number}")

    def _register_products(self) -> None:
        for product in self._stage("products", list(self._northwind.products.values())):
            self._products[product.product_id] = self._create(
                "/api/products", self._product(product), f"product/{product.product_id}"
            )

    def _register_customers(self) -> None:
        for customer in self._stage("customers", list(self._northwind.customers.values())):
            code = customer.customer_id
            body = {
                "name": customer.name,
                "company": customer.name,
                "code": code,
                "phone": customer.phone or None,
                "customer_type": "wholesale",
            }
            number = self._create("/api/customers", body, f"customer/{code}")
            self._customers[code] = number
            for kind in ADDRESSES:
                address = {"type": kind, **_address(customer.address), "is_default": True}
                self._send(
                    "POST",
                    f"/api/customers/{number}/addresses",
                    address,
                    f"customer/{code}/{kind}",
                )

    def _product(self, product: Product) -> dict[str, object]:
        supplier = self._northwind.suppliers[product.supplier_id]
        return {
            "name": product.name,
            "sku": f"NW-{product.product_id:02}",
            "base_price": product.list_price,
            "cost_price": trade.list_cost(product),
            "vendor": supplier.name,
            "description": product.quantity_per_unit or None,
            "category_id": self._categories[product.category_id],
            "supplier_id": self._suppliers[product.supplier_id],
            "reorder_level": product.reorder_level,
        }

    # --- day by day -----------------------------------------------------------------------

    def _live(self, day: Day) -> None:
        self._command(
            f"received/{day.date}",
            "ReceivePurchaseOrder",
            [{"purchase_order_id": self._purchases[each.number]} for each in day.received],
            self._at(day.date, trade.RECEIVED_AT),
        )
        self._purchase(day.date, day.purchased)
        for order in day.ordered:
            self._orders[order.order_id] = self._create(
                "/api/orders", self._order(order), f"order/{order.order_id}"
            )
        commands = [
            *self._changes(day.paid, "ChangeOrderStatus", day.date, trade.PAID_AT, status="paid"),
            *self._changes(day.shipped, "FulfilOrder", day.date, trade.SHIPPED_AT),
            *self._changes(
                day.shipped, "ChangeOrderStatus", day.date, trade.SHIPPED_AT, status="shipped"
            ),
        ]
        self._submit(f"moved/{day.date}", commands)

    def _purchase(self, day: date, purchases: Sequence[Purchase]) -> None:
        """Draft orders to suppliers, and send them."""
        at = self._at(day, trade.PURCHASED_AT)
        for purchase in purchases:
            body = {
                "supplier_id": self._suppliers[purchase.supplier_id],
                "warehouse_id": self._warehouse,
                "expected_date": purchase.expected,
                "reference": f"NW {purchase.number}",
                "effective_at": at,
                "items": [
                    {
                        "product_id": self._products[bought.product_id],
                        "quantity": bought.quantity,
                        "unit_cost": bought.unit_cost,
                    }
                    for bought in purchase.lines
                ],
            }
            self._purchases[purchase.number] = self._create(
                "/api/suppliers/purchase-orders", body, f"purchase/{purchase.number}"
            )
        self._command(
            f"sent/{day}",
            "SendPurchaseOrder",
            [{"purchase_order_id": self._purchases[each.number]} for each in purchases],
            at,
        )

    def _order(self, order: Order) -> dict[str, object]:
        return {
            "customer_id": self._customers[order.customer_id],
            "warehouse_id": self._warehouse,
            "channel": "b2b",
            "shipping_address": _address(order.address),
            "reference": str(order.order_id),
            "effective_at": self._at(order.ordered, trade.ORDERED_AT),
            "items": [
                {
                    "product_id": self._products[line.product_id],
                    "quantity": line.quantity,
                    "unit_price": line.charged,
                }
                for line in order.lines
            ],
        }

    def _changes(
        self, orders: Sequence[Order], command: str, day: date, hour: time, **more: object
    ) -> list[dict[str, object]]:
        at = self._at(day, hour)
        return [
            {
                "type": command,
                "data": {"order_id": self._orders[each.order_id], "effective_at": at, **more},
            }
            for each in orders
        ]

    def _close(self) -> None:
        """Order what is still to come, and take what is discontinued out of the catalogue."""
        self._purchase(self._northwind.last_day, trade.open_purchases(self._northwind))
        gone = [each for each in self._northwind.products.values() if each.discontinued]
        for product in self._stage("discontinued products", gone):
            number = self._products[product.product_id]
            body = {**self._product(product), "is_active": False}
            self._send("PUT", f"/api/products/{number}", body, f"discontinued/{product.product_id}")

    # --- parts ----------------------------------------------------------------------------

    def _at(self, day: date, hour: time) -> datetime:
        return datetime.combine(day, hour, self._zone)

    def _stage(self, name: str, steps: Sequence[Reply]) -> Iterator[Reply]:
        """Yield the steps of a stage, telling of each that is done."""
        told = Told(name, 0, len(steps))
        self._on_step(told)
        for step in steps:
            yield step
            told.done += 1
            self._on_step(told)

    def _command(
        self, name: str, kind: str, data: Sequence[dict[str, object]], at: datetime
    ) -> None:
        commands = [{"type": kind, "data": {**each, "effective_at": at}} for each in data]
        self._submit(name, commands)

    def _submit(self, name: str, commands: Sequence[dict[str, Any]]) -> None:
        """Send commands in bulk, all of them or none."""
        if commands:
            self._send("POST", "/api/ledger/commands", {"commands": commands}, name)

    def _create(self, path: str, body: object, name: str) -> int:
        return msgspec.json.decode(self._send("POST", path, body, name), type=_Created).id

    def _send(self, method: str, path: str, body: object, name: str) -> bytes:
        answer = self._client.send(method, path, body, f"northwind/{name}")
        self._outcome.writes += 1
        self._outcome.replayed += answer.replayed
        return answer.body

    def _read(self, path: str, kind: type[Reply]) -> Reply:
        return msgspec.json.decode(self._client.get(path).body, type=kind)


def _address(place: Place) -> dict[str, str]:
    return {field: text for field, text in place._asdict().items() if text}
