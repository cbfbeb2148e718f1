"""Every command has a decider, and every event a fold."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from ledger.domain import registry
from ledger.domain.decision import Refusal
from ledger.domain.stock_state import FOLDS
from schemas.stock import StockEvent


def test_every_command_is_found_by_its_name():
    """``type`` in the bulk endpoint."""
    assert "AdjustStock" in registry.COMMANDS
    for name, command_type in registry.COMMANDS.items():
        assert command_type.TYPE == name
        assert registry.decider_for(command_type) is not None


def test_every_stock_event_is_folded():
    """None is forgotten when one is added."""
    assert set(FOLDS) == set(get_args(StockEvent))


@pytest.mark.parametrize(
    "stream", ["stock-1-2", "product-1", "location-1", "supplier-1", "import-a-b", "access-key-1"]
)
def test_every_category_has_a_state_that_can_be_stored(stream: str):
    """Snapshots are JSON."""
    category = registry.category(stream)
    initial = registry.initial(category)
    stored = msgspec.json.encode(initial)
    assert msgspec.json.decode(stored, type=registry.state_type(category)) == initial
    assert registry.state_version(category) >= 1


def refusals(kind: type[Refusal]) -> list[type[Refusal]]:
    """Return the domain's refusals of a kind, however far below it."""
    below = [k for direct in kind.__subclasses__() for k in (direct, *refusals(direct))]
    return [k for k in below if k.__module__.startswith("ledger.domain.")]


def test_codes_of_refusals_are_their_own():
    """A client can tell any two apart."""
    codes = [kind.CODE for kind in refusals(Refusal) if "CODE" in kind.__dict__]
    assert len(codes) == len(set(codes))


def _example(kind: Any) -> Any:
    """Return a value of a type, by its JSON schema where it is none of a few."""
    examples: dict[Any, Any] = {
        Decimal: Decimal("1.50"),
        int: 7,
        datetime: datetime(2026, 3, 2, tzinfo=UTC),
        date: date(2026, 3, 2),
        str: "x",
    }
    if kind in examples:
        return examples[kind]
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is tuple:
        members = get_args(kind)
        return tuple(_example(member) for member in members if member is not Ellipsis)
    return _example(get_args(kind)[0])


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for member in value for leaf in _leaves(member)]
    return [value]


@pytest.mark.parametrize("kind", [k for k in refusals(Refusal) if "CODE" in k.__dict__])
def test_every_refusal_can_be_told_and_sent(kind: type[Refusal]):
    """A sentence, and members that JSON can hold without losing a digit."""
    fields = {
        field.name: _example(field.type) for field in msgspec.structs.fields(kind) if field.required
    }
    refusal = msgspec.convert(fields, kind)
    assert refusal.detail().endswith(".")
    told = refusal.extensions()
    assert not any(isinstance(value, Decimal | date) for value in _leaves(told))
    assert all(told[name] == "1.50" for name, value in fields.items() if value == Decimal("1.50"))
