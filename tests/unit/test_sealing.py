"""Tokens: what a personal text becomes, what opens it, and what does not."""

import base64
import secrets
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.master_keys import MasterKeyFiles, MasterKeySetting
from deploy.settings import InvalidSettings
from ledger import idempotency
from ledger.errors import IdempotencyMismatch
from ledger.mapper import EVENT_TYPES
from ledger.sealed_committer import PERSONAL_COMMANDS, is_personal
from ledger.sealing import (
    ERASED,
    TOKEN,
    UNREADABLE,
    KeyLost,
    MasterKey,
    SubjectKey,
    about_subject,
    marks_of,
    new_key,
    new_subject,
    open_json,
    open_text,
    subjects_in,
    texts_of,
    unwrap,
    with_texts,
)
from ledger.submission import Idempotency
from schemas.address import Address
from schemas.customer import CustomerAddress, EraseCustomer, RegisterCustomer
from schemas.order import FulfilOrder, OrderLineEntry, PlaceOrder

SUBJECT = new_subject()
KEY = SubjectKey(1, SUBJECT, new_key())
# What may stand in a personal text: anything but NUL (`schemas.common`).
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(texts)
def test_a_text_comes_back_as_it_was(text: str) -> None:
    """Alone, within another text, and in JSON, whatever must be escaped there."""
    token = KEY.seal(text)
    assert KEY.seal(text) == token, "what is said twice is seen to be the same"
    assert TOKEN.fullmatch(token), token
    keys = {SUBJECT: KEY}
    assert open_text(f"({token})", keys) == f"({text})"
    body = msgspec.json.encode({"name": token, "detail": f"of {token}, twice: {token}"})
    assert subjects_in(body) == {SUBJECT}
    opened = msgspec.json.decode(open_json(body, keys))
    assert opened == {"name": text, "detail": f"of {text}, twice: {text}"}


