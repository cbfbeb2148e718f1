"""A thousand ways to rewrite history, done by somebody who may change everything: all are found."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import merkle, merkle_proofs
from ledger.notes import Checkpoint, InvalidNote, Signer, sign
from ledger.offline import (
    Checked,
    ExportedEvent,
    check_log,
    check_receipt,
    leaf_of,
    read_checkpoints,
)

TENANT = 7
EVENTS = 60
SIGNED_EVERY = 7
ORIGIN = "stockledger/3d40a24e-d570-4598-ae68-e20687edd1f9"
START = datetime(2030, 1, 1, tzinfo=UTC)
TAMPERINGS = 1_000

Line = dict[str, Any]


def _honest() -> list[Line]:
    """Return events in five streams, a second apart."""
    versions: dict[str, int] = {}
    lines: list[Line] = []
    for position in range(1, EVENTS + 1):
        stream = f"stock-{position % 5 + 1}-1"
        versions[stream] = versions.get(stream, 0) + 1
        at = START + timedelta(seconds=position)
        lines.append(
            {
                "position": position,
                "stream": stream,
                "version": versions[stream],
                "type": "StockAdjusted",
                "schema_version": 2,
                "effective_at": at - timedelta(hours=position % 3),
                "recorded_at": at,
                "data": {"product_id": position % 5 + 1, "quantity": str(position)},
                "meta": {"actor": "key:1", "source": "api"},
            }
        )
    return lines


def _written(line: Line) -> bytes:
    return msgspec.json.encode(line)


def _leaf(line: Line) -> bytes:
    return leaf_of(TENANT, msgspec.json.decode(_written(line), type=ExportedEvent))


def _with_leaves(lines: list[Line]) -> list[Line]:
    return [line | {"leaf_hash": _leaf(line).hex()} for line in lines]


def _root(lines: list[Line]) -> bytes:
    frontier: list[bytes] = []
    merkle.append(frontier, 0, [_leaf(line) for line in lines])
    return merkle.root(frontier)


HONEST = _honest()
CHECKPOINTS = [
    Checkpoint(ORIGIN, size, _root(HONEST[:size]))
    for size in (*range(SIGNED_EVERY, EVENTS, SIGNED_EVERY), EVENTS)
]


def _check(lines: list[Line]) -> Checked:
    return check_log([_written(line) for line in lines], CHECKPOINTS, TENANT)


def _edit(lines: list[Line], dice: random.Random) -> int:
    """Change one field of one event; return the first position that is not as it was."""
    index = dice.randrange(len(lines))
    line = dict(lines[index])
    field = dice.choice(["data", "meta", "type", "schema_version", "effective_at", "recorded_at"])
    match field:
        case "data":
            line["data"] = line["data"] | {"quantity": str(dice.randrange(100, 999))}
        case "meta":
            line["meta"] = line["meta"] | {"actor": f"user:{dice.randrange(99)}"}
        case "type":
            line["type"] = "StockCounted"
        case "schema_version":
            line["schema_version"] = 1
        case _:
            line[field] += timedelta(microseconds=dice.randrange(1, 900_000))
    lines[index] = line
    return index + 1


def _insert(lines: list[Line], dice: random.Random) -> int:
    index = dice.randrange(len(lines))
    lines.insert(index, lines[index] | {"data": {"product_id": 1, "quantity": "5000"}})
    return index + 1


def _delete(lines: list[Line], dice: random.Random) -> int:
    # The last one's going is a truncation.
    index = dice.randrange(len(lines) - 1)
    del lines[index]
    return index + 1


def _reorder(lines: list[Line], dice: random.Random) -> int:
    first, second = sorted(dice.sample(range(len(lines)), 2))
    lines[first], lines[second] = lines[second], lines[first]
    return first + 1


def _truncate(lines: list[Line], dice: random.Random) -> int:
    left = dice.randrange(len(lines))
    del lines[left:]
    return left + 1


def _renumber(lines: list[Line]) -> list[Line]:
    """Make everything but the signatures fit again: positions, versions, times in order."""
    versions: dict[str, int] = {}
    last = START
    mended: list[Line] = []
    for position, line in enumerate(lines, 1):
        versions[line["stream"]] = versions.get(line["stream"], 0) + 1
        last = max(last, line["recorded_at"])
        mended.append(
            line | {"position": position, "version": versions[line["stream"]], "recorded_at": last}
        )
    return mended


WAYS: dict[str, Callable[[list[Line], random.Random], int]] = {
    "edit": _edit,
    "insert": _insert,
    "delete": _delete,
    "reorder": _reorder,
    "truncate": _truncate,
}


def test_what_is_as_it_was_signed_passes() -> None:
    """With leaf hashes and without, all of it signed."""
    for lines in (HONEST, _with_leaves(HONEST)):
        checked = _check(lines)
        assert checked == Checked(EVENTS, EVENTS, len(CHECKPOINTS), [])
    newer = check_log([_written(line) for line in HONEST], CHECKPOINTS[:-1], TENANT)
    assert (newer.events, newer.signed, newer.ok) == (EVENTS, EVENTS - EVENTS % SIGNED_EVERY, True)


@pytest.mark.parametrize("way", WAYS)
def test_every_tampering_is_found_and_located(way: str) -> None:
    """Done clumsily, at its line; by who mends all but the signatures, between two of them."""
    dice = random.Random(way)
    for number in range(TAMPERINGS // len(WAYS)):
        is_clever = number % 2 == 1
        lines = list(HONEST) if is_clever else _with_leaves(HONEST)
        position = WAYS[way](lines, dice)
        if is_clever:
            lines = _with_leaves(_renumber(lines))
        checked = _check(lines)
        assert not checked.ok, (way, position)
        # Nothing behind the first thing that is wrong counts as signed.
        assert checked.signed < position
        first = checked.findings[0]
        if way == "truncate":
            assert f"ends after {position - 1} events; {EVENTS} have been signed" in (
                checked.findings[-1].fault
            )
        elif is_clever and first.fault.startswith("the file ends"):
            # One less in the last stretch: between the last checkpoint that fits and the end.
            assert (way, checked.signed) == ("delete", CHECKPOINTS[-2].size)
        elif is_clever:
            begin, end = _span(first.fault)
            assert begin <= position <= end
            assert end - begin < SIGNED_EVERY
        else:
            # An insertion shows at the line after it, where the copy's position comes again.
            assert first.line is not None
            assert abs(first.line - position) <= (1 if way == "insert" else 0), first


def _span(fault: str) -> tuple[int, int]:
    words = fault.split()
    return int(words[3]), int(words[5])


def test_a_line_that_is_none_is_told_with_its_number() -> None:
    """Cut off in the middle, or no JSON at all."""
    content = [_written(line) for line in HONEST]
    content[9] = content[9][:30]
    checked = check_log(content, CHECKPOINTS, TENANT)
    assert checked.findings[0].line == 10
    assert "no event" in checked.findings[0].fault


def test_only_checkpoints_that_a_known_key_has_signed_count() -> None:
    """One note, or a line of JSON a note; another's signature is refused."""
    signer, other = (
        Signer("stockledger", Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2)
    )
    notes = [sign(checkpoint, [signer]) for checkpoint in CHECKPOINTS]
    content = "".join(msgspec.json.encode({"note": note}).decode() + "\n" for note in notes)
    assert read_checkpoints(content, [signer.key]) == CHECKPOINTS
    assert read_checkpoints(notes[0], [signer.key]) == CHECKPOINTS[:1]
    with pytest.raises(InvalidNote):
        read_checkpoints(content, [other.key])


