"""Why commands about other systems are refused."""

from typing import ClassVar

from ledger.domain.decision import Refusal


class StoreLinkedElsewhere(Refusal, frozen=True, kw_only=True):
    """A store is one location's only, and a location one store of each system."""

    CODE: ClassVar[str] = "store_linked_elsewhere"
    system: str
    external_id: str
    location_id: int

    def detail(self) -> str:
        return (
            f"Store {self.external_id!r} of {self.system} is linked to location "
            f"{self.location_id}; unlink that first."
        )


class ItemLinkedElsewhere(Refusal, frozen=True, kw_only=True):
    """An item is one product only, and a product one item of each system."""

    CODE: ClassVar[str] = "item_linked_elsewhere"
    system: str
    external_id: str
    product_id: int

    def detail(self) -> str:
        return (
            f"Item {self.external_id!r} of {self.system} is linked to product {self.product_id}; "
            f"unlink that first."
        )


class SupplierLinkedElsewhere(Refusal, frozen=True, kw_only=True):
    """A supplier there is one of ours only, and one of ours one supplier of each system."""

    CODE: ClassVar[str] = "supplier_linked_elsewhere"
    system: str
    external_id: str
    supplier_id: int

    def detail(self) -> str:
        return (
            f"Supplier {self.external_id!r} of {self.system} is linked to supplier "
            f"{self.supplier_id}; give the other one an external id of its own."
        )


class ExternalItemNotFound(Refusal, frozen=True, kw_only=True):
    """An item of another system that is linked to no product, or to one that is discontinued."""

    CODE: ClassVar[str] = "external_item_not_found"
    system: str
    external_id: str
    product_id: int | None = None

    def detail(self) -> str:
        if self.product_id is None:
            fault = "is linked to no product; link it, or synchronise it first"
        else:
            fault = f"is linked to product {self.product_id}, which is discontinued; unlink it"
        return f"Item {self.external_id!r} of {self.system} {fault}."


class ExternalSupplierNotFound(Refusal, frozen=True, kw_only=True):
    """A supplier of another system that is linked to none of ours."""

    CODE: ClassVar[str] = "external_supplier_not_found"
    system: str
    external_id: str

    def detail(self) -> str:
        return (
            f"Supplier {self.external_id!r} of {self.system} is linked to no supplier; link it, "
            f"or synchronise it first."
        )


class ChangedMeanwhile(Refusal, frozen=True, kw_only=True):
    """What a synchronisation was made from is no longer what the books say."""

    CODE: ClassVar[str] = "changed_meanwhile"
    system: str
    external_id: str

    def detail(self) -> str:
        return (
            f"What is known of {self.external_id!r} of {self.system} has changed while it was "
            f"synchronised; send the request again."
        )
