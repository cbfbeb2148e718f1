"""Postal addresses, of customers and of orders."""

from typing import Annotated

import msgspec

from schemas.common import ShortText
from schemas.personal import PERSONAL

_Part = Annotated[str | None, PERSONAL]
_GivenPart = Annotated[ShortText | None, PERSONAL]


class KeptAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where something goes, or where its bill does, as events hold it: sealed, so of any length."""

    line1: _Part = None
    line2: _Part = None
    city: _Part = None
    state: _Part = None
    postcode: _Part = None
    country: _Part = None
    name: _Part = None
    phone: _Part = None


class Address(KeptAddress, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where something goes, or where its bill does."""

    line1: _GivenPart = None
    line2: _GivenPart = None
    city: _GivenPart = None
    state: _GivenPart = None
    postcode: _GivenPart = None
    country: _GivenPart = None
    name: _GivenPart = None
    phone: _GivenPart = None
