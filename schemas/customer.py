"""Customers, their addresses, and the price tiers that their orders are priced by."""

from decimal import Decimal
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from schemas.address import Address, KeptAddress
from schemas.common import (
    Code,
    Command,
    Event,
    Id,
    Name,
    ShortText,
    keep_amount,
    keep_exact,
    require_positive,
)
from schemas.personal import PERSONAL, Sealed

CustomerType = Literal["retail", "wholesale", "b2b"]
AddressType = Literal["billing", "shipping"]
ADDRESSES_MAX = 100
TIER_PRICES_MAX = 1_000

# --- customers: commands ----------------------------------------------------------------


class _CustomerFields(Command, frozen=True, kw_only=True):
    """Everything a client says of a customer.

    ``code`` and ``email`` are unique where given. ``price_tier_id`` is what prices the lines
    of the customer's orders that come without a price.
    """

    name: Annotated[Name, PERSONAL]
    email: Annotated[ShortText | None, PERSONAL] = None
    phone: Annotated[ShortText | None, PERSONAL] = None
    company: Annotated[ShortText | None, PERSONAL] = None
    customer_type: CustomerType = "retail"
    code: Code | None = None
    price_tier_id: Id | None = None
    sealed: Sealed | msgspec.UnsetType = msgspec.UNSET


class CustomerAddress(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address, what it is for, and whether it is the one that is used for that."""

    type: AddressType
    address: Address
    is_default: bool = False


class RegisterCustomer(_CustomerFields, frozen=True, kw_only=True):
    """Add someone who buys. The id is counted by the ledger."""

    TYPE: ClassVar[str] = "RegisterCustomer"
    addresses: Annotated[tuple[CustomerAddress, ...], Meta(max_length=ADDRESSES_MAX)] = ()


class ReviseCustomer(_CustomerFields, frozen=True, kw_only=True):
    """Replace all that is said of a customer. Id and addresses stay."""

    TYPE: ClassVar[str] = "ReviseCustomer"
    customer_id: Id


class AddCustomerAddress(Command, frozen=True, kw_only=True):
    """Add an address. The first of its type is the default; a later one may become it."""

    TYPE: ClassVar[str] = "AddCustomerAddress"
    customer_id: Id
    type: AddressType
    address: Address
    is_default: bool = False


CustomerCommand = RegisterCustomer | ReviseCustomer | AddCustomerAddress


class EraseCustomer(Command, frozen=True, kw_only=True):
    """Erase a customer's personal data: the keys that open it are destroyed with this command.

    ``reason`` stays readable, so it must not be personal itself.
    """

    TYPE: ClassVar[str] = "EraseCustomer"
    customer_id: Id
    reason: ShortText | None = None


# --- customers: events ------------------------------------------------------------------


class _CustomerFacts(Event, frozen=True, kw_only=True):
    """``subject`` names the key of the sealed texts; ``email_key`` stands for the e-mail address,
    which is unique. Both are missing where the texts were not sealed yet."""

    customer_id: int
    name: Annotated[str, PERSONAL]
    email: Annotated[str | None, PERSONAL] = None
    phone: Annotated[str | None, PERSONAL] = None
    company: Annotated[str | None, PERSONAL] = None
    customer_type: CustomerType = "retail"
    code: str | None = None
    price_tier_id: int | None = None
    subject: str | None = None
    email_key: str | None = None


class CustomerRegistered(_CustomerFacts, frozen=True, kw_only=True):
    """Somebody who buys; personal texts are sealed."""

    TYPE: ClassVar[str] = "CustomerRegistered"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1


class CustomerRevised(_CustomerFacts, frozen=True, kw_only=True):
    """The whole of what is said of the customer from now on, besides addresses."""

    TYPE: ClassVar[str] = "CustomerRevised"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1


class CustomerAddressAdded(Event, frozen=True, kw_only=True):
    """``is_default`` takes that mark from the customer's other addresses of the type.

    ``address_id`` is the customer's id times 1000 plus the number of the address.
    """

    TYPE: ClassVar[str] = "CustomerAddressAdded"
    customer_id: int
    address_id: int
    type: AddressType
    address: KeptAddress
    is_default: bool = False


class CustomerErased(Event, frozen=True, kw_only=True):
    """The keys of the customer's personal data are destroyed: nobody can read it any more."""

    TYPE: ClassVar[str] = "CustomerErased"
    customer_id: int
    reason: str | None = None


CustomerEvent = CustomerRegistered | CustomerRevised | CustomerAddressAdded | CustomerErased

# --- price tiers ------------------------------------------------------------------------


class TierPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one base unit of a product costs from ``min_quantity`` on."""

    product_id: Id
    unit_price: Decimal
    min_quantity: Decimal = Decimal(1)

    def __post_init__(self) -> None:
        keep_amount(self, "unit_price", self.unit_price)
        keep_exact(self, "min_quantity", self.min_quantity)
        require_positive("min_quantity", self.min_quantity)


class _TierFields(Command, frozen=True, kw_only=True):
    """``discount_percent`` is off the list price of products that ``prices`` does not name."""

    name: Name
    discount_percent: Decimal = Decimal(0)
    prices: Annotated[tuple[TierPrice, ...], Meta(max_length=TIER_PRICES_MAX)] = ()

    def __post_init__(self) -> None:
        keep_amount(self, "discount_percent", self.discount_percent)
        if self.discount_percent > 100:
            raise ValueError("discount_percent must not be above 100")


class DefinePriceTier(_TierFields, frozen=True, kw_only=True):
    """Add a price tier. Its id is counted by the ledger."""

    TYPE: ClassVar[str] = "DefinePriceTier"


class RevisePriceTier(_TierFields, frozen=True, kw_only=True):
    """Replace a price tier. Orders that were placed keep their prices."""

    TYPE: ClassVar[str] = "RevisePriceTier"
    price_tier_id: Id


PriceTierCommand = DefinePriceTier | RevisePriceTier


class _TierFacts(Event, frozen=True, kw_only=True):
    price_tier_id: int
    name: str
    discount_percent: Decimal = Decimal(0)
    prices: tuple[TierPrice, ...] = ()


class PriceTierDefined(_TierFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PriceTierDefined"


class PriceTierRevised(_TierFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "PriceTierRevised"


PriceTierEvent = PriceTierDefined | PriceTierRevised
