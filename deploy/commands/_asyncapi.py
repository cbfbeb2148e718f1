"""The AsyncAPI 3 document of what the relay publishes, made from the events' own structs."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any, Final

import msgspec

from ledger.domain.registry import events_by_category
from projections.relay_messages import (
    LEAF,
    MEDIA_TYPE,
    MESSAGE_ID,
    SPEC_VERSION,
    STREAM_PREFIX,
    SUBJECT_PREFIX,
)
from schemas.common import Event

ASYNCAPI_VERSION: Final = "3.0.0"
_DESCRIPTION: Final = f"""\
Every event of every tenant's log, as the relay publishes it to NATS JetStream.

A tenant's events are in the stream `{STREAM_PREFIX}-<tenant>`, each once and in the order of the
log: a message's sequence number is the event's position, from 1 on and without a gap. Messages are
CloudEvents {SPEC_VERSION} in binary mode; the body is the event as `/api/ledger/events` shows it.
Decimals are strings; a field of `data` that has its default is left out; fields may be added.
docs/guides/relay.md tells how to consume them.
"""
_SCHEMA_REF: Final = "#/components/schemas/{name}"
_INSTANT: Final = {"type": "string", "format": "date-time"}
_POSITION: Final = {"type": "integer", "minimum": 1}
_HEADERS: Final[Mapping[str, Mapping[str, Any]]] = {
    MESSAGE_ID: {
        "type": "string",
        "pattern": "^[0-9]+-[0-9]+$",
        "description": "Tenant and position; ce-id is the same",
    },
    "ce-specversion": {"const": SPEC_VERSION},
    "ce-id": {"type": "string", "pattern": "^[0-9]+-[0-9]+$"},
    "ce-source": {
        "type": "string",
        "format": "uri",
        "description": "urn:uuid: and the tenant's inventory_system_id",
    },
    "ce-type": {"type": "string", "description": "The event's type"},
    "ce-subject": {"type": "string", "description": "The event's stream in the ledger"},
    "ce-time": {**_INSTANT, "description": "When it took effect in the world"},
    "ce-recordedtime": {**_INSTANT, "description": "When the ledger recorded it"},
    "ce-datacontenttype": {"const": MEDIA_TYPE},
    LEAF: {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "The event's leaf in the tenant's Merkle tree, SHA-256",
    },
}


def asyncapi_document() -> dict[str, Any]:
    """Return the document; the same code makes the same document."""
    categories = events_by_category()
    kinds = [kind for kinds in categories.values() for kind in kinds]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMA_REF)
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "id": "urn:stockledger:relay",
        "info": {
            "title": "Stockledger's events",
            "version": metadata.version("stockledger"),
            "description": _DESCRIPTION,
        },
        "defaultContentType": MEDIA_TYPE,
        "servers": {
            "embedded": {
                "host": "127.0.0.1",
                "protocol": "nats",
                "description": "The URL for consumers is in the file nats/reader-url of the data "
                "folder, with its port and password",
            }
        },
        "channels": {name: _channel(name, kinds) for name, kinds in categories.items()},
        "operations": {
            f"publish_{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": f"The relay publishes the events of {name} streams",
                "messages": [{"$ref": f"#/channels/{name}/messages/{kind.TYPE}"} for kind in kinds],
            }
            for name, kinds in categories.items()
        },
        "components": {
            "messages": {kind.TYPE: _message(kind) for kind in kinds},
            "schemas": {
                "CloudEventHeaders": {
                    "type": "object",
                    "properties": _HEADERS,
                    "required": list(_HEADERS),
                },
                "EventMeta": _META,
                **{f"{kind.TYPE}Event": _payload(kind) for kind in kinds},
                **{name: _described(schema) for name, schema in schemas.items()},
            },
        },
    }


def _described(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema whose description, a docstring, is the same in every version of Python."""
    if "description" in schema:
        return {**schema, "description": inspect.cleandoc(schema["description"])}
    return schema


def asyncapi_text() -> str:
    """Return ``asyncapi.json``."""
    return json.dumps(asyncapi_document(), indent=2, ensure_ascii=False) + "\n"


_META: Final = {
    "type": "object",
    "description": "Who asked, through what, in which request and under which key",
    "properties": {
        "actor": {"type": "string"},
        "actor_name": {"type": "string"},
        "source": {"type": "string"},
        "correlation_id": {"type": "string"},
        "causation_id": {"type": "string"},
        "idempotency_key": {"type": "string"},
    },
}


def _channel(category: str, kinds: Sequence[type[Event]]) -> dict[str, Any]:
    return {
        "address": f"{SUBJECT_PREFIX}.{{tenant}}.{category}.{{type}}",
        "description": f"Events in streams whose names begin with `{category}-`",
        "parameters": {
            "tenant": {"description": "The tenant's number"},
            "type": {"description": "The event's type", "enum": [kind.TYPE for kind in kinds]},
        },
        "messages": {kind.TYPE: {"$ref": f"#/components/messages/{kind.TYPE}"} for kind in kinds},
    }


def _message(kind: type[Event]) -> dict[str, Any]:
    paragraphs = list(_paragraphs(kind))
    return {
        "name": kind.TYPE,
        "title": kind.TYPE,
        "summary": paragraphs[0] or kind.TYPE,
        **({"description": "\n\n".join(paragraphs[1:])} if paragraphs[1:] else {}),
        "contentType": MEDIA_TYPE,
        "headers": {"$ref": _SCHEMA_REF.format(name="CloudEventHeaders")},
        "payload": {"$ref": _SCHEMA_REF.format(name=f"{kind.TYPE}Event")},
    }


def _paragraphs(kind: type[Event]) -> Iterator[str]:
    for text in inspect.cleandoc(kind.__doc__ or "").split("\n\n"):
        yield " ".join(text.split()).replace("``", "`")


def _payload(kind: type[Event]) -> dict[str, Any]:
    """Return the schema of the whole event, as ``/api/ledger/events`` shows it."""
    properties: dict[str, Any] = {
        "position": {**_POSITION, "description": "Its place in the tenant's log"},
        "stream": {"type": "string"},
        "version": {**_POSITION, "description": "Its place in its stream"},
        "type": {"const": kind.TYPE},
        "schema_version": {
            "type": "integer",
            "minimum": 1,
            "maximum": kind.SCHEMA_VERSION,
            "description": f"The present one is {kind.SCHEMA_VERSION}; older events keep theirs",
        },
        "effective_at": _INSTANT,
        "recorded_at": _INSTANT,
        "data": {"$ref": _SCHEMA_REF.format(name=kind.TYPE)},
        "meta": {"$ref": _SCHEMA_REF.format(name="EventMeta")},
    }
    return {"type": "object", "properties": properties, "required": list(properties)}
