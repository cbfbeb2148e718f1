"""HTTP bodies and replies of the ledger itself: commands in bulk, events, explanations."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas.http_common import Quantity

Mode = Literal["atomic", "independent"]
IDEMPOTENCY_KEY_PATTERN = r"^[\x20-\x7e]{1,255}$"
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=IDEMPOTENCY_KEY_PATTERN)]


class CommandsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands, left undecoded so that each gets a result of its own."""

    commands: list[msgspec.Raw]
    mode: Mode = "atomic"


class CommandItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One command; what ``data`` holds depends on its ``type``."""

    type: str
    data: msgspec.Raw
    idempotency_key: IdempotencyKey | None = None


class KnownReply(msgspec.Struct, frozen=True, kw_only=True):
    """How far a moment of the past is prepared: ``folded`` is the position that is reached.

    ``reason`` says why one has failed.
    """

    position: int
    as_of: datetime | msgspec.UnsetType = msgspec.UNSET
    state: Literal["waiting", "building", "ready", "failed"]
    folded: int
    percent: int
    requested_at: datetime
    ready_at: datetime | None
    reason: str | None


class RecordedRef(msgspec.Struct, frozen=True, kw_only=True):
    position: int
    type: str


class CommandResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``not_applied``: nothing was wrong with it, but the atomic batch had no effect.

    ``events`` of an accepted command are empty when there was nothing to do.
    """

    status: Literal["accepted", "refused", "not_applied"]
    events: list[RecordedRef] = []
    problem: dict[str, Any] | None = None
    replayed: bool = False


class CommandsReply(msgspec.Struct, frozen=True, kw_only=True):
    """``results`` are in the order of the commands; ``position`` is the last event's, if any."""

    position: int | None
    accepted: int
    refused: int
    results: list[CommandResult]


class EventReply(msgspec.Struct, frozen=True, kw_only=True):
    position: int
    stream: str
    version: int
    type: str
    schema_version: int
    effective_at: datetime
    recorded_at: datetime
    data: dict[str, Any]
    meta: dict[str, Any]


class EventsReply(msgspec.Struct, frozen=True, kw_only=True):
    """``next_after`` is what to pass as ``after`` for the next page; null when there is none."""

    events: list[EventReply]
    position: int
    next_after: int | None


class HeadReply(msgspec.Struct, frozen=True, kw_only=True):
    """The tenant's last position, and the root of its Merkle tree in hex."""

    position: int
    root: str
    recorded_at: datetime


class ExplainStep(msgspec.Struct, frozen=True, kw_only=True):
    """One event of the item and what was on hand after it, in the order of the log.

    ``quantity`` is null for what moves nothing: reservations and their ends.
    """

    position: int
    version: int
    type: str
    effective_at: datetime
    recorded_at: datetime
    quantity: Quantity | None
    from_account: str | None
    from_location_id: int | None
    to_account: str | None
    to_location_id: int | None
    on_hand_after: Quantity
    actor: str | None
    actor_name: str | None
    source: str | None
    reverses: int | None
    reversed_by: int | None
    data: dict[str, Any]


class ExplainReply(msgspec.Struct, frozen=True, kw_only=True):
    """Why the stock is what it is: ``brought_forward`` and then every step, newest first.

    ``next_before`` leads to older steps; null when these are all.
    """

    sku: str
    product_id: int
    location: str
    location_id: int
    on_hand: Quantity
    reserved: Quantity
    available: Quantity
    brought_forward: Quantity
    steps: list[ExplainStep]
    next_before: int | None
    position: int
