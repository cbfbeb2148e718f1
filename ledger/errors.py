"""What can go wrong with the ledger itself, as opposed to a command that it refuses.

A refusal is a decision (`ledger.domain.decision.Refusal`); these are exceptions. Each one's
docstring's first paragraph is its default message, and says what to do next.
"""

import inspect
from collections.abc import Sequence


class LedgerError(Exception):
    """The ledger could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or _summary(type(self)))


class OperatorError(Exception):
    """What an operator can mend; the message says how, so the command line shows no traceback."""


class QueueFull(LedgerError):
    """Too many commands are waiting already; nothing was recorded, so try again shortly.

    ``retry_after_s`` is how many seconds to wait first.
    """

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OutcomeUnknown(LedgerError):
    """The connection was lost during the commit, so the command may have taken effect or not;
    send it again with the same Idempotency-Key to find out safely."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached; nothing was recorded, so try again shortly."""


class Superseded(LedgerError):
    """Another release has put its own read models in place, so this process takes no more
    commands; nothing was recorded: send it again, to a process of the release that serves now."""


class IdempotencyMismatch(LedgerError):
    """This Idempotency-Key was used before with another request; use a new key for a new request.

    ``differing`` names the fields that are not as they were.
    """

    def __init__(self, message: str | None = None, *, differing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differing = list(differing)


class VersionConflict(LedgerError):
    """The resource has changed since you read it; read it again and decide anew.

    ``expected`` is the stream version the client named, ``actual`` the one it has.
    """

    def __init__(self, message: str | None = None, *, expected: int, actual: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class CredentialRevoked(LedgerError):
    """This credential is no longer valid; sign in again or use another API key."""


class UnreadableEvent(LedgerError):
    """The log holds an event that this release cannot read; run the release that wrote it.

    ``type_name`` and ``schema_version`` are the event's own.
    """

    def __init__(self, message: str | None = None, *, type_name: str, schema_version: int) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.schema_version = schema_version


def _summary(error_type: type[Exception]) -> str:
    """Return the first paragraph of an exception's docstring; the rest tells of attributes."""
    paragraph = inspect.cleandoc(error_type.__doc__ or "").partition("\n\n")[0]
    return paragraph.replace("\n", " ")
