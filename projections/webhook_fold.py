"""From events to the messages that webhooks carry: the fold itself, without a database.

What a message tells besides its event (a SKU, what is on hand after it, the status before it)
is kept here as facts, each under a kind and a key, and as figures of stock; both are as of the
event's position. So a message is the same whenever it is made.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any, Final, NamedTuple

import msgspec

from ledger.domain.decision import RecordedEvent
from ledger.domain.order_transitions import REOPENED
from projections.webhook_facts import (
    MIPOS,
    Change,
    Fact,
    FactKey,
    Figures,
    Place,
    is_whole,
    local_time,
    trimmed,
)
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
from schemas.product import ProductDiscontinued, ProductRegistered, ProductRevised
from schemas.purchase import PurchaseOrderCreated, PurchaseOrderReceived
from schemas.webhook import WebhookFormat, WebhookTopic

Interest = tuple[WebhookFormat, WebhookTopic]

_ADD: Final = 1
_REMOVE: Final = 2
_WIDE: Final = Context(prec=60)
_FINEST: Final = Decimal("0.000001")
_ZERO: Final = Decimal(0)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_encode_text: Final = msgspec.json.Encoder(decimal_format="string").encode


class Message(NamedTuple):
    """What receivers of a topic are told in a format.

    ``n`` counts the messages of an event from 0; those about one ``item`` go out in order.
    ``data`` is JSON text. ``zone`` is that of the place, for formats that tell local times.
    """

    position: int
    n: int
    topic: WebhookTopic
    format: WebhookFormat
    item: str
    occurred_at: datetime
    zone: str | None
    data: str


class WebhookFold:
    """Folds events in order: ``facts`` and ``figures`` as they were before the first of them.

    ``changed`` names the facts that are to be written; a fact that is None is gone.
    """

    def __init__(
        self, facts: Mapping[FactKey, Fact | None], figures: Mapping[Place, Figures]
    ) -> None:
        self.facts = dict(facts)
        self.figures = figures
        self._places: dict[int, list[Place]] | None = None
        self.changed: set[FactKey] = set()
        self.messages: list[Message] = []
        self._recorded: RecordedEvent | None = None
        self._interests: frozenset[Interest] = frozenset()
        self._n = 0

    def go_on(self, figures: Mapping[Place, Figures]) -> None:
        """Take the figures that the next events change or tell, as they are before them."""
        self.figures = figures
        self._places = None

    def add(
        self,
        recorded: RecordedEvent,
        changes: Mapping[Place, Change],
        interests: frozenset[Interest],
    ) -> None:
        """Take in an event; make the messages that somebody is interested in."""
        self._recorded, self._interests, self._n = recorded, interests, 0
        event = recorded.event
        if changes:
            self._stock(recorded, changes)
            return
        match event:
            case OrderPlaced():
                self._order(event, event.order_number, "pending")
            case OrderPaid():
                self._order(event, None, "paid")
            case OrderFulfilmentStarted():
                self._order(event, None, "fulfilling")
            case OrderFulfilled():
                self._order(event, None, "fulfilled" if event.complete else "fulfilling")
            case FulfilmentCancelled():
                before = self._fact("order", event.order_id).get("status", "")
                self._order(event, None, REOPENED.get(before, before))
            case OrderShipped():
                self._order(event, None, "shipped")
            case OrderLinesCancelled():
                if event.complete:
                    self._order(event, None, "fulfilled")
            case OrderCancelled():
                self._order(event, None, "cancelled")
            case StockDivergenceDetected():
                self._divergence(event)
            case PurchaseOrderCreated():
                fact = {"number": event.po_number, "supplier_id": event.supplier_id}
                fact["location_id"] = event.location_id
                self._state("purchase", event.purchase_order_id, fact)
            case PurchaseOrderReceived():
                self._purchase(event)
            case ImportBatchOpened():
                fact = {"kind": event.kind, "source_name": event.source_name}
                self._state("batch", event.batch_id, fact)
            case ImportBatchClosed():
                self._batch(event)
            case _:
                self._catalogue(event)

    # --- facts ------------------------------------------------------------------------------

    def _fact(self, kind: str, key: object) -> Fact:
        return self.facts.get((kind, str(key))) or {}

    def _state(self, kind: str, key: object, fact: Fact | None) -> None:
        name = kind, str(key)
        if self.facts.get(name) != fact:
            self.facts[name] = fact
            self.changed.add(name)

    def _catalogue(self, event: Any) -> None:
        """Take in what is said of products, places and links."""
        match event:
            case ProductRegistered() | ProductRevised():
                units = {
                    unit.unit: [unit.numerator, unit.denominator]
                    for unit in event.alternative_units
                }
                level = None if event.reorder_level is None else format(event.reorder_level, "f")
                self._product(
                    event.product_id, {"sku": event.sku, "reorder_level": level, "units": units}
                )
            case ProductDiscontinued():
                fact = self._fact("product", event.product_id)
                self._product(event.product_id, {**fact, "reorder_level": None})
            case LocationOpened() | LocationRevised():
                fact = {"code": event.code, "zone": event.time_zone}
                self._state("location", event.location_id, fact)
            case StoreLinked() if event.system == MIPOS:
                self._state("mipos_store", event.location_id, {"id": event.external_id})
            case StoreUnlinked() if event.system == MIPOS:
                self._state("mipos_store", event.location_id, None)
            case ItemLinked() if event.system == MIPOS:
                fact = {"id": event.external_id, "unit": event.unit}
                self._state("mipos_item", event.product_id, fact)
            case ItemUnlinked() if event.system == MIPOS:
                self._state("mipos_item", event.product_id, None)
            case _:
                pass

    def _product(self, product_id: int, fact: Fact) -> None:
        """Take in a product; a reorder level that is raised may be above what is available."""
        before = _level(self._fact("product", product_id))
        self._state("product", product_id, fact)
        after = _level(fact)
        if before == after or ("standard", "stock.low") not in self._interests:
            return
        for place in self._places_of(product_id):
            figures = self.figures[place]
            if not figures.changes:
                continue
            available = figures.available
            if not _is_low(available, before) and _is_low(available, after):
                self._tell_low(place)

    def _places_of(self, product_id: int) -> Sequence[Place]:
        """Return the places of a product whose figures are at hand, in order."""
        if self._places is None:
            self._places = {}
            for place in sorted(self.figures):
                self._places.setdefault(place[0], []).append(place)
        return self._places.get(product_id, ())

    # --- messages ---------------------------------------------------------------------------

    def _tell(
        self,
        topic: WebhookTopic,
        item: str,
        data: dict[str, Any],
        form: WebhookFormat = "standard",
    ) -> None:
        """Make a message, where somebody is interested."""
        if (form, topic) not in self._interests:
            return
        recorded = self._recorded
        assert recorded is not None
        zone = data.pop("zone", None)
        encode = _encode_text if form == MIPOS else _encode
        self.messages.append(
            Message(
                recorded.position,
                self._n,
                topic,
                form,
                item,
                recorded.recorded_at,
                zone,
                encode(data).decode(),
            )
        )
        self._n += 1

    def _told(self) -> dict[str, Any]:
        """Return what every message tells of its event."""
        recorded = self._recorded
        assert recorded is not None
        return {
            "position": recorded.position,
            "event_type": recorded.event.TYPE,
            "effective_at": recorded.effective_at,
            "recorded_at": recorded.recorded_at,
        }

    def _place(self, place: Place) -> dict[str, Any]:
        product_id, location_id = place
        return {
            "product_id": product_id,
            "sku": self._fact("product", product_id).get("sku"),
            "location_id": location_id,
            "location": self._fact("location", location_id).get("code"),
        }

    def _stock(self, recorded: RecordedEvent, changes: Mapping[Place, Change]) -> None:
        """Tell what an event did to stock: a product at a location, or at two."""
        event: Any = recorded.event
        wants_low = ("standard", "stock.low") in self._interests
        for place, change in changes.items():
            figures = self.figures.get(place)
            if figures is None:
                continue
            before = figures.available
            figures.add(change)
            on_hand_change = change.unrestricted + change.quarantine
            if ("standard", "stock.changed") in self._interests:
                self._tell_changed(place, event, figures, change)
            if on_hand_change and (MIPOS, "stock.changed") in self._interests:
                self._tell_mipos(place, recorded, figures, on_hand_change)
            if wants_low:
                level = _level(self._fact("product", place[0]))
                if not _is_low(before, level) and _is_low(figures.available, level):
                    self._tell_low(place)

    def _tell_changed(self, place: Place, event: Any, figures: Figures, change: Change) -> None:
        on_hand = change.unrestricted + change.quarantine
        data = {
            **self._place(place),
            "quantity": trimmed(on_hand or change.reserved or change.unrestricted).copy_abs(),
            "change": {
                "on_hand": trimmed(on_hand),
                "reserved": trimmed(change.reserved),
                "available": trimmed(change.unrestricted - change.reserved),
            },
            "on_hand": trimmed(figures.on_hand),
            "reserved": trimmed(figures.reserved),
            "available": trimmed(figures.available),
            "reason": event.reason,
            "reference": event.reference,
            **self._told(),
        }
        self._tell("stock.changed", _stock_item(place), data)

    def _tell_low(self, place: Place) -> None:
        figures = self.figures[place]
        data = {
            **self._place(place),
            "reorder_level": trimmed(_level(self._fact("product", place[0])) or _ZERO),
            "on_hand": trimmed(figures.on_hand),
            "reserved": trimmed(figures.reserved),
            "available": trimmed(figures.available),
            **self._told(),
        }
        self._tell("stock.low", _stock_item(place), data)

    def _tell_mipos(
        self, place: Place, recorded: RecordedEvent, figures: Figures, change: Decimal
    ) -> None:
        """Tell a movement as seed 001 has it, of a product and a store that are both linked."""
        item = self._fact("mipos_item", place[0])
        store = self._fact("mipos_store", place[1])
        if not item or not store:
            return
        zone: str = self._fact("location", place[1]).get("zone") or "UTC"
        units: Mapping[str, list[int]] = self._fact("product", place[0]).get("units") or {}
        numerator, denominator = units.get(item.get("unit") or "", (1, 1))
        in_unit = Decimal(denominator), Decimal(numerator)
        store_id: str = store["id"]
        data = {
            "current_stock": format(_converted(figures.on_hand, *in_unit), "f"),
            "quantity": format(_converted(change, *in_unit).copy_abs(), "f"),
            "date": local_time(recorded.effective_at, zone),
            "movement_type": _ADD if change > 0 else _REMOVE,
            "external_id": item["id"],
            "store_id": int(store_id) if is_whole(store_id) else store_id,
            "zone": zone,
        }
        self._tell("stock.changed", _stock_item(place), data, MIPOS)

    def _order(self, event: Any, number: str | None, status: str) -> None:
        fact = self._fact("order", event.order_id)
        before = fact.get("status")
        number = fact.get("number") if number is None else number
        self._state("order", event.order_id, {"number": number, "status": status})
        if status == before:
            return
        data = {
            "order_id": event.order_id,
            "order_number": number,
            "from": before,
            "to": status,
            **self._told(),
        }
        self._tell("order.status_changed", f"order:{event.order_id}", data)

    def _divergence(self, event: StockDivergenceDetected) -> None:
        place = event.product_id, event.location_id
        data = {
            **self._place(place),
            "system": event.system,
            "external_id": event.external_id,
            "on_hand": trimmed(event.on_hand),
            "reported": trimmed(event.reported),
            "difference": trimmed(event.difference),
            "reported_at": event.reported_at,
            **self._told(),
        }
        self._tell("stock.divergence", _stock_item(place), data)

    def _purchase(self, event: PurchaseOrderReceived) -> None:
        fact = self._fact("purchase", event.purchase_order_id)
        lines = [
            {
                "line_id": line.line_id,
                "product_id": line.product_id,
                "sku": self._fact("product", line.product_id).get("sku"),
                "quantity": trimmed(line.quantity),
            }
            for line in event.lines
        ]
        data = {
            "purchase_order_id": event.purchase_order_id,
            "po_number": fact.get("number"),
            "supplier_id": fact.get("supplier_id"),
            "location_id": fact.get("location_id"),
            "receipt": event.receipt,
            "complete": event.complete,
            "lines": lines,
            **self._told(),
        }
        self._tell("purchase_order.received", f"purchase:{event.purchase_order_id}", data)

    def _batch(self, event: ImportBatchClosed) -> None:
        fact = self._fact("batch", event.batch_id)
        data = {
            "batch_id": event.batch_id,
            "kind": fact.get("kind"),
            "source_name": fact.get("source_name"),
            "lines": event.lines,
            "accepted": event.accepted,
            "refused": event.refused,
            **self._told(),
        }
        self._tell("import_batch.closed", f"batch:{event.batch_id}", data)


def _converted(quantity: Decimal, numerator: Decimal, denominator: Decimal) -> Decimal:
    """Return a quantity in another unit, to the millionth where it is not exact."""
    value = _WIDE.divide(_WIDE.multiply(quantity, numerator), denominator)
    return trimmed(value.quantize(_FINEST, ROUND_HALF_UP, _WIDE))


def _stock_item(place: Place) -> str:
    return f"stock:{place[0]}:{place[1]}"


def _level(product: Fact) -> Decimal | None:
    level = product.get("reorder_level")
    return None if level is None else Decimal(level)


def _is_low(available: Decimal, level: Decimal | None) -> bool:
    """At the reorder level or below it, as in the list of stock that is low."""
    return level is not None and available <= level
