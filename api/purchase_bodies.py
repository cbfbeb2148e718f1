"""Bodies of receipts and returns: from seed 003's names to the ledger's lines."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from api.problems import Problem
from api.writes import made
from schemas.purchase import PurchaseLineQuantity

RECEIVED_NAMES: Final[Mapping[str, str]] = {
    "line_id": "purchase_order_item_id",
    "quantity": "quantity_received",
}
"""What a receipt's items call those fields of a line that they have another name for."""

RETURNED_NAMES: Final[Mapping[str, str]] = {"line_id": "purchase_order_item_id"}
"""What a return's items call them."""


def purchase_lines(
    items: Sequence[msgspec.Struct], names: Mapping[str, str]
) -> tuple[PurchaseLineQuantity, ...]:
    """Return the lines that items name; raise Problem (400) that names the item's field."""
    own = {name: ours for ours, name in names.items()}
    lines: list[PurchaseLineQuantity] = []
    for index, item in enumerate(items):
        said = msgspec.structs.asdict(item)
        try:
            fields = {own.get(name, name): value for name, value in said.items()}
            lines.append(made(PurchaseLineQuantity, fields))
        except Problem as problem:
            raise _in_item(problem, f"items[{index}]", names) from None
    return tuple(lines)


def _in_item(problem: Problem, place: str, names: Mapping[str, str]) -> Problem:
    """Return a problem of a line's field as one of the item's."""
    field: str | None = problem.members.get("field")
    if field is None:
        # That neither or both of a line's two names are given.
        detail = problem.detail.replace("line_id", names["line_id"])
        return Problem(problem.code, f"{place}: {detail}", field=place)
    name = f"{place}.{names.get(field, field)}"
    return Problem(problem.code, f"{name}{problem.detail.removeprefix(field)}", field=name)
