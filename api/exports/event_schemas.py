"""What the events' data hold, for those who read an export."""

from typing import Any

import msgspec

from ledger.mapper import EVENT_TYPES


def event_schemas() -> dict[str, Any]:
    """Return the JSON Schema of every event's data, by type and present schema version."""
    kinds = dict(sorted(EVENT_TYPES.items()))
    schemas, components = msgspec.json.schema_components(
        kinds.values(), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "events": {
            name: {"schema_version": kind.SCHEMA_VERSION, "data": schema}
            for (name, kind), schema in zip(kinds.items(), schemas, strict=True)
        },
        "$defs": components,
    }
