"""Items: what a client says of one product at one location, read leniently and exactly.

WordPress's clients send ids and figures as numbers or as text, and flags in several ways; all of
these are taken. Values are read from their bytes: no figure passes through a binary number.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, UnsetType

from api.decoding import DECODE_FAULTS
from api.problems import Problem, of_decoding
from schemas.listing import SyncListing
from schemas.stock import SetStock

_ID_MAX: Final = 2**53 - 1
_SKU_LENGTH_MAX: Final = 100
_SLUG_LENGTH_MAX: Final = 50
_NUMBER_LENGTH_MAX: Final = 42
_SHOWN_LENGTH_MAX: Final = 60

_INTEGER: Final = re.compile(rb'"?([0-9]{1,16})"?')
_DECIMAL: Final = re.compile(rb'"?([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"?')
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f]")
_NOTHING: Final = (b"null", b'""')
_FLAGS: Final[dict[bytes, bool]] = {
    b"true": True,
    b"false": False,
    b"1": True,
    b"0": False,
    b'"1"': True,
    b'"0"': False,
    b'"yes"': True,
    b'"no"': False,
    b'"true"': True,
    b'"false"': False,
}
_BACKORDERS: Final[dict[bytes, bool]] = {**_FLAGS, b'"notify"': True}

_RawField = Raw | UnsetType


class _Sent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An item as it was sent, each value still in its bytes. Other members are passed over."""

    product_id: _RawField = UNSET
    sku: _RawField = UNSET
    location_id: _RawField = UNSET
    location_slug: _RawField = UNSET
    stock: _RawField = UNSET
    regular_price: _RawField = UNSET
    sale_price: _RawField = UNSET
    backorders: _RawField = UNSET
    disabled: _RawField = UNSET


_decode = msgspec.json.Decoder(_Sent).decode
_decode_text = msgspec.json.Decoder(str).decode


class Named(NamedTuple):
    """What an item names: a product by id or SKU and a location by id or slug."""

    product_id: int | None = None
    sku: str | None = None
    location_id: int | None = None
    location_slug: str | None = None


class Read(NamedTuple):
    """An item as it was read: the command that it stands for, or the problem with it."""

    named: Named
    command: SetStock | SyncListing | None
    problem: Problem | None = None

    @property
    def sets_stock(self) -> bool:
        """Whether it says what is on hand."""
        command = self.command
        return isinstance(command, SetStock) or (command is not None and command.stock is not None)


def read_items(raws: Sequence[Raw]) -> list[Read]:
    """Return each item as it was read, in order."""
    return [read_item(raw) for raw in raws]


def read_item(raw: Raw | bytes) -> Read:
    """Return one item as it was read."""
    try:
        sent = _decode(raw)
    except DECODE_FAULTS as fault:
        return Read(Named(), None, of_decoding(fault))
    named = Named()
    try:
        named = _named(sent)
        return Read(named, _command(sent, named))
    except Problem as problem:
        return Read(named, None, problem)


def _named(sent: _Sent) -> Named:
    """Return what an item names; the id counts where both are given, as in WordPress."""
    product_id = _id("product_id", sent.product_id, "product_not_found")
    sku = None if product_id is not None else _text("sku", sent.sku)
    location_id = _id("location_id", sent.location_id, "location_not_found")
    slug = None if location_id is not None else _text("location_slug", sent.location_slug)
    return Named(product_id, sku, location_id, slug)


