"""Postal addresses, of customers and of orders."""

import msgspec

from schemas.common import ShortText


class Address(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where something goes, or where its bill does."""

    line1: ShortText | None = None
    line2: ShortText | None = None
    city: ShortText | None = None
    state: ShortText | None = None
    postcode: ShortText | None = None
    country: ShortText | None = None
    name: ShortText | None = None
    phone: ShortText | None = None