def test_a_receipt_proves_its_event_and_no_other() -> None:
    """To who trusts the key: the event as it is; with anything changed, nothing."""
    signer = Signer("stockledger", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    leaves = [_leaf(line) for line in HONEST]
    position = 41

    def hash_of(node: merkle_proofs.Node) -> bytes:
        first = node.number << node.height
        frontier: list[bytes] = []
        merkle.append(frontier, 0, leaves[first : first + (1 << node.height)])
        return frontier[0]

    path = [
        merkle_proofs.root_of(part, hash_of)
        for part in merkle_proofs.inclusion(position - 1, EVENTS)
    ]
    receipt = {
        "stockledger_receipt": 1,
        "tenant_id": TENANT,
        "event": HONEST[position - 1],
        "inclusion": {"hashes": [part.hex() for part in path]},
        "checkpoint": sign(CHECKPOINTS[-1], [signer]),
    }
    assert check_receipt(msgspec.json.encode(receipt), [signer.key]).position == position
    forged = HONEST[position - 1] | {"data": {"quantity": "1000000"}}
    with pytest.raises(ValueError, match="not in the log that was signed"):
        check_receipt(msgspec.json.encode(receipt | {"event": forged}), [signer.key])
    with pytest.raises(InvalidNote):
        check_receipt(msgspec.json.encode(receipt | {"checkpoint": "none"}), [signer.key])
