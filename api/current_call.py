"""The call that is being answered, for log lines. It loads nothing: every process logs."""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from api.context import Call

CURRENT: Final[ContextVar["Call | None"]] = ContextVar("stockledger_call", default=None)


def add_request(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Put the request's id and actor on a log line (a structlog processor)."""
    call = CURRENT.get()
    if call is not None:
        event.setdefault("request_id", call.request_id)
        if call.principal is not None:
            event.setdefault("tenant_id", call.principal.tenant_id)
            event.setdefault("actor", call.principal.actor)
    return event
