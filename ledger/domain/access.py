"""Access: that somebody was let in, or shut out, as facts of the log.

Secrets, addresses and hashes are in ordinary tables; these streams hold none.
"""

from collections.abc import Mapping, Sequence
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
from schemas.access import (
    AccessCommand,
    ApiKeyCreated,
    ApiKeyRevoked,
    RecordApiKeyCreated,
    RecordUserAdded,
    RevokeApiKey,
    UserAdded,
)


def key_stream(key_id: int) -> str:
    """Return the name of an API key's stream."""
    return f"access-key-{key_id}"


def user_stream(user_id: int) -> str:
    """Return the name of a user's stream."""
    return f"access-user-{user_id}"


# --- state ------------------------------------------------------------------------------

STATE_VERSION: Final = 1


class AccessState(msgspec.Struct, frozen=True, gc=False):
    """Whether a key or user has been recorded, and whether the key was revoked since."""

    recorded: bool = False
    revoked: bool = False


INITIAL: Final = AccessState()


def evolve(state: AccessState, recorded: RecordedEvent) -> AccessState:
    """Return the state after an event."""
    match recorded.event:
        case ApiKeyCreated() | UserAdded():
            return AccessState(recorded=True)
        case ApiKeyRevoked():
            return AccessState(recorded=True, revoked=True)
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
        """Return the one event, nothing when it is so already, or ApiKeyNotFound."""
        (name,) = self.streams(command, refs)
        state: AccessState = states[name]
        match command:
            case RevokeApiKey():
                if not state.recorded:
                    return ApiKeyNotFound(key_id=command.key_id)
                if state.revoked:
                    return []
                return [NewEvent(name, ApiKeyRevoked(key_id=command.key_id))]
            case RecordApiKeyCreated():
                if state.recorded:
                    return []
                return [NewEvent(name, ApiKeyCreated(**msgspec.structs.asdict(command)))]
            case RecordUserAdded():
                if state.recorded:
                    return []
                return [NewEvent(name, UserAdded(user_id=command.user_id, role=command.role))]


DECIDER: Final = AccessDecider()
