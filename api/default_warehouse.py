"""The place of a body that may leave it out: the default warehouse."""

from typing import Any, Final

from api.context import Call
from api.problems import Problem
from api.reads import reading
from ledger.aliases import DEFAULT_LOCATION
from projections.aliases import find_aliases

_ALIAS: Final = (DEFAULT_LOCATION, "")


async def with_default_warehouse(call: Call, fields: dict[str, Any]) -> dict[str, Any]:
    """Return a command's fields with a location, the tenant's default one where none is named.

    Raise Problem (404) when there is no warehouse at all.
    """
    if "location_id" in fields or "location" in fields:
        return fields
    async with reading(call) as read:
        found = await find_aliases(read.connection, read.tenant_id, [_ALIAS])
    if _ALIAS not in found:
        raise Problem("location_not_found", "There is no warehouse yet; create one first.")
    return {**fields, "location_id": found[_ALIAS]}
