"""Locations (seed 003 calls them warehouses): commands and events."""

from decimal import Decimal
from typing import ClassVar

from schemas.common import Code, Command, Event, Id, Name, ShortText, keep_exact


class _LocationFields(Command, frozen=True, kw_only=True):
    """Everything a client says of a location.

    ``stock_limit`` is what available must never go below there (zero, or below zero where
    stock may be negative); ``time_zone`` is the IANA zone its business days are in.
    """

    name: Name
    code: Code
    address: ShortText | None = None
    city: ShortText | None = None
    state: ShortText | None = None
    postcode: ShortText | None = None
    country: ShortText | None = None
    time_zone: ShortText = "UTC"
    is_default: bool = False
    stock_limit: Decimal = Decimal(0)
    is_active: bool = True

    def __post_init__(self) -> None:
        keep_exact(self, "stock_limit", self.stock_limit)
        if self.stock_limit > 0:
            raise ValueError("stock_limit must be zero or below it")


class OpenLocation(_LocationFields, frozen=True, kw_only=True):
    """Add a place where stock is kept. Its id is counted by the ledger."""

    TYPE: ClassVar[str] = "OpenLocation"


class ReviseLocation(_LocationFields, frozen=True, kw_only=True):
    """Replace all that is said of a location. Its id stays."""

    TYPE: ClassVar[str] = "ReviseLocation"
    location_id: Id


LocationCommand = OpenLocation | ReviseLocation


class _LocationFacts(Event, frozen=True, kw_only=True):
    location_id: int
    name: str
    code: str
    address: str | None = None
    city: str | None = None
    state: str | None = None
    postcode: str | None = None
    country: str | None = None
    time_zone: str = "UTC"
    is_default: bool = False
    stock_limit: Decimal = Decimal(0)
    is_active: bool = True


class LocationOpened(_LocationFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "LocationOpened"


class LocationRevised(_LocationFacts, frozen=True, kw_only=True):
    """The whole of what is said of the location from now on."""

    TYPE: ClassVar[str] = "LocationRevised"


LocationEvent = LocationOpened | LocationRevised
