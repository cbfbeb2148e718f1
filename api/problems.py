"""Problem documents (RFC 9457), which also carry ``error`` as seed 003's errors do.

Every kind of problem has a stable type, ``/problems/<code>``, listed at ``/problems``. A
refusal of the ledger becomes the problem of its code and brings its own members along.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from api.reply import PROBLEM, Headers, Reply, encode
from ledger.checkpoints import HistoryChanged
from ledger.domain import refusals
from ledger.domain.decision import Refusal
from ledger.errors import (
    CredentialRevoked,
    IdempotencyMismatch,
    LedgerUnavailable,
    OutcomeUnknown,
    QueueFull,
    Superseded,
    VersionConflict,
)
from ledger.session import CONNECTION_LOST
from schemas.http_common import ProblemReply


class Kind(NamedTuple):
    """A kind of problem: its HTTP status and title, and ``error`` where a seed fixes its text."""

    status: int
    title: str
    error: str | None = None


KINDS: Final[dict[str, Kind]] = {
    "malformed_body": Kind(400, "The body is not well-formed"),
    "invalid_field": Kind(400, "A field's value is not valid"),
    "invalid_parameter": Kind(400, "A query parameter or header is not valid"),
    "invalid_command": Kind(400, "The command cannot be right"),
    "batch_invalid": Kind(400, "A command of the batch is not valid"),
    "unauthenticated": Kind(401, "Valid credentials are needed"),
    "wrong_login": Kind(401, "The address or the password is wrong", "Invalid credentials"),
    "forbidden": Kind(403, "These credentials may not do that"),
    "too_many_events": Kind(400, "That would take too many events"),
    "not_found": Kind(404, "There is nothing here"),
    "rebuild_not_found": Kind(404, "There is no such rebuild"),
    "webhook_delivery_not_found": Kind(404, "There is no such webhook delivery"),
    "webhook_replay_not_found": Kind(404, "There is no such webhook replay"),
    "product_not_found": Kind(404, "There is no such product", "Product not found"),
    "order_not_found": Kind(404, "There is no such order", "Order not found"),
    "location_not_found": Kind(404, "There is no such location", "Warehouse not found"),
    "customer_not_found": Kind(404, "There is no such customer", "Customer not found"),
    "supplier_not_found": Kind(404, "There is no such supplier", "Supplier not found"),
    "category_not_found": Kind(404, "There is no such category", "Category not found"),
    "price_tier_not_found": Kind(404, "There is no such price tier", "Price tier not found"),
    "method_not_allowed": Kind(405, "This resource does not take that method"),
    "sku_taken": Kind(409, "The SKU is taken", "SKU already exists for this tenant"),
    "rebuild_running": Kind(409, "Another rebuild is under way"),
    "command_refused": Kind(409, "The command is refused"),
    "batch_refused": Kind(409, "A command of the batch is refused"),
    "location_code_taken": Kind(409, "The code is taken", "Warehouse code already exists"),
    "webhook_not_verified": Kind(409, "The receiver did not answer the challenge"),
    "id_taken": Kind(409, "Another one was made at the same moment"),
    "illegal_purchase_transition": Kind(
        409, "The purchase order cannot get to that status from the one it has"
    ),
    "illegal_transition": Kind(409, "The order cannot get to that status from the one it has"),
    "insufficient_stock": Kind(409, "There is not enough stock"),
    "customer_erased": Kind(409, "The customer has been erased"),
    "customer_has_open_orders": Kind(409, "The customer has open orders"),
    "too_many_to_search": Kind(409, "There are too many customers to search them so"),
    "email_taken": Kind(409, "The address is taken", "Email already exists"),
    "version_conflict": Kind(412, "The resource has changed since it was read"),
    "not_yet": Kind(412, "That position has not been reached yet"),
    "body_too_large": Kind(413, "The body is too large"),
    "table_too_large": Kind(413, "The table is too large for its format"),
    "unsupported_media_type": Kind(415, "The body is of a type that is not taken here"),
    "idempotency_mismatch": Kind(422, "The Idempotency-Key was used for another request"),
    "too_many_attempts": Kind(429, "Too many attempts"),
    "internal": Kind(500, "Something went wrong in here"),
    "too_many_followers": Kind(503, "Too many clients follow the log"),
    "too_many_tables": Kind(503, "Too many tables are being made"),
    "queue_full": Kind(503, "Too many commands are waiting"),
    "history_changed": Kind(503, "The log is not what has been signed of it"),
    "being_prepared": Kind(503, "What was known then has to be prepared first"),
    "unavailable": Kind(503, "The ledger cannot be reached"),
    "superseded": Kind(503, "Another release serves now"),
    "outcome_unknown": Kind(503, "Whether the command took effect is unknown"),
}

_OTHER_REFUSAL: Final = KINDS["command_refused"]


def kind_of(code: str) -> Kind:
    """Return the kind of a code; one of a refusal that is not listed is a conflict."""
    kind = KINDS.get(code)
    if kind is not None:
        return kind
    if code.endswith("_not_found"):
        return Kind(404, f"There is no such {code.removesuffix('_not_found').replace('_', ' ')}")
    return _OTHER_REFUSAL._replace(title=code.replace("_", " ").capitalize())


def every_kind() -> dict[str, Kind]:
    """Return every kind of problem by its code: those listed here, and the ledger's refusals."""
    codes = [refusal.CODE for refusal in all_refusals()]
    return KINDS | {code: kind_of(code) for code in codes if code not in KINDS}


