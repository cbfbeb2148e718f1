"""Sealing personal texts: the token that a text becomes, and the keys that open it again.

A token is ``sealed:1:<subject>:<ciphertext>``. The ciphertext is AES-256-SIV (RFC 5297) of the
text under the subject's key, in base64url: the same text of the same subject gives the same
token, so that what is said twice is seen to be the same, and a token that was tampered with opens
to nothing. The subject is 32 random hexadecimal digits that name the key. A subject's key is
kept outside the log, wrapped with AES-256-GCM by a master key that is outside the database;
where the key is gone, the token stays, and shows as `ERASED`.
"""

import base64
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, Protocol, cast, get_args, get_type_hints

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from msgspec import Meta

PREFIX: Final = "sealed:1:"
MARKER: Final = PREFIX.encode()
TOKEN: Final = re.compile(r"sealed:1:([0-9a-f]{32}):([A-Za-z0-9_-]{22,})")
TOKEN_BYTES: Final = re.compile(TOKEN.pattern.encode())
ERASED: Final = "[erased]"
"""What stands where a personal text was whose key has been destroyed."""
UNREADABLE: Final = "[unreadable]"
"""What stands where a key is there, but not the master key that wrapped it."""

_KEY_BYTES: Final = 64
_MASTER_ID_BYTES: Final = 8
_NONCE_BYTES: Final = 12
# Texts are filled up to a multiple of this, so that a token hardly tells how long its text is.
_PAD_BYTES: Final = 16


class KeyLost(Exception):
    """The master key that wrapped this key is not among those at hand, or the key was changed."""


class MasterKeyRetired(Exception):
    """The master key was retired while it wrapped a new key; wrap that with the new one."""


class MasterKey:
    """A key that wraps others; ``id`` tells which one wrapped something."""

    __slots__ = ("_cipher", "id")

    def __init__(self, secret: bytes) -> None:
        """Raise ValueError unless ``secret`` has 32 bytes."""
        self._cipher = AESGCM(secret)
        self.id = sha256(b"stockledger master key\n" + secret).digest()[:_MASTER_ID_BYTES]

    def wrap(self, key: bytes, about: bytes) -> bytes:
        """Return a key wrapped; ``about`` says what it is for, and is needed again to unwrap it."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return self.id + nonce + self._cipher.encrypt(nonce, key, about)

    def unwrap(self, wrapped: bytes, about: bytes) -> bytes:
        """Return the key that was wrapped; raise KeyLost where it is not this one's or changed."""
        nonce = wrapped[_MASTER_ID_BYTES : _MASTER_ID_BYTES + _NONCE_BYTES]
        try:
            return self._cipher.decrypt(nonce, wrapped[_MASTER_ID_BYTES + _NONCE_BYTES :], about)
        except (InvalidTag, ValueError) as error:
            raise KeyLost from error


class MasterKeys(Protocol):
    """The master keys at hand."""

    def newest(self) -> MasterKey:
        """Return the one that wraps new keys; the first one is made here."""
        ...

    def find(self, master_id: bytes) -> MasterKey | None:
        """Return the one of this id, None where it is not at hand (any more)."""
        ...


def wrapped_by(wrapped: bytes) -> bytes:
    """Return the id of the master key that wrapped a key."""
    return wrapped[:_MASTER_ID_BYTES]


def unwrap(masters: MasterKeys, wrapped: bytes, about: bytes) -> bytes:
    """Return the key that was wrapped; raise KeyLost where that cannot be done."""
    master = masters.find(wrapped_by(wrapped))
    if master is None:
        raise KeyLost
    return master.unwrap(wrapped, about)


def about_subject(tenant_id: int, subject: str) -> bytes:
    """Return what a subject's key is for, as its wrapping binds it."""
    return b"subject\n%d\n%s" % (tenant_id, subject.encode())


def about_tenant(tenant_id: int) -> bytes:
    """Return what a tenant's own key is for, as its wrapping binds it."""
    return b"tenant\n%d" % tenant_id


def new_subject() -> str:
    """Return a name for a new subject."""
    return secrets.token_hex(16)


def new_key() -> bytes:
    """Return a new key for a subject or a tenant."""
    return secrets.token_bytes(_KEY_BYTES)


