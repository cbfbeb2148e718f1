"""The decisions about categories, and about products' places among them and one another."""

from decimal import Decimal
from typing import Any

from ledger.domain.decision import ProductNotFound
from ledger.domain.product_category import DEPTH_MAX
from ledger.domain.refusals import ProductFieldFixed, ProductIsDiscontinued, SupplierCodeTaken
from ledger.domain.refusals_customers import (
    CategoryNameTaken,
    CategoryNotFound,
    CategoryTooDeep,
    CategoryUnderItself,
    ProductHasVariants,
    SupplierNotFound,
)
from schemas.category import DefineCategory, ReviseCategory
from schemas.product import (
    DiscontinueProduct,
    ProductImageEntry,
    RegisterProduct,
    ReviseProduct,
    VariantOption,
)
from schemas.stock import IssueStock, ReceiveStock
from schemas.supplier import RegisterSupplier, ReviseSupplier
from tests.support.decisions import World, shop, types

TEA: dict[str, Any] = {"name": "Tea", "sku": "TEA", "base_price": Decimal("2.50")}


def product(sku: str, **more: Any) -> RegisterProduct:
    """Make a command that registers a product."""
    return RegisterProduct(name=sku, sku=sku, base_price=Decimal(1), **more)


def chain(length: int) -> World:
    """Return a world with categories of which each stands under the one before."""
    world = World()
    for number in range(length):
        parent = number or None
        world.given(DefineCategory(name=f"C{number + 1}", parent_id=parent))
    return world


# --- categories -------------------------------------------------------------------------


def test_a_name_is_unique_under_one_parent():
    """In any case; under another parent it is another category."""
    world = World().given(DefineCategory(name="Bolts"), DefineCategory(name="Nuts"))
    taken = world.do(DefineCategory(name=" bolts"))
    assert taken == CategoryNameTaken(category=" bolts", category_id=1)
    world.given(DefineCategory(name="Bolts", parent_id=2))
    moved = world.do(ReviseCategory(category_id=3, name="Bolts"))
    assert moved == CategoryNameTaken(category="Bolts", category_id=1)
    assert types(world.do(ReviseCategory(category_id=2, name="Bolts", parent_id=1))) == [
        "CategoryRevised"
    ]
    assert types(world.do(DefineCategory(name="Nuts"))) == ["CategoryDefined"]


def test_a_revision_that_says_nothing_new_is_nothing_to_do():
    """Another spelling of the name is something new."""
    world = World().given(DefineCategory(name="Bolts"))
    assert world.do(ReviseCategory(category_id=1, name="Bolts")) == []
    assert types(world.do(ReviseCategory(category_id=1, name="BOLTS"))) == ["CategoryRevised"]


def test_a_category_never_stands_under_itself():
    """Not right below, and not at any depth."""
    world = chain(5)
    for parent_id in range(1, 6):
        refused = world.do(ReviseCategory(category_id=1, name="C1", parent_id=parent_id))
        assert refused == CategoryUnderItself(category_id=1, parent_id=parent_id)
    assert types(world.do(ReviseCategory(category_id=4, name="C4", parent_id=1))) == [
        "CategoryRevised"
    ]


def test_nothing_is_put_deeper_than_the_limit():
    """The last level takes nothing below it."""
    world = chain(DEPTH_MAX)
    refused = world.do(DefineCategory(name="below", parent_id=DEPTH_MAX))
    assert refused == CategoryTooDeep(parent_id=DEPTH_MAX, maximum=DEPTH_MAX)
    assert types(world.do(DefineCategory(name="beside", parent_id=DEPTH_MAX - 1))) == [
        "CategoryDefined"
    ]


def test_what_is_named_must_be_there():
    """The category itself, and its parent."""
    world = World().given(DefineCategory(name="Bolts"))
    assert world.do(ReviseCategory(category_id=7, name="X")) == CategoryNotFound(category_id=7)
    for command in (
        DefineCategory(name="X", parent_id=7),
        ReviseCategory(category_id=1, name="X", parent_id=7),
    ):
        assert world.do(command) == CategoryNotFound(category_id=7)
    # Not even under the id that it is about to get.
    assert world.do(DefineCategory(name="X", parent_id=2)) == CategoryNotFound(category_id=2)
    assert types(world.do(DefineCategory(name="  "))) == ["invalid_command"]


# --- products ---------------------------------------------------------------------------