def all_refusals() -> list[type[Refusal]]:
    """Return every kind of refusal, in the order in which they are declared."""
    assert refusals.InsufficientStock.CODE, "the module must be loaded for its classes to count"
    found: list[type[Refusal]] = []
    waiting = list(Refusal.__subclasses__())
    while waiting:
        kind = waiting.pop(0)
        waiting = [*kind.__subclasses__(), *waiting]
        if "CODE" in kind.__dict__:
            found.append(kind)
    return found


def type_uri(code: str) -> str:
    """Return the problem type's URI, relative to the service."""
    return "/problems/" + code.replace("_", "-")


class Problem(Exception):
    """An answer that is not what was asked for, raised from anywhere under a route."""

    def __init__(self, code: str, detail: str, *, headers: Headers = (), **members: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = headers
        self.members = members

    @property
    def status(self) -> int:
        """The HTTP status."""
        return kind_of(self.code).status

    def document(self) -> dict[str, Any]:
        """Return the problem document."""
        kind = kind_of(self.code)
        return {
            "type": type_uri(self.code),
            "title": kind.title,
            "status": kind.status,
            "detail": self.detail,
            "error": kind.error or self.detail,
            "code": self.code,
            **self.members,
        }

    def reply(self) -> Reply:
        """Return the response."""
        return Reply(self.status, encode(self.document()), self.headers, PROBLEM)


class Family(NamedTuple):
    """How one family of routes answers what went wrong.

    ``reply`` makes the response of a problem, ``status`` tells the status it has for a code, and
    ``document`` is the type of its body, of ``media_type``. Paths that begin with ``prefix`` are
    answered like that even where there is no route. ``source`` is how the log names the API
    that events came by.
    """

    reply: Callable[[Problem], Reply]
    status: Callable[[str], int]
    document: Any
    media_type: str
    prefix: str
    source: str = "api"


def _status(code: str) -> int:
    return kind_of(code).status


PROBLEMS: Final = Family(Problem.reply, _status, ProblemReply, PROBLEM.decode(), "/")
"""Our own: RFC 9457 problems, which also carry ``error``."""


def of_refusal(refusal: Refusal) -> Problem:
    """Return the problem that a refused command is answered with."""
    members = {name: value for name, value in refusal.extensions().items() if name not in _RESERVED}
    return Problem(refusal.CODE, refusal.detail(), **members)


_RESERVED: Final = frozenset(
    {"type", "title", "status", "detail", "error", "code", "headers", "self"}
)


def unauthenticated(detail: str) -> Problem:
    """Return the problem of missing, wrong, expired or revoked credentials."""
    return Problem("unauthenticated", detail, headers=[(b"www-authenticate", b"Bearer")])


def of_exception(exception: Exception) -> Problem | None:
    """Return the problem that stands for an exception below the API; None for a defect."""
    match exception:
        case Problem():
            return exception
        case QueueFull():
            return Problem("queue_full", str(exception), headers=_retry(exception.retry_after_s))
        case OutcomeUnknown():
            return Problem("outcome_unknown", str(exception), headers=_retry(1))
        case Superseded():
            return Problem("superseded", str(exception), headers=_retry(1))
        case LedgerUnavailable():
            return Problem("unavailable", str(exception), headers=_retry(1))
        case IdempotencyMismatch():
            return Problem("idempotency_mismatch", str(exception), differing=exception.differing)
        case VersionConflict():
            return Problem(
                "version_conflict",
                str(exception),
                expected_version=exception.expected,
                actual_version=exception.actual,
            )
        case CredentialRevoked():
            return unauthenticated(str(exception))
        case HistoryChanged():
            return Problem("history_changed", f"{exception}; tell the operator of this service.")
        case asyncpg.InvalidAuthorizationSpecificationError():
            return unauthenticated(
                "This credential is no longer valid; sign in again or use another API key."
            )
        case _ if isinstance(exception, (*CONNECTION_LOST, asyncpg.TooManyConnectionsError)):
            return Problem(
                "unavailable",
                "The database cannot be reached; try again shortly.",
                headers=_retry(1),
            )
        case _:
            return None


def of_decoding(exception: Exception) -> Problem:
    """Return the problem of a body that msgspec could not decode into its struct.

    msgspec names the place as ``$.lines[2].quantity`` at the end of its message; what a
    struct's own check refused names its field at the beginning.
    """
    if isinstance(exception, msgspec.ValidationError):
        message, _, path = str(exception).partition(" - at `")
        field = _field(path.rstrip("`")) or _leading_field(message)
        fault = _plainer(message)
        detail = fault if field is None or field in fault else f"{field}: {fault}"
        return _invalid_field(field, detail)
    if isinstance(exception, RecursionError):
        return Problem("malformed_body", "The body is nested too deeply; flatten it.")
    if isinstance(exception, UnicodeError):
        return Problem("malformed_body", "The body is not UTF-8; send it as UTF-8.")
    if isinstance(exception, ArithmeticError):
        return Problem("invalid_field", "A number is out of bounds; send a plain decimal.")
    return Problem(
        "malformed_body", _sentence(f"The body is not well-formed JSON: {_plainer(str(exception))}")
    )


def _field(path: str) -> str | None:
    """Return ``lines[2].quantity`` for ``$.lines[2].quantity``; None for the document itself."""
    field = path.removeprefix("$").removeprefix(".")
    return field or None


_FIRST_WORD = re.compile(r"^([a-z][a-zA-Z_]*) must ")
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_MISSING_FIELD = re.compile(r"missing required field `([^`]*)`")


def _leading_field(message: str) -> str | None:
    for pattern in (_FIRST_WORD, _UNKNOWN_FIELD, _MISSING_FIELD):
        match = pattern.search(message)
        if match:
            return match[1]
    return None


def _plainer(message: str) -> str:
    """Return msgspec's message in the words of JSON and of this API."""
    if message.startswith("Object missing required field"):
        return f"{message.removeprefix('Object ')}; add it"
    if message.startswith("Object contains unknown field"):
        return f"{message.removeprefix('Object contains ')}; remove it or check its spelling"
    return message.removesuffix(".").replace("matching regex", "that matches")


def _sentence(text: str) -> str:
    """Return text as a sentence; one that begins with a field's name keeps it as it is."""
    if not re.match(r"[a-z][a-zA-Z_\[\].0-9]*(:| must )", text):
        text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."


def of_value(fault: Exception) -> Problem:
    """Return the problem of a command that refuses a value, raised by its own checks."""
    message = str(fault) if isinstance(fault, ValueError) else "a number is out of bounds"
    return _invalid_field(_leading_field(message), message)


def _invalid_field(field: str | None, detail: str) -> Problem:
    problem = Problem("invalid_field", _sentence(detail))
    if field is not None:
        problem.members["field"] = field
    return problem


def _retry(seconds: int) -> Headers:
    return [(b"retry-after", b"%d" % seconds)]