class SubjectKey:
    """Seals and opens the texts of one subject of one tenant."""

    __slots__ = ("_about", "_cipher", "_prefix")

    def __init__(self, tenant_id: int, subject: str, key: bytes) -> None:
        self._cipher = AESSIV(key)
        self._about = [about_subject(tenant_id, subject)]
        self._prefix = f"{PREFIX}{subject}:"

    def seal(self, text: str) -> str:
        """Return the token that stands for a text; the same text gives the same token."""
        plain = text.encode()
        # Texts hold no NUL (`schemas.common`), so what was filled up can be told apart again.
        plain += b"\0" * (-len(plain) % _PAD_BYTES or (0 if plain else _PAD_BYTES))
        sealed = self._cipher.encrypt(plain, self._about)
        return self._prefix + base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, ciphertext: str) -> str:
        """Return the text behind a token's ciphertext; raise KeyLost where it is not ours."""
        try:
            sealed = base64.urlsafe_b64decode(ciphertext + "=" * (-len(ciphertext) % 4))
            return self._cipher.decrypt(sealed, self._about).rstrip(b"\0").decode()
        except (InvalidTag, ValueError) as error:
            raise KeyLost from error


# --- texts in text ----------------------------------------------------------------------

Keys = Mapping[str, "SubjectKey | None"]
"""The keys of subjects; None where there is one that cannot be unwrapped. Erased: not in it."""


def subjects_in(data: bytes) -> set[str]:
    """Return the subjects of all tokens that occur in bytes."""
    return {match[1].decode() for match in TOKEN_BYTES.finditer(data)}


def opened(token: "re.Match[str]", keys: Keys) -> str:
    """Return the text behind a token, or what stands where it was."""
    if token[1] not in keys:
        return ERASED
    key = keys[token[1]]
    try:
        return UNREADABLE if key is None else key.open(token[2])
    except KeyLost:
        # Somebody wrote this by hand: it is no token of ours.
        return token[0]


def open_text(text: str, keys: Keys) -> str:
    """Return a text with all tokens in it opened."""
    return TOKEN.sub(lambda token: opened(token, keys), text)


def open_json(body: bytes, keys: Keys) -> bytes:
    """Return JSON with all tokens in its strings opened, and escaped as JSON asks for."""

    def written(match: "re.Match[bytes]") -> bytes:
        token = TOKEN.fullmatch(match[0].decode("ascii"))
        assert token is not None
        return msgspec.json.encode(opened(token, keys))[1:-1]

    return TOKEN_BYTES.sub(written, body)


# --- fields -----------------------------------------------------------------------------

Marks = tuple[tuple[str, Any], ...]
"""The fields of a struct that hold personal texts, by name.

With None a field is such a text itself; with marks it is a struct that has some, or a tuple of
such structs.
"""

_marks: dict[type[Any], Marks] = {}


def marks_of(kind: type[msgspec.Struct]) -> Marks:
    """Return which fields of a struct hold personal texts."""
    known = _marks.get(kind)
    if known is None:
        found: list[tuple[str, Any]] = []
        for name, hint in get_type_hints(kind, include_extras=True).items():
            if name not in kind.__struct_fields__:
                continue
            if _is_personal(hint):
                found.append((name, None))
            elif inner := _marks_within(hint):
                found.append((name, inner))
        known = _marks[kind] = tuple(found)
    return known


def _is_personal(hint: Any) -> bool:
    return any(
        isinstance(part, Meta) and bool((part.extra or {}).get("personal"))
        for part in getattr(hint, "__metadata__", ())
    )


def _marks_within(hint: Any) -> Marks:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return marks_of(hint)
    for part in get_args(hint):
        if inner := _marks_within(part):
            return inner
    return ()


def texts_of(value: Any, marks: Marks) -> Iterable[str]:
    """Yield the personal texts of a struct that are there and not blank."""
    for name, inner in marks:
        held = getattr(value, name)
        if held is None:
            continue
        if inner is None:
            if held.strip():
                yield held
        else:
            for each in cast("tuple[Any, ...]", held if isinstance(held, tuple) else (held,)):
                yield from texts_of(each, inner)


def with_texts(value: Any, marks: Marks, replace: Callable[[str], str]) -> Any:
    """Return a struct with every personal text replaced that is there and not blank."""
    changed: dict[str, Any] = {}
    for name, inner in marks:
        held = getattr(value, name)
        if held is None:
            continue
        if inner is None:
            if held.strip():
                changed[name] = replace(held)
        elif isinstance(held, tuple):
            entries = cast("tuple[Any, ...]", held)
            changed[name] = tuple(with_texts(entry, inner, replace) for entry in entries)
        else:
            changed[name] = with_texts(held, inner, replace)
    return msgspec.structs.replace(value, **changed) if changed else value


def keyed_digest(key: bytes, *parts: bytes) -> bytes:
    """Return HMAC-SHA-256 of parts: who has not the key can neither make nor guess it."""
    return hmac.digest(key, b"\n".join(parts), "sha256")
