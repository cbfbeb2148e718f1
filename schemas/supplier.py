"""Suppliers: commands and events."""

from typing import Annotated, ClassVar

from msgspec import Meta

from schemas.common import Command, Event, Id, Name, ShortText


class _SupplierFields(Command, frozen=True, kw_only=True):
    name: Name
    code: ShortText | None = None
    email: ShortText | None = None
    phone: ShortText | None = None
    payment_terms: ShortText | None = None
    lead_time_days: Annotated[int, Meta(ge=0, le=3650)] | None = None


class RegisterSupplier(_SupplierFields, frozen=True, kw_only=True):
    """Add someone goods are bought from. Its id is counted by the ledger."""

    TYPE: ClassVar[str] = "RegisterSupplier"


class ReviseSupplier(_SupplierFields, frozen=True, kw_only=True):
    """Replace all that is said of a supplier. Its id stays."""

    TYPE: ClassVar[str] = "ReviseSupplier"
    supplier_id: Id


SupplierCommand = RegisterSupplier | ReviseSupplier


class _SupplierFacts(Event, frozen=True, kw_only=True):
    supplier_id: int
    name: str
    code: str | None = None
    email: str | None = None
    phone: str | None = None
    payment_terms: str | None = None
    lead_time_days: int | None = None


class SupplierRegistered(_SupplierFacts, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "SupplierRegistered"


class SupplierRevised(_SupplierFacts, frozen=True, kw_only=True):
    """The whole of what is said of the supplier from now on."""

    TYPE: ClassVar[str] = "SupplierRevised"


SupplierEvent = SupplierRegistered | SupplierRevised
