"""Why commands about customers, price tiers, categories and the catalogue are refused."""

from decimal import Decimal
from typing import Any, ClassVar

from ledger.domain.decision import Refusal


class CustomerNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "customer_not_found"
    customer_id: int

    def detail(self) -> str:
        return f"There is no customer with id {self.customer_id}; register the customer first."


class CustomerCodeTaken(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "customer_code_taken"
    customer_code: str
    customer_id: int

    def detail(self) -> str:
        return (
            f"Code {self.customer_code!r} is customer {self.customer_id} already; choose another, "
            f"or revise that customer."
        )


class CustomerEmailTaken(Refusal, frozen=True, kw_only=True):
    """It does not repeat the address: refusals may be kept where nothing erases them."""

    CODE: ClassVar[str] = "email_taken"
    customer_id: int

    def detail(self) -> str:
        return (
            f"Email already exists: it is that of customer {self.customer_id}; use another, or "
            f"revise that customer."
        )


class CustomerIsErased(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "customer_erased"
    customer_id: int

    def detail(self) -> str:
        return (
            f"Customer {self.customer_id} has been erased, and nothing can be recorded for that id "
            f"any more; register the customer anew."
        )


class CustomerHasOpenOrders(Refusal, frozen=True, kw_only=True):
    """``orders`` are the first of those that are neither fulfilled nor cancelled."""

    CODE: ClassVar[str] = "customer_has_open_orders"
    customer_id: int
    orders: tuple[int, ...]

    def detail(self) -> str:
        listed = ", ".join(map(str, self.orders))
        return (
            f"Customer {self.customer_id} has open orders ({listed}), which still need it; "
            f"fulfil or cancel them first."
        )


class TooManyAddresses(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "too_many_addresses"
    customer_id: int
    maximum: int

    def detail(self) -> str:
        return (
            f"Customer {self.customer_id} has {self.maximum} addresses, and no more are kept; give "
            f"the address with the order it is for."
        )


class PriceTierNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "price_tier_not_found"
    price_tier_id: int

    def detail(self) -> str:
        return f"There is no price tier with id {self.price_tier_id}; define it first."


class TierPriceTwice(Refusal, frozen=True, kw_only=True):
    """Two prices of a tier are of one product and for one quantity."""

    CODE: ClassVar[str] = "tier_price_twice"
    product_id: int
    min_quantity: Decimal

    def detail(self) -> str:
        return (
            f"prices has two prices of product {self.product_id} from {self.min_quantity:f} on; "
            f"give one of them, or another min_quantity."
        )

    def extensions(self) -> dict[str, Any]:
        return {"product_id": self.product_id, "min_quantity": format(self.min_quantity, "f")}


class CategoryNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "category_not_found"
    category_id: int | None = None
    category: str | None = None

    def detail(self) -> str:
        name = f"id {self.category_id}" if self.category is None else f"name {self.category!r}"
        return f"There is no category with {name}; define it first or check the spelling."


class CategoryNameTaken(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "category_name_taken"
    category: str
    category_id: int
    parent_id: int | None = None

    def detail(self) -> str:
        where = "at the top" if self.parent_id is None else f"under category {self.parent_id}"
        return (
            f"{self.category!r} {where} is category {self.category_id} already; choose another "
            f"name, or put it elsewhere."
        )


class CategoryUnderItself(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "category_under_itself"
    category_id: int
    parent_id: int

    def detail(self) -> str:
        return (
            f"Category {self.parent_id} is category {self.category_id} or stands under it, so it "
            f"cannot be above it; choose another parent_id."
        )


class CategoryTooDeep(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "category_too_deep"
    parent_id: int
    maximum: int

    def detail(self) -> str:
        return (
            f"Category {self.parent_id} stands {self.maximum} levels deep or deeper, and nothing "
            f"goes below that; choose a parent_id further up."
        )


class SupplierNotFound(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "supplier_not_found"
    supplier_id: int | None = None
    supplier: str | None = None

    def detail(self) -> str:
        name = f"id {self.supplier_id}" if self.supplier is None else f"code {self.supplier!r}"
        return f"There is no supplier with {name}; register it first or check the spelling."


class NotAVariant(Refusal, frozen=True, kw_only=True):
    """A product is a variant of one that is no variant; ``objection`` says why not of this."""

    CODE: ClassVar[str] = "not_a_variant"
    variant_of: int
    objection: str

    def detail(self) -> str:
        return f"variant_of cannot be {self.variant_of}: {self.objection}."


class ProductHasVariants(Refusal, frozen=True, kw_only=True):
    CODE: ClassVar[str] = "product_has_variants"
    product_id: int
    sku: str

    def detail(self) -> str:
        return (
            f"Product {self.product_id} ({self.sku!r}) has variants; take those out first, or "
            f"revise them to be variants of another product."
        )
