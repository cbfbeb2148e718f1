"""Access: that somebody was let in, or shut out, as facts of the log.

Secrets, addresses and hashes are in ordinary tables; these streams hold none.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from ledger.domain.decision import (
    Decider,
    Decision,
    Facts,
    NewEvent,
    RecordedEvent,
    Refs,
    State,
)
from ledger.domain.refusals import ApiKeyNotFound
from ledger.domain.refusals_ingestion import ApiKeyIsOver
from schemas.access import (
    AccessCommand,
    ApiKeyCreated,
    ApiKeyRevoked,
    ApiKeyRotated,
    RecordApiKeyCreated,
    RecordUserAdded,
    RevokeApiKey,
    RotateApiKey,
    UserAdded,
)


def key_stream(key_id: int) -> str:
    """Return the name of an API key's stream."""
    return f"access-key-{key_id}"


def user_stream(user_id: int) -> str:
    """Return the name of a user's stream."""
    return f"access-user-{user_id}"


_GENERATION_BITS: Final = 40


def key_credential(key_id: int, generation: int) -> int:
    """Return the number of one of a key's secrets: that of the first is the key's id."""
    return key_id | generation << _GENERATION_BITS


def key_of(credential: int) -> int:
    """Return the id of the key that a secret's number is of."""
    return credential & (1 << _GENERATION_BITS) - 1


def ended_by(event: ApiKeyRevoked | ApiKeyRotated, generation: int) -> list[int]:
    """Return the numbers of the secrets that end with an event; ``generation`` is the last one's.

    At most the last two secrets are ever good.
    """
    match event:
        case ApiKeyRevoked():
            ended = [generation, generation - 1]
        case ApiKeyRotated(old_valid_until=None):
            ended = [generation - 1, generation - 2]
        case ApiKeyRotated():
            ended = [generation - 2]
    return [key_credential(event.key_id, each) for each in ended if each >= 0]


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 2


class AccessState(msgspec.Struct, frozen=True, gc=False):
    """Whether a key or user has been recorded, and what has become of the key since.

    ``generation`` counts its secrets: 0 is the first one's.
    """

    recorded: bool = False
    revoked: bool = False
    expires_at: datetime | None = None
    generation: int = 0


INITIAL: Final = AccessState()


def evolve(state: AccessState, recorded: RecordedEvent) -> AccessState:
    """Return the state after an event."""
    match recorded.event:
        case ApiKeyCreated(expires_at=expires_at):
            return AccessState(recorded=True, expires_at=expires_at)
        case UserAdded():
            return AccessState(recorded=True)
        case ApiKeyRotated(generation=generation):
            return msgspec.structs.replace(state, generation=generation)
        case ApiKeyRevoked():
            return msgspec.structs.replace(state, recorded=True, revoked=True)
        case event:
            raise TypeError(f"access has no {type(event).__name__}")


# --- decisions --------------------------------------------------------------------------


class AccessDecider(Decider):
    """The decider of API keys and users."""

    def streams(self, command: AccessCommand, refs: Refs) -> Sequence[str]:
        """The key's or the user's own."""
        if isinstance(command, RecordUserAdded):
            return (user_stream(command.user_id),)
        return (key_stream(command.key_id),)

    def decide(
        self, command: AccessCommand, refs: Refs, states: Mapping[str, State], facts: Facts
    ) -> Decision:
        """Return the one event, nothing when it is so already, or a refusal.

        Refusals: ApiKeyNotFound; ApiKeyIsOver for a new secret of a key that is no good.
        """
        (name,) = self.streams(command, refs)
        state: AccessState = states[name]
        match command:
            case RevokeApiKey():
                if not state.recorded:
                    return ApiKeyNotFound(key_id=command.key_id)
                if state.revoked:
                    return []
                return [NewEvent(name, ApiKeyRevoked(key_id=command.key_id))]
            case RotateApiKey():
                return _rotate(command, name, state, facts.now)
            case RecordApiKeyCreated():
                if state.recorded:
                    return []
                return [NewEvent(name, ApiKeyCreated(**msgspec.structs.asdict(command)))]
            case RecordUserAdded():
                if state.recorded:
                    return []
                return [NewEvent(name, UserAdded(user_id=command.user_id, role=command.role))]


DECIDER: Final = AccessDecider()


def _rotate(command: RotateApiKey, name: str, state: AccessState, now: datetime) -> Decision:
    if not state.recorded:
        return ApiKeyNotFound(key_id=command.key_id)
    if state.revoked or (state.expires_at is not None and state.expires_at <= now):
        return ApiKeyIsOver(key_id=command.key_id)
    hours = command.overlap_hours
    rotated = ApiKeyRotated(
        key_id=command.key_id,
        key_prefix=command.key_prefix,
        generation=state.generation + 1,
        old_valid_until=now + timedelta(hours=hours) if hours else None,
    )
    return [NewEvent(name, rotated)]
