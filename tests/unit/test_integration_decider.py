"""What is decided about links to other systems, what they synchronise, and what they move."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.decision import InvalidCommand, LocationNotFound
from ledger.domain.product import ProductState
from ledger.domain.refusals import InsufficientStock
from ledger.domain.refusals_integration import (
    ChangedMeanwhile,
    ExternalItemNotFound,
    ExternalSupplierNotFound,
    ItemLinkedElsewhere,
    StoreLinkedElsewhere,
    SupplierLinkedElsewhere,
)
from schemas.integration import (
    ApplyExternalMovement,
    ItemLinked,
    LinkItem,
    LinkStore,
    LinkSupplier,
    StockDivergenceDetected,
    SyncItem,
    SyncSupplier,
    UnlinkItem,
    UnlinkStore,
)
from schemas.location import OpenLocation
from schemas.product import (
    AlternativeUnit,
    DiscontinueProduct,
    ProductRegistered,
    ProductRevised,
    RegisterProduct,
    ReviseProduct,
)
from schemas.stock import LotEntry, ReceiveStock, ReserveStock, StockIssued
from schemas.supplier import RegisterSupplier, ReviseSupplier
from tests.support.decisions import NOON, World, minutes, shop, types

D = Decimal


def store(external_id: str, location_id: int) -> LinkStore:
    return LinkStore(system="mipos", external_id=external_id, location_id=location_id)


def item(external_id: str, product_id: int, **more: Any) -> LinkItem:
    return LinkItem(system="mipos", external_id=external_id, product_id=product_id, **more)


def moved(movement: Any, quantity: str, current_stock: str | None = None, **more: Any) -> Any:
    return ApplyExternalMovement(
        system="mipos",
        location_id=1,
        item="a",
        movement=movement,
        quantity=D(quantity),
        current_stock=None if current_stock is None else D(current_stock),
        **more,
    )


def sync(**more: Any) -> SyncItem:
    said: dict[str, Any] = {
        "system": "mipos", "external_id": "a", "location_id": 1, "name": "Beans", "unit": "kg",
        "scale": 2, "cost": D("12.50"), "quantity": D("11.22"),
    }  # fmt: skip
    return SyncItem(**{**said, **more})


def known(world: World, product_id: int) -> ReviseProduct:
    """What the catalogue says of a product."""
    said = next(
        recorded.event
        for recorded in reversed(world.log)
        if isinstance(recorded.event, ProductRegistered | ProductRevised)
        and recorded.event.product_id == product_id
    )
    return ReviseProduct(**msgspec.structs.asdict(said))


def product(world: World, product_id: int = 1) -> ProductState:
    return world.states[f"product-{product_id}"]


# --- links ------------------------------------------------------------------------------


def test_a_store_is_linked_once_and_by_code_as_well() -> None:
    world = shop()
    assert types(world.do(store("17", 1))) == ["StoreLinked"]
    assert types(world.do(store("17", 1))) == []
    by_code = LinkStore(system="mipos", external_id="17", location="l1")
    assert types(world.do(by_code)) == []
    assert isinstance(world.do(LinkStore(system="mipos", external_id="1", location="nowhere")),
                      LocationNotFound)  # fmt: skip
    assert isinstance(world.do(store("18", 9)), LocationNotFound)


def test_a_store_is_one_locations_only_and_a_location_one_store_of_a_system() -> None:
    world = shop().given(store("17", 1))
    assert world.do(store("17", 2)) == StoreLinkedElsewhere(
        system="mipos", external_id="17", location_id=1
    )
    assert world.do(store("18", 1)) == StoreLinkedElsewhere(
        system="mipos", external_id="17", location_id=1
    )
    other = LinkStore(system="woocommerce", external_id="17", location_id=1)
    assert types(world.do(other)) == ["StoreLinked"]


def test_a_link_that_is_ended_leaves_both_free() -> None:
    world = shop().given(store("17", 1))
    assert types(world.do(UnlinkStore(system="mipos", external_id="17"))) == ["StoreUnlinked"]
    assert types(world.do(UnlinkStore(system="mipos", external_id="17"))) == []
    assert types(world.do(store("17", 2))) == ["StoreLinked"]
    assert types(world.do(store("18", 1))) == ["StoreLinked"]


def test_outside_names_that_differ_in_case_are_two() -> None:
    world = shop().given(store("aB", 1))
    assert types(world.do(store("Ab", 2))) == ["StoreLinked"]


def test_an_item_is_one_product_and_a_product_one_item_of_a_system() -> None:
    world = shop().given(RegisterProduct(name="Coffee", sku="COF", base_price=D(1)), item("a", 1))
    assert types(world.do(item("a", 1))) == []
    elsewhere = ItemLinkedElsewhere(system="mipos", external_id="a", product_id=1)
    assert world.do(item("a", 2)) == elsewhere
    assert world.do(item("b", 1)) == elsewhere
    assert types(world.do(UnlinkItem(system="mipos", external_id="a"))) == ["ItemUnlinked"]
    assert types(world.do(UnlinkItem(system="mipos", external_id="a"))) == []
    assert types(world.do(item("a", 2))) == ["ItemLinked"]
    assert world.do(item("x", 9)).CODE == "product_not_found"
    assert types(world.do(DiscontinueProduct(product_id=1))) == ["ProductDiscontinued"]
    assert world.do(item("b", 1)).CODE == "product_discontinued"


def test_an_items_unit_is_one_of_its_products() -> None:
    box = AlternativeUnit(unit="box", numerator=12)
    world = shop(product={"alternative_units": (box,)})
    assert isinstance(world.do(item("a", 1, unit="crate")), InvalidCommand)
    (linked,) = world.do(item("a", 1, unit="box"))
    assert linked.event == ItemLinked(system="mipos", external_id="a", product_id=1, unit="box")
    (linked,) = world.do(item("a", 1, unit="each"))
    assert linked.event.unit is None


def test_a_supplier_is_linked_once() -> None:
    world = shop().given(RegisterSupplier(name="A"), RegisterSupplier(name="B"))
    link = LinkSupplier(system="mipos", external_id="s", supplier_id=1)
    assert types(world.do(link)) == ["SupplierLinked"]
    assert types(world.do(link)) == []
    elsewhere = SupplierLinkedElsewhere(system="mipos", external_id="s", supplier_id=1)
    assert world.do(msgspec.structs.replace(link, supplier_id=2)) == elsewhere
    assert world.do(msgspec.structs.replace(link, external_id="t")) == elsewhere
    assert world.do(msgspec.structs.replace(link, supplier_id=3)).CODE == "supplier_not_found"


# --- synchronising ----------------------------------------------------------------------


def test_a_new_item_becomes_a_product_that_is_linked_and_has_stock() -> None:
    world = World().given(OpenLocation(name="L1", code="L1"))
    box = AlternativeUnit(unit="sack", numerator=25)
    outcome = world.do(sync(purchase_unit=box))
    assert types(outcome) == ["ProductRegistered", "ItemLinked", "StockAdjusted"]
    event = outcome[0].event
    assert (event.product_id, event.sku, event.unit, event.scale) == (1, "a", "kg", 2)
    assert (event.cost_price, event.base_price) == (D("12.50"), D("12.50"))
    assert event.alternative_units == (box,)
    assert outcome[2].event.reason == "mipos"
    assert world.stock().on_hand == D("11.22")


def test_the_same_item_again_is_nothing_new() -> None:
    world = World().given(OpenLocation(name="L1", code="L1")).given(sync())
    assert types(world.do(sync(known=known(world, 1)))) == []


def test_an_item_that_changed_is_revised_in_what_is_the_other_systems_alone() -> None:
    world = World().given(
        OpenLocation(name="L1", code="L1"),
        RegisterProduct(
            name="Old", sku="A", base_price=D("20.00"), unit="kg", scale=2, barcode="123",
            cost_price=D(1),
        ),
    )  # fmt: skip
    outcome = world.do(sync(known=known(world, 1)))
    assert types(outcome) == ["ProductRevised", "ItemLinked", "StockAdjusted"]
    event = outcome[0].event
    assert (event.name, event.cost_price, event.base_price) == ("Beans", D("12.50"), D("20.00"))
    assert (event.sku, event.barcode) == ("A", "123")
    assert types(world.do(sync(known=known(world, 1), quantity=D(0)))) == ["StockAdjusted"]


def test_what_was_read_before_must_still_be_so() -> None:
    world = shop(product={"sku": "a"})
    read = known(world, 1)
    refused = ChangedMeanwhile(system="mipos", external_id="a")
    assert world.do(sync()) == refused
    assert world.do(sync(known=msgspec.structs.replace(read, vendor="other"))) == refused
    assert world.do(sync(known=msgspec.structs.replace(read, product_id=2))) == refused
    assert world.do(sync(external_id="unheard", known=read)).CODE == "changed_meanwhile"
    assert types(world.do(sync(known=read, quantity=D(3)))) == [
        "ProductRevised", "ItemLinked", "StockAdjusted",
    ]  # fmt: skip


def test_an_alternative_unit_is_converted_and_one_unheard_of_is_the_own() -> None:
    box = AlternativeUnit(unit="box", numerator=12)
    world = shop(product={"sku": "a", "alternative_units": (box,)})
    outcome = world.do(sync(known=known(world, 1), unit="box", quantity=D(2), cost=D(20)))
    assert outcome[0].event.cost_price == D("1.666667"), "of one of the product's own unit"
    assert outcome[1].event.unit == "box"
    assert world.stock().on_hand == 24
    world.do(sync(known=known(world, 1), unit="piece", quantity=D(2)))
    assert world.stock().on_hand == 2


def test_a_cost_that_is_too_much_for_one_of_the_own_unit_is_refused() -> None:
    gram = AlternativeUnit(unit="g", numerator=1, denominator=1000)
    world = shop(product={"sku": "a", "alternative_units": (gram,)})
    refused = world.do(sync(known=known(world, 1), unit="g", cost=D("999999999999"), quantity=D(0)))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "cost"


def test_a_quantity_that_the_products_scale_cannot_say_is_refused() -> None:
    world = shop(product={"sku": "a"})
    refused = world.do(sync(known=known(world, 1), quantity=D("1.5")))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "quantity"


def test_what_is_reserved_stays_whatever_the_other_system_says() -> None:
    world = shop(product={"sku": "a"}).given(
        ReceiveStock(product_id=1, location_id=1, quantity=D(5)),
        ReserveStock(product_id=1, location_id=1, quantity=D(4), reservation_id="r"),
    )
    assert isinstance(world.do(sync(known=known(world, 1), quantity=D(3))), InsufficientStock)


def test_a_discontinued_product_is_no_item_any_more() -> None:
    world = shop().given(item("a", 1))
    read = known(world, 1)
    world.given(DiscontinueProduct(product_id=1))
    gone = ExternalItemNotFound(system="mipos", external_id="a", product_id=1)
    assert world.do(sync(known=read)) == gone
    assert world.do(moved("add", "1")) == gone


def test_suppliers_are_found_by_link_or_code_or_made() -> None:
    world = shop().given(RegisterSupplier(name="By code", code="S1", email="a@b.c"))
    by_code = ReviseSupplier(supplier_id=1, name="By code", code="S1", email="a@b.c")
    first = SyncSupplier(system="mipos", external_id="s1", name="Renamed", known=by_code)
    outcome = world.do(first)
    assert types(outcome) == ["SupplierRevised", "SupplierLinked"]
    assert (outcome[0].event.name, outcome[0].event.email) == ("Renamed", "a@b.c")
    assert world.do(first).CODE == "changed_meanwhile"
    again = msgspec.structs.replace(first, known=msgspec.structs.replace(by_code, name="Renamed"))
    assert types(world.do(again)) == []
    made = world.do(SyncSupplier(system="mipos", external_id="s2", name="New"))
    assert types(made) == ["SupplierRegistered", "SupplierLinked"]
    assert (made[0].event.supplier_id, made[0].event.code) == (2, "s2")
    assert world.do(SyncSupplier(system="mipos", external_id="s2", name="New")).CODE == (
        "changed_meanwhile"
    )


def test_an_items_supplier_is_one_that_is_linked() -> None:
    world = World().given(OpenLocation(name="L1", code="L1"))
    unheard = ExternalSupplierNotFound(system="mipos", external_id="s")
    assert world.do(sync(supplier="s")) == unheard
    world.given(SyncSupplier(system="mipos", external_id="s", name="S"))
    assert world.do(sync(supplier="s"))[0].event.supplier_id == 1


def test_lots_and_serials_are_picked_for_what_an_absolute_figure_takes() -> None:
    world = shop(product={"sku": "a", "tracking_type": "batch"}).given(
        ReceiveStock(
            product_id=1, location_id=1, quantity=D(5), lots=(LotEntry(lot="L", quantity=D(5)),)
        )
    )
    outcome = world.do(sync(known=known(world, 1), quantity=D(3)))
    assert outcome[-1].event.lots[0].quantity == 2
    world = shop(product={"sku": "a", "tracking_type": "serial"}).given(
        ReceiveStock(product_id=1, location_id=1, quantity=D(2), serials=("1", "2"))
    )
    world.do(sync(known=known(world, 1), quantity=D(1)))
    assert world.stock().on_hand == 1


# --- movements --------------------------------------------------------------------------


def linked() -> World:
    world = shop(scale=2).given(item("a", 1))
    return world.given(ReceiveStock(product_id=1, location_id=1, quantity=D(10)))


def test_what_another_system_adds_and_removes_is_received_and_issued() -> None:
    world = linked()
    assert types(world.do(moved("add", "2.50", "12.50"))) == ["StockReceived"]
    (recorded,) = world.do(moved("remove", "0.25", "12.25"))
    assert isinstance(recorded.event, StockIssued)
    assert (recorded.event.destination, recorded.event.reason) == ("customer", "mipos")
    assert world.stock().on_hand == D("12.25")


def test_a_figure_that_is_not_ours_is_recorded_and_moves_nothing() -> None:
    world = linked()
    world.now = NOON + minutes(9)
    outcome = world.do(moved("remove", "1", "8", effective_at=NOON + minutes(5)))
    assert types(outcome) == ["StockIssued", "StockDivergenceDetected"]
    assert outcome[1].event == StockDivergenceDetected(
        system="mipos",
        product_id=1,
        location_id=1,
        external_id="a",
        on_hand=D("9.00"),
        reported=D("8.00"),
        difference=D("-1.00"),
        reported_at=NOON + minutes(5),
    )
    assert world.stock().on_hand == 9
    assert world.states["divergence-1-1"].difference == -1


def test_a_divergence_is_never_of_a_time_to_come() -> None:
    world = linked()
    outcome = world.do(moved("add", "1", "1", effective_at=NOON + minutes(3)))
    assert [recorded.effective_at for recorded in outcome] == [NOON, NOON]
    refused = world.do(moved("add", "1", "1", effective_at=NOON + timedelta(hours=1)))
    assert isinstance(refused, InvalidCommand)


def test_what_is_not_there_is_not_removed() -> None:
    world = linked()
    refused = world.do(moved("remove", "10.01", "0"))
    assert isinstance(refused, InsufficientStock)
    assert world.do(msgspec.structs.replace(moved("add", "1"), item="b")) == ExternalItemNotFound(
        system="mipos", external_id="b"
    )


def test_quantities_are_in_the_items_unit() -> None:
    box = AlternativeUnit(unit="box", numerator=12)
    world = shop(product={"alternative_units": (box,)}).given(item("a", 1, unit="box"))
    assert types(world.do(moved("add", "2", "2"))) == ["StockReceived"]
    assert world.stock().on_hand == 24
    outcome = world.do(moved("remove", "1", "2"))
    assert types(outcome) == ["StockIssued", "StockDivergenceDetected"]
    assert outcome[1].event.difference == 12


def test_a_movement_and_its_figure_must_be_numbers_that_can_be() -> None:
    for wrong in ("0", "-1", "NaN", "0.0000001"):
        with pytest.raises(ValueError, match="quantity"):
            moved("add", wrong)
    refused = linked().do(moved("add", "1", "0.001"))
    assert isinstance(refused, InvalidCommand)
    assert refused.field == "current_stock"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "remove"]),
            st.integers(1, 500),
            st.one_of(st.none(), st.integers(-100, 2_000)),
        ),
        max_size=15,
    )
)
def test_stock_is_what_was_moved_and_each_divergence_is_told(
    movements: list[tuple[Any, int, int | None]],
) -> None:
    """Against plain sums, in hundredths."""
    world, on_hand = linked(), 1_000
    for movement, hundredths, told in movements:
        figure = None if told is None else str(D(told).scaleb(-2))
        outcome = world.do(moved(movement, str(D(hundredths).scaleb(-2)), figure))
        after = on_hand + hundredths if movement == "add" else on_hand - hundredths
        if after < 0:
            assert isinstance(outcome, InsufficientStock)
            continue
        on_hand = after
        diverged = [r.event for r in outcome if isinstance(r.event, StockDivergenceDetected)]
        expected = [] if told in (None, on_hand) else [D(told - on_hand).scaleb(-2)]
        assert [event.difference for event in diverged] == expected
        assert world.stock().on_hand == D(on_hand).scaleb(-2)
