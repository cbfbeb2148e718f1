"""Listings, and what orders make of them: where a product is sold, at what price, and waiting."""

from decimal import Decimal
from typing import Any

import pytest

from ledger.domain.decision import Refusal
from ledger.domain.refusals_orders import InsufficientForLine, ProductIsDisabled
from schemas.customer import DefinePriceTier, RegisterCustomer, TierPrice
from schemas.listing import ListProduct, ProductListed, SyncListing
from schemas.location import ReviseLocation
from schemas.order import AllocateBackorder, OrderLineEntry, OrderPlaced, PlaceOrder
from schemas.product import DiscontinueProduct, RegisterProduct
from schemas.stock import ReceiveStock, SetStock
from tests.support.decisions import World, shop, types


def listed(location_id: int = 1, product_id: int = 1, **said: Any) -> ListProduct:
    return ListProduct(product_id=product_id, location_id=location_id, **said)


def synced(location_id: int = 1, **said: Any) -> SyncListing:
    return SyncListing(product_id=1, location_id=location_id, **said)


def receive(quantity: int, location_id: int = 1, product_id: int = 1) -> ReceiveStock:
    return ReceiveStock(product_id=product_id, location_id=location_id, quantity=Decimal(quantity))


def place(quantity: int = 1, product_id: int = 1, **more: Any) -> PlaceOrder:
    lines = (OrderLineEntry(product_id=product_id, quantity=Decimal(quantity)),)
    return PlaceOrder(lines=more.pop("lines", lines), **more)


def placed(outcome: Any) -> OrderPlaced:
    assert not isinstance(outcome, Refusal), outcome.detail()
    event = outcome[0].event
    assert isinstance(event, OrderPlaced)
    return event


# --- listing ------------------------------------------------------------------------------


def test_a_listing_says_all_of_it_and_the_same_again_is_nothing_to_do() -> None:
    """What it leaves out goes back to what the product has."""
    world = shop()
    (recorded,) = world.do(listed(regular_price=Decimal(3), backorders=True))
    assert recorded.stream == "listing-1-1"
    assert recorded.event == ProductListed(
        product_id=1, location_id=1, regular_price=Decimal(3), backorders=True
    )
    assert world.do(listed(regular_price=Decimal(3), backorders=True)) == []
    (recorded,) = world.do(listed(disabled=True))
    assert recorded.event == ProductListed(product_id=1, location_id=1, disabled=True)
    assert types(world.do(listed())) == ["ProductListed"]
    assert world.do(listed()) == []
    assert world.do(listed(2)) == [], "what was never said is so already"


def test_what_a_sync_leaves_out_stays() -> None:
    """None says: as the product has it."""
    world = shop().given(listed(regular_price=Decimal(3), sale_price=Decimal(2)))
    (recorded,) = world.do(synced(sale_price=None, disabled=True))
    assert recorded.event == ProductListed(
        product_id=1, location_id=1, regular_price=Decimal(3), disabled=True
    )
    assert world.do(synced(disabled=True)) == []
    assert world.do(synced()) == []


def test_stock_and_terms_take_effect_together_or_not_at_all() -> None:
    """Where stock cannot be so, neither is the price."""
    world = shop()
    outcome = world.do(synced(stock=Decimal(4), regular_price=Decimal(3)))
    assert types(outcome) == ["ProductListed", "StockAdjusted"]
    assert world.stock().on_hand == 4
    refusal = world.do(synced(stock=Decimal("4.5"), regular_price=Decimal(9)))
    assert (refusal.CODE, refusal.field) == ("invalid_command", "stock")
    assert world.states["listing-1-1"].regular_price == 3
    assert types(world.do(synced(stock=Decimal(4), regular_price=Decimal(9)))) == ["ProductListed"]
    assert types(world.do(synced(stock=Decimal(5), regular_price=Decimal(9)))) == ["StockAdjusted"]


