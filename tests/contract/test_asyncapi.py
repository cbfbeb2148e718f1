"""The AsyncAPI document: whole, true of what the relay publishes, and the same every time."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import jsonschema_rs
import pytest

from deploy.commands._asyncapi import asyncapi_document, asyncapi_text
from ledger.domain.registry import events_by_category
from ledger.mapper import EVENT_TYPES, encode_event
from ledger.store import EventRow
from projections.relay_messages import message_of, source_of
from schemas.common import Event
from tests.golden.examples import EXAMPLES

DOCUMENT = json.loads(asyncapi_text())
CATEGORY = {kind.TYPE: name for name, kinds in events_by_category().items() for kind in kinds}


def references(node: Any) -> Iterator[str]:
    """Give every reference in a document."""
    if isinstance(node, Mapping):
        for name, value in cast(Mapping[str, Any], node).items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in cast(list[Any], node):
            yield from references(value)


def resolve(reference: str) -> Any:
    """Return what a reference leads to."""
    node: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def validator(schema: str) -> Any:
    """Return what checks values against one of the document's schemas."""
    whole = {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]}
    return jsonschema_rs.validator_for(whole, validate_formats=True)


def test_it_is_the_same_every_time() -> None:
    """So that a committed copy differs only where the code does."""
    assert asyncapi_text() == asyncapi_text()
    assert DOCUMENT == json.loads(json.dumps(asyncapi_document()))


def test_it_has_the_structure_that_asyncapi_3_asks_for() -> None:
    """Every reference leads somewhere; channels, operations and messages belong together."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    for server in DOCUMENT["servers"].values():
        assert {"host", "protocol"} <= server.keys()
    for reference in references(DOCUMENT):
        assert resolve(reference), reference
    for name, channel in DOCUMENT["channels"].items():
        for parameter in channel["parameters"]:
            assert f"{{{parameter}}}" in channel["address"]
        assert channel["address"].count("{") == len(channel["parameters"])
        assert list(channel["messages"]) == channel["parameters"]["type"]["enum"]
        operation = DOCUMENT["operations"][f"publish_{name}"]
        assert operation["action"] == "send"
        assert operation["channel"] == {"$ref": f"#/channels/{name}"}
        assert [resolve(each["$ref"]) for each in operation["messages"]] == list(
            channel["messages"].values()
        )
    for name, message in DOCUMENT["components"]["messages"].items():
        assert message["name"] == name
        assert message["contentType"] == "application/json"
        assert message["summary"]


def test_it_tells_of_every_type_of_event_once() -> None:
    """Those that are stored are those that are published."""
    listed = [name for channel in DOCUMENT["channels"].values() for name in channel["messages"]]
    assert sorted(listed) == sorted(EVENT_TYPES)
    assert sorted(DOCUMENT["components"]["messages"]) == sorted(EVENT_TYPES)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.TYPE)
def test_a_message_is_as_the_document_says(event: Event) -> None:
    """Subject, headers and body of an example of each type, and what is wrong is told."""
    category = CATEGORY[event.TYPE]
    at = datetime(2026, 5, 5, 12, 30, 45, 123456, tzinfo=UTC)
    row = EventRow(
        position=42,
        stream=f"{category}-7-1",
        version=3,
        type=event.TYPE,
        schema_version=event.SCHEMA_VERSION,
        data=encode_event(event).decode(),
        meta='{"actor":"key:1","source":"api"}',
        effective_at=at,
        recorded_at=at,
        leaf_hash=bytes(32),
    )
    message = message_of(5, source_of(UUID(int=1)), row)
    channel = DOCUMENT["channels"][category]
    expected = channel["address"].replace("{tenant}", "5").replace("{type}", event.TYPE)
    assert message.subject == expected
    described = resolve(channel["messages"][event.TYPE]["$ref"])
    headers = validator(described["headers"]["$ref"].rpartition("/")[2])
    headers.validate(dict(message.headers))
    assert not headers.is_valid({**message.headers, "ce-id": "nothing"})
    payload = validator(described["payload"]["$ref"].rpartition("/")[2])
    body = json.loads(message.body)
    payload.validate(body)
    assert not payload.is_valid({**body, "type": "Something"})
    assert not payload.is_valid({**body, "data": []})