@given(texts, texts)
def test_tokens_tell_lengths_in_steps_only(one: str, other: str) -> None:
    """Texts are filled up, so that a token tells of them how long they are to 16 bytes."""
    steps = [-(-len(text.encode()) // 16) for text in (one, other)]
    lengths = [len(KEY.seal(text)) for text in (one, other)]
    assert (steps[0] == steps[1]) == (lengths[0] == lengths[1])


def test_what_is_erased_or_not_ours_stays_closed() -> None:
    """Each shows what it is; a token that somebody made up is a text like any other."""
    token = KEY.seal("Ada")
    assert open_text(token, {}) == ERASED
    assert open_text(token, {SUBJECT: None}) == UNREADABLE
    for other in (
        SubjectKey(2, SUBJECT, new_key()),
        SubjectKey(1, new_subject(), new_key()),
    ):
        assert open_text(token, {SUBJECT: other}) == token
    changed = token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")
    assert open_text(changed, {SUBJECT: KEY}) == changed


def test_a_text_that_looks_like_a_token_is_a_text() -> None:
    """It is sealed as a whole, and comes back as it was typed: nothing is opened twice."""
    typed = KEY.seal("somebody else's")
    assert open_text(KEY.seal(typed), {SUBJECT: KEY}) == typed


def test_only_what_is_personal_is_sealed() -> None:
    """Names, addresses and remarks, however deep; codes and quantities are not."""
    command = RegisterCustomer(
        name="Ada",
        email="",
        code="ADA",
        addresses=(CustomerAddress(type="billing", address=Address(line1="1 High St", city=" ")),),
    )
    marks = PERSONAL_COMMANDS[RegisterCustomer]
    assert list(texts_of(command, marks)) == ["Ada", "1 High St"]
    sealed = with_texts(command, marks, str.upper)
    assert (sealed.name, sealed.email, sealed.code) == ("ADA", "", "ADA")
    assert sealed.addresses[0].address == Address(line1="1 HIGH ST", city=" ")
    line = OrderLineEntry(product_id=1, quantity=Decimal(1))
    assert not is_personal(PlaceOrder(lines=(line,)))
    assert is_personal(PlaceOrder(lines=(line,), notes="ring twice"))
    assert not is_personal(FulfilOrder(order_id=1))
    assert EraseCustomer not in PERSONAL_COMMANDS


def test_what_a_command_seals_its_events_are_marked_to_hold() -> None:
    """So that the reference, and whoever reads the log, can tell which texts are sealed."""
    marked = {name for name, kind in EVENT_TYPES.items() if marks_of(kind)}
    assert marked >= {
        "CustomerRegistered",
        "CustomerRevised",
        "CustomerAddressAdded",
        "OrderPlaced",
        "OrderFulfilled",
        "OrderCancelled",
        "OrderLinesCancelled",
        "OrderReturned",
    }
    assert "CustomerErased" not in marked


def test_no_client_says_that_a_command_is_sealed() -> None:
    """Not even that it is not."""
    for said in ({"subject": SUBJECT}, None, "x"):
        body = msgspec.json.encode({"name": "Ada", "sealed": said})
        with pytest.raises(msgspec.ValidationError, match="sealed"):
            msgspec.json.decode(body, type=RegisterCustomer)


# --- master keys ------------------------------------------------------------------------


def test_master_keys_are_made_changed_and_destroyed(tmp_path: Path) -> None:
    """In files that only their owner reads; what a destroyed one has wrapped stays wrapped."""
    folder = tmp_path / "secrets" / "erasure-keys"
    ours, theirs = MasterKeyFiles(folder), MasterKeyFiles(folder)
    first = ours.newest()
    assert theirs.newest().id == first.id
    (path,) = folder.iterdir()
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    key, about = new_key(), about_subject(1, SUBJECT)
    wrapped = first.wrap(key, about)
    assert unwrap(theirs, wrapped, about) == key
    with pytest.raises(KeyLost):
        unwrap(theirs, wrapped, about_subject(2, SUBJECT))
    second = theirs.make()
    assert (ours.newest().id, [master.id for master in ours.retired()]) == (second.id, [first.id])
    assert unwrap(ours, wrapped, about) == key
    assert theirs.destroy([first.id]) == 1
    assert ours.find(first.id) is None
    with pytest.raises(KeyLost):
        unwrap(ours, wrapped, about)


def test_master_keys_may_be_set() -> None:
    """As openssl prints them, or in base64url; the newest first."""
    secrets_ = [secrets.token_bytes(32) for _ in range(2)]
    written = [base64.b64encode(secrets_[0]), base64.urlsafe_b64encode(secrets_[1])]
    masters = MasterKeySetting(b",".join(written).decode())
    assert masters.newest().id == MasterKey(secrets_[0]).id
    assert masters.find(MasterKey(secrets_[1]).id) is not None
    assert [master.id for master in masters.retired()] == [MasterKey(secrets_[1]).id]
    for wrong in ("x" * 43, base64.b64encode(b"short").decode(), "ä" * 44):
        with pytest.raises(InvalidSettings, match="STOCKLEDGER_ERASURE_KEYS"):
            MasterKeySetting(wrong)


# --- idempotency ------------------------------------------------------------------------


def _private(body: bytes, line: bytes = b"POST /api/customers") -> Idempotency:
    return Idempotency("k", line + b"\n" + idempotency.canonical(body), b"s" * 32)


def test_nothing_of_a_personal_request_is_kept() -> None:
    """But the line it began with, and a digest that nobody can guess at."""
    request = _private(b'{"name": "Ada", "limit": 1.50}')
    row = idempotency.keep(request, 201, b"{}", 7)
    assert row.request == b"POST /api/customers"
    assert row.fingerprint != Idempotency("k", request.request).fingerprint()
    same = idempotency.replay(row, _private(b'{"limit":1.5,\n"name":"Ada"}'))
    assert (same.status, same.replayed) == (201, True)
    for other, differing in (
        (_private(b'{"name": "Bob"}'), ["body"]),
        (_private(b'{"name": "Ada"}', b"PUT /api/customers/1"), ["method or path"]),
    ):
        with pytest.raises(IdempotencyMismatch) as mismatch:
            idempotency.replay(row, other)
        assert list(mismatch.value.differing) == differing


def test_a_request_kept_before_texts_were_sealed_is_known_again() -> None:
    """Its body is there still, and compared as it was."""
    line = b"POST /api/customers\n"
    row = idempotency.keep(Idempotency("k", line + b'{ "name": "Ada" }'), 201, b"{}", 7)
    assert idempotency.replay(row, _private(b'{"name":"Ada"}')).replayed
    with pytest.raises(IdempotencyMismatch) as mismatch:
        idempotency.replay(row, _private(b'{"name":"Bob"}'))
    assert list(mismatch.value.differing) == ["name"]
