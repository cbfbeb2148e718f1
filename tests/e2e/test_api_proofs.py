"""Checkpoints and proofs over HTTP, checked by somebody who knows RFC 9162 and nothing of ours."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from deploy.checkpoints import NotesFile, SigningKeys
from deploy.wiring import House
from ledger.checkpoints import extend
from ledger.notes import VerifierKey, opened
from ledger.offline import check_log, check_receipt, read_checkpoints
from tests.support.api import Service, running_service


class Signing:
    """A service, and what signs its log when it is told to."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        self.keys = SigningKeys(folder / "keys", "ledger.example")
        self._notes = NotesFile(folder / "notes")

    async def sign(self) -> int:
        house = self.service.house
        _, signed = await extend(
            house.pool, self.service.tenant_id, self.keys.signers(), self._notes, house.now()
        )
        assert signed is not None
        return signed.checkpoint.size

    async def get(self, path: str, **parameters: int) -> httpx.Response:
        return await self.service.get(f"/api/ledger/{path}", params=parameters)

    @property
    def trusted(self) -> list[VerifierKey]:
        return [VerifierKey.parse(str(signer.key)) for signer in self.keys.signers()]


@pytest.fixture
async def signing(house: House, tmp_path: Path) -> AsyncIterator[Signing]:
    """A service with a dozen events, signed twice."""
    async with running_service(house) as service:
        made = Signing(service, tmp_path)
        await service.stocked()
        await made.sign()
        for number in range(6):
            body = {"name": f"W{number}", "code": f"W{number}"}
            assert (await service.post("/api/warehouses", body)).is_success
        await made.sign()
        yield made


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _root_from(leaf_index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    """Follow RFC 9162, section 2.1.3.2, to the letter."""
    fn, sn, r = leaf_index, size - 1, leaf
    for p in path:
        assert sn != 0
        if fn & 1 or fn == sn:
            r = _node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = _node(r, p)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return r


async def test_every_event_is_proven_to_an_independent_reader(signing: Signing) -> None:
    """The path from each leaf leads to the root that the note says, by the RFC's own steps."""
    note = (await signing.get("checkpoint")).text
    checkpoint = opened(note, signing.trusted)
    for position in range(1, checkpoint.size + 1):
        proof = (await signing.get("proof/inclusion", position=position)).json()
        path = [bytes.fromhex(part) for part in proof["hashes"]]
        leaf = bytes.fromhex(proof["leaf_hash"])
        assert proof["leaf_index"] == position - 1
        assert _root_from(position - 1, checkpoint.size, leaf, path) == checkpoint.root


def _is_consistent(first: int, second: int, roots: tuple[bytes, bytes], path: list[bytes]) -> bool:
    """Follow RFC 9162, section 2.1.4.2, to the letter."""
    if first & (first - 1) == 0:
        path = [roots[0], *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = _node(c, fr), _node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr) == roots and sn == 0


async def test_the_later_log_is_proven_to_begin_with_the_earlier(signing: Signing) -> None:
    """By the RFC's own steps, from the roots of two signed notes."""
    new, old = (await signing.get("checkpoints")).json()["checkpoints"]
    assert old["size"] < new["size"]
    sizes = {"from": old["size"], "to": new["size"]}
    proof = (await signing.get("proof/consistency", **sizes)).json()
    path = [bytes.fromhex(part) for part in proof["hashes"]]
    before = opened(old["note"], signing.trusted).root
    after = opened(new["note"], signing.trusted).root
    assert _is_consistent(old["size"], new["size"], (before, after), path)
    assert not _is_consistent(old["size"], new["size"], (after, after), path)
    same = (await signing.get("proof/consistency", **{"from": new["size"]})).json()
    assert same["hashes"] == []


async def test_a_receipt_is_all_that_is_needed(signing: Signing) -> None:
    """With it and a key, and nothing else, the event is proven; with another key it is not."""
    answer = await signing.get("events/3/receipt")
    assert answer.headers["content-disposition"] == 'attachment; filename="receipt-3.json"'
    assert check_receipt(answer.content, signing.trusted).position == 3
    forged = None
    for position in range(1, 5):
        content = (await signing.get(f"events/{position}/receipt")).content
        if b"Sydney" in content:
            forged = content.replace(b"Sydney", b"Perth!")
    assert forged is not None
    with pytest.raises(ValueError, match="not in the log"):
        check_receipt(forged, signing.trusted)


async def test_the_log_as_lines_is_checked_against_the_listed_checkpoints(
    signing: Signing,
) -> None:
    """What any client reads over HTTP is as good as an export."""
    lines = await signing.service.get(
        "/api/ledger/events", headers={"Accept": "application/x-ndjson"}
    )
    notes = [each["note"] for each in (await signing.get("checkpoints")).json()["checkpoints"]]
    checkpoints = [read_checkpoints(note, signing.trusted)[0] for note in notes]
    checked = check_log(lines.content.splitlines(), checkpoints, signing.service.tenant_id)
    assert (checked.ok, checked.checkpoints) == (True, 2)
    assert checked.events == checked.signed
    changed = lines.content.replace(b"Sydney", b"Perth!")
    assert not check_log(changed.splitlines(), checkpoints, signing.service.tenant_id).ok


async def test_keys_are_published_with_when_they_signed(signing: Signing) -> None:
    """Both of them while the old one signs along."""
    first = str(signing.trusted[0])
    signing.keys.rotate()
    assert (await signing.service.post("/api/warehouses", {"name": "N", "code": "N"})).is_success
    await signing.sign()
    found = {each["key"] for each in (await signing.get("keys")).json()["keys"]}
    assert found == {str(key) for key in signing.trusted}
    assert first in found
    assert len(found) == 2


async def test_what_is_not_signed_yet_and_what_is_no_checkpoint(signing: Signing) -> None:
    """404 with what to do; a wrong parameter is named."""
    assert (await signing.service.post("/api/warehouses", {"name": "N", "code": "N"})).is_success
    head = (await signing.get("head")).json()["position"]
    late = await signing.get("proof/inclusion", position=head)
    assert (late.status_code, "within about a second" in late.json()["detail"]) == (404, True)
    none = await signing.get("checkpoint", size=2)
    assert (none.status_code, "of size 2" in none.json()["detail"]) == (404, True)
    wrong = await signing.get("proof/consistency", **{"from": 9, "to": 3})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "to")
    unknown = await signing.get("checkpoint", siz=2)
    assert (unknown.status_code, "siz" in unknown.json()["detail"]) == (400, True)
    missing = await signing.get("proof/inclusion")
    assert (missing.status_code, missing.json()["field"]) == (400, "position")


async def test_before_anything_is_signed_there_is_no_checkpoint(house: House) -> None:
    """It says when there will be one."""
    async with running_service(house) as service:
        answer = await service.get("/api/ledger/checkpoint")
        assert (answer.status_code, "no checkpoint yet" in answer.json()["detail"]) == (404, True)
