"""Suppliers: commands and events."""

from typing import Annotated, ClassVar

from msgspec import Meta

from schemas.common import Command, Event, Name, ShortText


class RegisterSupplier(Command, frozen=True, kw_only=True):
    """Add someone goods are bought from. Its id is counted by the ledger."""

    TYPE: ClassVar[str] = "RegisterSupplier"
    name: Name
    code: ShortText | None = None
    email: ShortText | None = None
    phone: ShortText | None = None
    payment_terms: ShortText | None = None
    lead_time_days: Annotated[int, Meta(ge=0, le=3650)] | None = None


SupplierCommand = RegisterSupplier


class SupplierRegistered(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "SupplierRegistered"
    supplier_id: int
    name: str
    code: str | None = None
    email: str | None = None
    phone: str | None = None
    payment_terms: str | None = None
    lead_time_days: int | None = None


SupplierEvent = SupplierRegistered