def test_a_sync_of_stock_decides_as_setting_it_does() -> None:
    """Below what is reserved, and at a place that is not active, for the same reasons."""
    world = shop().given(receive(5), place(3))
    stopped = ReviseLocation(location_id=2, name="L2", code="L2", is_active=False)
    world.given(stopped)
    for location_id, figure in ((1, "2"), (1, "-1"), (2, "1"), (7, "1")):
        by_sync = world.do(synced(location_id, stock=Decimal(figure)))
        setting = SetStock(product_id=1, location_id=location_id, quantity=Decimal(figure))
        assert by_sync == world.do(setting)
        assert isinstance(by_sync, Refusal)


def test_nothing_is_listed_that_is_not_there() -> None:
    world = shop()
    assert world.do(listed(product_id=7)).CODE == "product_not_found"
    assert world.do(listed(7)).CODE == "location_not_found"
    assert world.do(ListProduct(sku="NOPE", location_id=1)).CODE == "product_not_found"
    assert world.do(ListProduct(sku=" tea", location="l1", disabled=True))[0].stream == (
        "listing-1-1"
    )
    world.given(DiscontinueProduct(product_id=1))
    assert world.do(listed()).CODE == "product_discontinued"


def test_a_price_must_be_an_amount() -> None:
    for price in ("-1", "1E+13", "NaN", "0.0000001"):
        with pytest.raises(ValueError, match="regular_price"):
            listed(regular_price=Decimal(price))
        with pytest.raises(ValueError, match="sale_price"):
            synced(sale_price=Decimal(price))


# --- disabled -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", [{"location_id": 1}, {}])
def test_an_order_where_the_product_is_disabled_is_refused(where: dict[str, Any]) -> None:
    """At the named and at the default location, whatever is on hand there."""
    world = shop().given(receive(5), receive(5, 2), listed(disabled=True))
    refusal = world.do(place(**where))
    assert isinstance(refusal, ProductIsDisabled)
    assert (refusal.line, refusal.location_ids) == (0, (1,))
    assert placed(world.do(place(location_id=2))).location_id == 2
    world.given(listed(disabled=False))
    assert placed(world.do(place(**where))).location_id == 1


def test_most_stock_passes_over_where_any_line_is_disabled() -> None:
    """However much there is; where no location is left, the order is refused."""
    world = shop(locations=3)
    world.given(RegisterProduct(name="Mug", sku="MUG", base_price=Decimal(8)))
    world.given(*(receive(9, at, of) for at in (1, 2) for of in (1, 2)))
    world.given(receive(2, 3), receive(1, 3, 2), listed(1, disabled=True))
    lines = tuple(OrderLineEntry(product_id=of, quantity=Decimal(1)) for of in (1, 2))
    both = place(lines=lines, allocation="most_stock")
    event = placed(world.do(both))
    assert event.location_id == 2
    assert {each.location_id for each in event.considered} == {2, 3}
    world.given(listed(2, 2, disabled=True))
    assert placed(world.do(both)).location_id == 3
    world.given(listed(3, 2, disabled=True))
    refusal = world.do(both)
    assert isinstance(refusal, ProductIsDisabled)
    assert (refusal.line, refusal.product_id, refusal.location_ids) == (1, 2, (2, 3))


def test_split_passes_over_a_location_for_the_line_that_is_disabled_there() -> None:
    world = shop(locations=3).given(receive(5), receive(5, 2), receive(2, 3))
    world.given(listed(1, disabled=True))
    (line,) = placed(world.do(place(6, allocation="split"))).lines
    assert [(c.location_id, c.quantity) for c in line.claims] == [(2, 5), (3, 1)]
    refusal = world.do(place(6, allocation="split"))
    assert isinstance(refusal, InsufficientForLine)
    assert (refusal.location_id, refusal.available) == (2, 1)
    world.given(listed(2, disabled=True), listed(3, disabled=True))
    refusal = world.do(place(allocation="split"))
    assert isinstance(refusal, ProductIsDisabled)
    assert refusal.location_ids == (1, 2, 3)


