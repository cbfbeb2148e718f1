"""Drafting a purchase order: what is bought of whom, for where, and at what cost.

Quantities and costs are kept per one of a product's own unit. Nothing is rounded: what does not
come out exactly is refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from ledger.domain import location as locations
from ledger.domain import supplier, trading
from ledger.domain.decision import (
    Decision,
    Facts,
    InvalidCommand,
    LocationNotFound,
    Names,
    NewEvent,
    ProductNotFound,
    Refs,
    Refusal,
    State,
)
from ledger.domain.location import LocationState
from ledger.domain.posting import moment, must_be_active
from ledger.domain.product import ProductState, in_own_unit
from ledger.domain.product import stream as product_stream
from ledger.domain.purchase_order_state import stream
from ledger.domain.refusals import ProductIsDiscontinued
from ledger.domain.refusals_customers import SupplierNotFound
from ledger.domain.refusals_purchasing import PurchaseTotalOutOfBounds
from ledger.domain.supplier import SupplierState
from schemas.common import DECIMAL_LIMIT, FRACTION_DIGITS_MAX
from schemas.purchase import (
    CreatePurchaseOrder,
    PurchaseLine,
    PurchaseLineEntry,
    PurchaseOrderCreated,
)


def resolve(command: CreatePurchaseOrder, names: Names) -> Refs | Refusal:
    """Return the ids of the lines' products and of the location: the named or the default one."""
    return trading.resolve(command, names)


def streams(command: CreatePurchaseOrder, refs: Refs) -> Sequence[str]:
    """The order's own, the supplier's, the location's, and those of the products."""
    names = [stream(refs.new_id), supplier.stream(command.supplier_id)]
    if refs.location_id:
        names.append(locations.stream(refs.location_id))
    return [*names, *(product_stream(product_id) for product_id in dict.fromkeys(refs.products))]


def decide(
    command: CreatePurchaseOrder, refs: Refs, states: Mapping[str, State], facts: Facts
) -> Decision:
    """Return the draft.

    Refusals: InvalidCommand, SupplierNotFound, LocationNotFound, LocationInactive,
    ProductNotFound, ProductIsDiscontinued, PurchaseTotalOutOfBounds.
    """
    at = moment(command.effective_at, facts.now)
    if isinstance(at, InvalidCommand):
        return at
    seller: SupplierState = states[supplier.stream(command.supplier_id)]
    if not seller.supplier_id:
        return SupplierNotFound(supplier_id=command.supplier_id)
    refusal = _no_place(command, refs, states)
    if refusal is not None:
        return refusal
    purchase_order_id = refs.new_id
    lines: list[PurchaseLine] = []
    for index, (entry, product_id) in enumerate(zip(command.lines, refs.products, strict=True)):
        product: ProductState = states[product_stream(product_id)]
        line = _line(purchase_order_id * 1000 + index + 1, index, entry, product_id, product)
        if isinstance(line, Refusal):
            return line
        lines.append(line)
    total = _total_amount(lines)
    if isinstance(total, Refusal):
        return total
    event = PurchaseOrderCreated(
        purchase_order_id=purchase_order_id,
        po_number=f"PO-{purchase_order_id:04d}",
        supplier_id=command.supplier_id,
        location_id=refs.location_id,
        lines=tuple(lines),
        total_amount=total,
        tolerance_percent=command.tolerance_percent,
        expected_date=command.expected_date,
        reference=command.reference,
        notes=command.notes,
    )
    return [NewEvent(stream(purchase_order_id), event, at)]


def _no_place(
    command: CreatePurchaseOrder, refs: Refs, states: Mapping[str, State]
) -> Refusal | None:
    """Return the refusal of a location that there is not, or that takes nothing in."""
    if command.location_id is not None and command.location is not None:
        return InvalidCommand(field="location", fault="give only one of location_id and location")
    if not refs.location_id:
        fault = "must be given, as there is no location yet to receive at; open one first"
        return InvalidCommand(field="location_id", fault=fault)
    place: LocationState = states[locations.stream(refs.location_id)]
    if not place.location_id:
        return LocationNotFound(location_id=refs.location_id)
    return must_be_active(place)


def _line(
    line_id: int, index: int, entry: PurchaseLineEntry, product_id: int, product: ProductState
) -> PurchaseLine | Refusal:
    if not product.product_id:
        return ProductNotFound(product_id=product_id)
    if product.discontinued:
        return ProductIsDiscontinued(product_id=product_id, sku=product.sku)
    quantity = in_own_unit(product, entry.quantity, entry.unit)
    if isinstance(quantity, InvalidCommand):
        return InvalidCommand(field=f"lines[{index}].{quantity.field}", fault=quantity.fault)
    is_own = entry.unit is None or entry.unit == product.unit
    unit_cost = product.cost_price if entry.unit_cost is None else entry.unit_cost
    if unit_cost is None:
        fault = f"must be given, as {product.sku!r} has no cost price"
        return InvalidCommand(field=f"lines[{index}].unit_cost", fault=fault)
    if entry.unit_cost is not None and not is_own:
        converted = trading.of_own_unit(entry.unit_cost, entry.quantity, quantity)
        if converted is None:
            fault = (
                f"{unit_cost:f} for one {entry.unit} is no exact cost of one {product.unit} with "
                f"{FRACTION_DIGITS_MAX} digits behind the point; order in {product.unit}, at its "
                f"cost"
            )
            return InvalidCommand(field=f"lines[{index}].unit_cost", fault=fault)
        unit_cost = converted
    return PurchaseLine(
        id=line_id,
        product_id=product_id,
        quantity=quantity,
        unit_cost=unit_cost,
        unit=None if is_own else entry.unit,
        entered_quantity=None if is_own else entry.quantity,
    )


def _total_amount(lines: Iterable[PurchaseLine]) -> Decimal | PurchaseTotalOutOfBounds:
    """Return the exact sum of quantity times cost, or the refusal of one that is too large."""
    total = trading.total((line.quantity, line.unit_cost) for line in lines)
    return PurchaseTotalOutOfBounds(total_amount=total) if total >= DECIMAL_LIMIT else total
