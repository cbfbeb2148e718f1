"""What is handed to the committer, and what it hands back.

All of it is made for each command, and so are structs that the garbage collector leaves out:
they take a quarter of the time that named tuples take, and none of them leads back to itself.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256

import msgspec

from ledger.domain.decision import RecordedEvent, Refusal, State
from ledger.ports import Meta
from ledger.store import Connection, Credential
from schemas.common import Command


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of one command.

    ``events`` are empty when it was refused, when there was nothing to do, and when the
    submission it was part of had no effect (``applied`` False). ``states`` are those of the
    command's streams after it. ``replay`` is the result kept under the item's own key.
    """

    refusal: Refusal | None = None
    events: Sequence[RecordedEvent] = ()
    states: Mapping[str, State] = {}
    applied: bool = True
    replay: bytes | None = None


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """A response: its status and body, and the body to keep where the client's shows a secret."""

    status: int
    body: bytes
    body_kept: bytes | None = None


class Reply(msgspec.Struct, frozen=True, gc=False):
    """A submission's response, the position its effects are at, and whether it is a replay."""

    status: int
    body: bytes
    position: int
    replayed: bool = False


class Idempotency(msgspec.Struct, frozen=True, gc=False):
    """A client's key, and the request that it stands for: method and path, line feed, body.

    With a ``secret`` the body holds personal data: it is not kept, and its fingerprint is one
    that nobody without the secret can guess at.
    """

    key: str
    request: bytes
    secret: bytes | None = None

    def fingerprint(self) -> bytes:
        """Return SHA-256 of the request; HMAC-SHA-256 where there is a secret."""
        if self.secret is not None:
            return hmac.digest(self.secret, self.request, "sha256")
        return sha256(self.request).digest()


class Item(msgspec.Struct, frozen=True, gc=False):
    """One command, with a key of its own where the client gave it one."""

    command: Command
    idempotency: Idempotency | None = None


Render = Callable[[Sequence[Outcome]], Rendered]
RenderItem = Callable[[Outcome], bytes]
Finish = Callable[[Sequence[Outcome]], Sequence[Command]]
Aborts = Callable[[Sequence[Outcome]], bool]
SideEffect = Callable[[Connection, Sequence[Outcome]], Awaitable[None]]


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """Commands of one request, decided in order and committed in one transaction.

    ``atomic``: when one is refused none has an effect; ``aborts`` is a rule of one's own for
    that, asked when all are decided. ``render`` makes the response, after
    the decisions and before the commit, since the response is kept under the key in the same
    transaction; it must be pure. ``finish`` gives commands to decide after the others, which
    depend on how those went; when one of these is refused the submission has no effect.
    ``side_effect`` writes what belongs to the same transaction and is no event.
    ``expected_version`` is what the first command's first stream must be at.
    """

    tenant_id: int
    items: Sequence[Item]
    meta: Meta
    render: Render
    atomic: bool = True
    aborts: Aborts | None = None
    render_item: RenderItem | None = None
    finish: Finish | None = None
    side_effect: SideEffect | None = None
    idempotency: Idempotency | None = None
    expected_version: int | None = None
    credential: Credential | None = None

    def idempotency_keys(self) -> list[str]:
        """Return the idempotency keys that it would use up: its items' own, and its own."""
        keys = [item.idempotency.key for item in self.items if item.idempotency is not None]
        if self.idempotency is not None:
            keys.append(self.idempotency.key)
        return keys
