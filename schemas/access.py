"""Who may use a tenant: facts about users and API keys, never their secrets."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from schemas.common import Command, Event, Id, Instant, Name

Scope = Literal["read", "write", "webhook"]
"""``webhook`` lets an outside system push inventory in, and do nothing else: it stands alone."""
Role = Literal["owner", "admin", "manager", "staff"]
Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]


class RecordApiKeyCreated(Command, frozen=True, kw_only=True):
    """Note that a key was made. Its hash is stored with the event, its secret nowhere."""

    TYPE: ClassVar[str] = "RecordApiKeyCreated"
    key_id: Id
    name: Name
    key_prefix: str
    permissions: tuple[Scope, ...]
    expires_at: Instant | None = None


class RevokeApiKey(Command, frozen=True, kw_only=True):
    """End a key at once. One revoked already: nothing to do."""

    TYPE: ClassVar[str] = "RevokeApiKey"
    key_id: Id


OVERLAP_HOURS_MAX = 720


class RotateApiKey(Command, frozen=True, kw_only=True):
    """Give a key a new secret. The one before it stays good for so many hours, 0: ends at once.

    Any older one ends at once: at most two secrets are good at a time.
    """

    TYPE: ClassVar[str] = "RotateApiKey"
    key_id: Id
    key_prefix: str
    overlap_hours: Annotated[int, Meta(ge=0, le=OVERLAP_HOURS_MAX)] = 0


class RecordUserAdded(Command, frozen=True, kw_only=True):
    """Note that somebody may sign in."""

    TYPE: ClassVar[str] = "RecordUserAdded"
    user_id: Id
    name: Name
    email: Email
    role: Role


AccessCommand = RecordApiKeyCreated | RotateApiKey | RevokeApiKey | RecordUserAdded


class ApiKeyCreated(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ApiKeyCreated"
    SCHEMA_VERSION: ClassVar[int] = 2
    READS_FROM: ClassVar[int] = 1
    key_id: int
    name: str
    key_prefix: str
    permissions: tuple[Scope, ...]
    expires_at: Instant | None = None


class ApiKeyRotated(Event, frozen=True, kw_only=True):
    """The key has another secret, its ``generation``-th after the first.

    ``old_valid_until`` is when the secret before it ends; None: it has ended with this event.
    """

    TYPE: ClassVar[str] = "ApiKeyRotated"
    key_id: int
    key_prefix: str
    generation: int
    old_valid_until: Instant | None = None


class ApiKeyRevoked(Event, frozen=True, kw_only=True):
    TYPE: ClassVar[str] = "ApiKeyRevoked"
    key_id: int


class UserAdded(Event, frozen=True, kw_only=True):
    """The address is not part of it: a person's data does not go into a log kept for ever."""

    TYPE: ClassVar[str] = "UserAdded"
    user_id: int
    role: Role


AccessEvent = ApiKeyCreated | ApiKeyRotated | ApiKeyRevoked | UserAdded