def test_a_products_category_and_supplier_must_be_there():
    """By id, or by the category's name and the supplier's code in any case."""
    world = World().given(
        DefineCategory(name="Drinks"),
        DefineCategory(name="Tea", parent_id=1),
        RegisterSupplier(name="Hill", code="HILL"),
    )
    assert world.do(product("A", category_id=9)) == CategoryNotFound(category_id=9)
    assert world.do(product("A", supplier_id=9)) == SupplierNotFound(supplier_id=9)
    # By its name only what is at the top is found.
    assert world.do(product("A", category="Tea")) == CategoryNotFound(category="Tea")
    assert world.do(product("A", supplier="KILN")) == SupplierNotFound(supplier="KILN")
    (by_name,) = world.do(product("A", category=" drinks", supplier="hill "))
    assert (by_name.event.category_id, by_name.event.supplier_id) == (1, 1)
    (by_id,) = world.do(product("B", category_id=2, supplier_id=1))
    assert (by_id.event.category_id, by_id.event.supplier_id) == (2, 1)


def test_a_variant_is_of_a_product_that_is_none():
    """Not of itself, not of a variant, not of what is gone; nor once it has variants itself."""
    world = World().given(product("SHIRT"), product("SHIRT-M", variant_of=1), product("HAT"))
    assert types(world.do(product("X", variant_of=2))) == ["not_a_variant"]
    assert types(world.do(product("X", variant_of=4))) == ["not_a_variant"]
    assert world.do(product("X", variant_of=9)) == ProductNotFound(product_id=9)
    own = ReviseProduct(product_id=1, name="S", sku="SHIRT", base_price=Decimal(1), variant_of=1)
    assert types(world.do(own)) == ["not_a_variant"]
    other = ReviseProduct(product_id=1, name="S", sku="SHIRT", base_price=Decimal(1), variant_of=3)
    assert types(world.do(other)) == ["not_a_variant"]
    world.given(DiscontinueProduct(product_id=2))
    assert types(world.do(other)) == ["ProductRevised"]
    world.given(product("CAP"), DiscontinueProduct(product_id=4))
    assert world.do(product("X", variant_of=4)) == ProductIsDiscontinued(product_id=4, sku="CAP")


def test_a_product_with_variants_stays_in_the_catalogue():
    """Its variants would be of nothing."""
    world = World().given(product("SHIRT"), product("SHIRT-M", variant_of=1))
    refused = world.do(DiscontinueProduct(product_id=1))
    assert refused == ProductHasVariants(product_id=1, sku="SHIRT")
    world.given(DiscontinueProduct(product_id=2))
    assert types(world.do(DiscontinueProduct(product_id=1))) == ["ProductDiscontinued"]


def test_one_image_is_the_primary():
    """The first said to be it; the first of all where none is."""

    def images(*flags: bool) -> tuple[ProductImageEntry, ...]:
        return tuple(
            ProductImageEntry(url=f"/{place}.jpg", is_primary=flag)
            for place, flag in enumerate(flags)
        )

    world = World()
    for number, (given, kept) in enumerate(
        [
            ((), ()),
            ((False, False), (True, False)),
            ((False, True), (False, True)),
            ((False, True, True), (False, True, False)),
        ]
    ):
        (registered,) = world.do(product(f"P{number}", images=images(*given)))
        assert tuple(image.is_primary for image in registered.event.images) == kept


def test_options_have_different_names():
    """Size cannot be two things."""
    options = (VariantOption(name="Size", value="M"), VariantOption(name="size ", value="L"))
    refused = World().do(product("A", options=options))
    assert (types(refused), refused.field) == (["invalid_command"], "options")


def test_tracking_may_change_while_there_is_no_stock():
    """Otherwise there would be goods of which nobody knows the lot."""
    world = shop().given(ReceiveStock(product_id=1, location_id=1, quantity=Decimal(2)))
    tracked = ReviseProduct(product_id=1, **TEA, tracking_type="batch")
    refused = world.do(tracked)
    assert refused == ProductFieldFixed(product_id=1, field="tracking_type", present="none")
    assert "bring that to zero first" in refused.detail()
    world.given(IssueStock(product_id=1, location_id=1, quantity=Decimal(2)))
    assert types(world.do(tracked)) == ["ProductRevised"]


# --- suppliers --------------------------------------------------------------------------


def test_a_supplier_is_revised():
    """Its code must be free or its own; saying the same again is nothing to do."""
    world = World().given(
        RegisterSupplier(name="Hill", code="HILL"), RegisterSupplier(name="Kiln", code="KILN")
    )
    assert world.do(ReviseSupplier(supplier_id=1, name="Hill", code=" HILL ")) == []
    assert world.do(ReviseSupplier(supplier_id=1, name="Hill", code="kiln")) == SupplierCodeTaken(
        code="kiln", supplier_id=2
    )
    assert types(world.do(ReviseSupplier(supplier_id=1, name="Hill"))) == ["SupplierRevised"]
    assert types(world.do(RegisterSupplier(name="Hill 2", code="HILL"))) == ["SupplierRegistered"]
    assert world.do(ReviseSupplier(supplier_id=7, name="X")) == SupplierNotFound(supplier_id=7)
