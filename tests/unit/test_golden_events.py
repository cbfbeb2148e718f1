"""Old events are readable for ever (I8): one stored example of every version of every type."""

from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from ledger.mapper import EVENT_TYPES, decode_event, encode_event
from schemas.common import Event
from tests.golden.examples import (
    EXAMPLES,
    FOLDER,
    FROM_OLDER,
    golden_path,
    missing_goldens,
)
from tests.golden.make import make


def test_every_version_of_every_type_has_a_golden_file() -> None:
    """A type's new version comes with its golden file, and an old one's stays."""
    missing = missing_goldens(EVENT_TYPES.values())

    assert missing == []


def test_a_raised_schema_version_without_a_golden_file_is_found(tmp_path: Path) -> None:
    """The check above would tell of it, and of the versions before."""

    class Weighed(Event, frozen=True, kw_only=True):
        TYPE: ClassVar[str] = "Weighed"
        SCHEMA_VERSION: ClassVar[int] = 2

    golden_path("Weighed", 1, tmp_path).write_text("{}")

    assert missing_goldens([Weighed], tmp_path) == ["Weighed.v2.json"]


def test_every_type_has_one_example_with_no_field_left_at_its_default() -> None:
    """An example that leaves a field out would not pin how that field is stored."""
    assert sorted(event.TYPE for event in EXAMPLES) == sorted(EVENT_TYPES)
    for event in EXAMPLES:
        stored = msgspec.json.decode(encode_event(event))
        assert list(stored) == list(event.__struct_fields__), event.TYPE


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.TYPE)
def test_the_present_version_reads_and_writes_as_it_was_stored(event: Event) -> None:
    """The golden bytes decode to the example, and encode to the same bytes again."""
    stored = golden_path(event.TYPE, event.SCHEMA_VERSION).read_bytes().rstrip(b"\n")

    decoded = decode_event(event.TYPE, event.SCHEMA_VERSION, stored)

    assert decoded == event
    assert encode_event(decoded) == stored


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_stored_version_reads_in_its_present_shape(path: Path) -> None:
    """Also those that no release writes any more, and there is no file that nobody knows."""
    type_name, _, version = path.stem.rpartition(".v")
    present = {(event.TYPE, event.SCHEMA_VERSION): event for event in EXAMPLES}

    decoded = decode_event(type_name, int(version), path.read_bytes())

    assert decoded == {**FROM_OLDER, **present}[type_name, int(version)]


def test_making_golden_files_changes_none_that_exists(tmp_path: Path) -> None:
    """What a file holds is what logs hold."""
    kept = golden_path("ApiKeyRevoked", 1, tmp_path)
    kept.write_text("as it was")

    made = make(tmp_path)

    assert kept.read_text() == "as it was"
    assert len(made) == len(EXAMPLES) - 1
    assert make(tmp_path) == []