def _command(sent: _Sent, named: Named) -> SetStock | SyncListing:
    product_id, sku, location_id, slug = named
    if product_id is None and sku is None:
        raise Problem(
            "missing_parameter", "Send the product's id, or its SKU as sku.", field="product_id"
        )
    if location_id is None and slug is None:
        raise Problem(
            "missing_parameter",
            "Send the location's id, or its slug as location_slug.",
            field="location_id",
        )
    if sku is not None and (len(sku) > _SKU_LENGTH_MAX or _UNPRINTABLE.search(sku)):
        raise Problem("product_not_found", "No product has such a SKU; check its spelling.")
    if slug is not None and (len(slug) > _SLUG_LENGTH_MAX or _UNPRINTABLE.search(slug)):
        raise Problem("location_not_found", "No location has such a slug; check its spelling.")
    stock = None if sent.stock is UNSET else _stock(sent.stock)
    said: dict[str, Any] = {}
    for field in ("regular_price", "sale_price"):
        value = getattr(sent, field)
        if value is not UNSET:
            said[field] = _price(field, value)
    if sent.backorders is not UNSET:
        said["backorders"] = _flag("backorders", sent.backorders, _BACKORDERS)
    if sent.disabled is not UNSET:
        said["disabled"] = _flag("disabled", sent.disabled, _FLAGS) or False
    try:
        if said:
            return SyncListing(
                product_id=product_id,
                sku=sku,
                location_id=location_id,
                location=slug,
                stock=stock,
                **said,
            )
        if stock is None:
            raise _wrong_stock("It is missing, and nothing else is said of the product")
        return SetStock(
            product_id=product_id, sku=sku, location_id=location_id, location=slug, quantity=stock
        )
    except ValueError as fault:
        field, _, detail = str(fault).partition(" ")
        if field in ("stock", "quantity"):
            raise _wrong_stock(f"It {detail}") from None
        raise Problem("invalid_field", f"{fault}.", field=field) from None


def _id(field: str, raw: _RawField, missing: str) -> int | None:
    """Return an id, None for none; ``missing`` is the problem of one that nothing can have."""
    if raw is UNSET:
        return None
    data = bytes(raw)
    match = _INTEGER.fullmatch(data)
    if match is not None:
        number = int(match[1])
        if number > _ID_MAX:
            raise Problem(missing, f"There is nothing with the {field} {number}.")
        return number or None
    if data in _NOTHING:
        return None
    raise Problem("invalid_field", f"{_shown(data)} is not an id.", field=field)


def _text(field: str, raw: _RawField) -> str | None:
    """Return a name, None for none; a number stands for its digits."""
    if raw is UNSET:
        return None
    data = bytes(raw)
    if data in _NOTHING:
        return None
    if data[:1] == b'"':
        try:
            return _decode_text(data).strip() or None
        except DECODE_FAULTS:
            raise Problem("malformed_body", f"The {field} is not UTF-8; send UTF-8.") from None
    if _INTEGER.fullmatch(data):
        return data.decode()
    raise Problem("invalid_field", f"{_shown(data)} is not text.", field=field)


def _stock(raw: Raw) -> Decimal:
    value = _decimal(bytes(raw))
    if value is None:
        raise _wrong_stock(f"{_shown(bytes(raw))} is not a number")
    return value


def _price(field: str, raw: Raw) -> Decimal | None:
    data = bytes(raw)
    if data in _NOTHING:
        return None
    value = _decimal(data)
    if value is None:
        raise Problem("invalid_field", f"{_shown(data)} is not a price.", field=field)
    return value


def _decimal(data: bytes) -> Decimal | None:
    match = _DECIMAL.fullmatch(data)
    if match is None or len(data) > _NUMBER_LENGTH_MAX:
        return None
    return Decimal(match[1].decode())


def _flag(field: str, raw: Raw, flags: dict[bytes, bool]) -> bool | None:
    data = bytes(raw).lower()
    if data in _NOTHING:
        return None
    flag = flags.get(data)
    if flag is None:
        known = "no, notify or yes" if flags is _BACKORDERS else "true or false"
        raise Problem("invalid_field", f"{_shown(data)} is not {known}.", field=field)
    return flag


def _wrong_stock(fault: str) -> Problem:
    return Problem("invalid_stock_value", f"{fault}; send a plain number of what is on hand.")


def _shown(data: bytes) -> str:
    """Return the beginning of a value, for a message."""
    text = data.decode("utf-8", "replace")
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}…"