def test_a_backorder_is_not_reserved_where_the_product_is_disabled_since() -> None:
    """Of an order that was split; where one was named, it is what was agreed."""
    world = shop(product={"backorders": True})
    world.given(place(2, allocation="split"), place(2, location_id=1))
    world.given(receive(9), receive(1, 2), listed(1, disabled=True))
    (moved, *_) = world.do(AllocateBackorder(order_id=1))
    assert [(m.location_id, m.quantity) for m in moved.event.lines] == [(2, 1)]
    (moved, *_) = world.do(AllocateBackorder(order_id=2))
    assert [(m.location_id, m.quantity) for m in moved.event.lines] == [(1, 2)]


# --- backorders ---------------------------------------------------------------------------


@pytest.mark.parametrize("product_says", [True, False])
@pytest.mark.parametrize("listing_says", [True, False, None])
@pytest.mark.parametrize("allocation", ["default", "most_stock", "split"])
def test_the_listing_says_first_whether_a_line_may_wait(
    product_says: bool, listing_says: bool | None, allocation: str
) -> None:
    """At the location where it is looked for first; what another one says does not count."""
    world = shop(product={"backorders": product_says})
    world.given(listed(backorders=listing_says), listed(2, backorders=not product_says))
    world.given(receive(1))
    may_wait = product_says if listing_says is None else listing_says
    outcome = world.do(place(3, allocation=allocation))
    if may_wait:
        assert placed(outcome).lines[0].backordered == 2
    else:
        assert isinstance(outcome, InsufficientForLine)


# --- prices -------------------------------------------------------------------------------


def test_a_location_has_its_own_price_and_a_sale_price_counts_first() -> None:
    """The product's base price is the last that is asked."""
    world = shop().given(receive(9), receive(12, 2))

    def priced(**more: Any) -> tuple[Decimal, str]:
        (line,) = placed(world.do(place(**more))).lines
        return line.unit_price, line.price_source

    assert priced() == (Decimal("2.50"), "list")
    world.given(listed(regular_price=Decimal(3)))
    assert priced() == (3, "listing")
    world.given(listed(regular_price=Decimal(3), sale_price=Decimal(0)))
    assert priced() == (0, "listing")
    world.given(listed(sale_price=Decimal("2.75")))
    assert priced() == (Decimal("2.75"), "listing")
    assert priced(location_id=2) == (Decimal("2.50"), "list")
    assert priced(quantity=6, allocation="most_stock") == (Decimal("2.50"), "list")
    assert priced(allocation="split") == (Decimal("2.75"), "listing")
    world.given(listed(sale_price=Decimal("2.75"), disabled=True))
    assert priced(allocation="split") == (Decimal("2.50"), "list"), "looked for there first"


def test_what_is_given_and_what_a_tier_says_come_before_a_listing() -> None:
    """A tier's percentage is off the price of the location."""
    world = shop().given(receive(99), listed(sale_price=Decimal(2)))
    tier = DefinePriceTier(
        name="B2B",
        discount_percent=Decimal(10),
        prices=(TierPrice(product_id=1, unit_price=Decimal("1.1"), min_quantity=Decimal(10)),),
    )
    world.given(tier, RegisterCustomer(name="Acme", price_tier_id=1))

    def priced(quantity: int, price: Decimal | None = None) -> tuple[Decimal, str]:
        entry = OrderLineEntry(product_id=1, quantity=Decimal(quantity), unit_price=price)
        (line,) = placed(world.do(PlaceOrder(lines=(entry,), customer_id=1))).lines
        return line.unit_price, line.price_source

    assert priced(1, Decimal(7)) == (7, "given")
    assert priced(10) == (Decimal("1.1"), "tier")
    assert priced(9) == (Decimal("1.8"), "tier")


def test_an_order_reads_a_listing_only_where_it_looks_for_stock(monkeypatch: Any) -> None:
    """One state more for each line at a place, and none of any other place."""
    world: World = shop(locations=3).given(receive(5))
    asked: list[str] = []
    read = World._states  # pyright: ignore[reportPrivateUsage]

    def noting(self: World, streams: Any) -> Any:
        names = list(streams)
        asked.extend(names)
        return read(self, names)

    monkeypatch.setattr(World, "_states", noting)
    world.do(place())
    assert sorted(set(filter(lambda name: name.startswith("listing"), asked))) == ["listing-1-1"]
