"""One example of every event type in its present shape, every field of it filled in.

The files in ``events/`` are these as they were stored when that version was made. A file is
never changed: what it holds is what logs hold.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.access import ApiKeyCreated, ApiKeyRevoked, UserAdded
from schemas.common import Event
from schemas.import_batch import (
    ImportBatchClosed,
    ImportBatchOpened,
    ImportChunkRecorded,
    LineRefusal,
)
from schemas.location import LocationOpened, LocationRevised
from tests.golden import (
    examples_books,
    examples_customers,
    examples_demand,
    examples_integration,
    examples_listings,
    examples_orders,
    examples_products,
    examples_purchases,
    examples_stock,
    examples_tracking,
    examples_webhooks,
)

_AREAS: Final = (
    examples_products,
    examples_customers,
    examples_orders,
    examples_purchases,
    examples_tracking,
    examples_stock,
    examples_books,
    examples_webhooks,
    examples_listings,
    examples_demand,
    examples_integration,
)

FOLDER: Final = Path(__file__).parent / "events"

_LOCATION: Final[Mapping[str, Any]] = {
    "location_id": 3,
    "name": "High Street",
    "code": "HST",
    "address": "1 High Street",
    "city": "York",
    "state": "North Yorkshire",
    "postcode": "YO1 7HH",
    "country": "GB",
    "time_zone": "Europe/London",
    "is_default": True,
    "stock_limit": Decimal("-10.5"),
    "is_active": False,
}
_UNTIL: Final = datetime(2031, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)

_FIRST: Final[tuple[Event, ...]] = (
    ApiKeyCreated(
        key_id=2,
        name="till",
        key_prefix="sl_live_4f",
        permissions=("webhook",),
        expires_at=_UNTIL,
    ),
    ApiKeyRevoked(key_id=2),
    UserAdded(user_id=5, role="manager"),
    ImportBatchOpened(
        batch_id="b-7f3a",
        kind="demand",
        source_name="orders.csv",
        source_digest="sha256:7f3a",
        options={"timezone": "Europe/London"},
    ),
    ImportChunkRecorded(
        batch_id="b-7f3a",
        chunk=1,
        first_line=1001,
        last_line=2000,
        accepted=999,
        refused=1,
        refusals=(LineRefusal(line=1204, code="unknown_sku", detail="no such SKU"),),
    ),
    ImportBatchClosed(batch_id="b-7f3a", lines=2000, accepted=1997, refused=3),
    LocationOpened(**_LOCATION),
    LocationRevised(**_LOCATION),
)

EXAMPLES: Final[tuple[Event, ...]] = (
    *_FIRST,
    *(example for module in _AREAS for example in module.EXAMPLES),
)

# What a golden file of an older version must read as, by type and version: an entry comes
# with each upcaster.
FROM_OLDER: Final[Mapping[tuple[str, int], Event]] = {
    ("ApiKeyCreated", 1): msgspec.structs.replace(_FIRST[0], permissions=("read", "write")),
    **{key: event for module in _AREAS for key, event in module.FROM_OLDER.items()},
}


def golden_path(type_name: str, schema_version: int, folder: Path = FOLDER) -> Path:
    """Return where the stored example of a type's version is."""
    return folder / f"{type_name}.v{schema_version}.json"


def missing_goldens(event_types: Iterable[type[Event]], folder: Path = FOLDER) -> list[str]:
    """Return the names of the files that should be there: one for each version ever made."""
    return [
        path.name
        for event_type in event_types
        for version in range(1, event_type.SCHEMA_VERSION + 1)
        if not (path := golden_path(event_type.TYPE, version, folder)).exists()
    ]
