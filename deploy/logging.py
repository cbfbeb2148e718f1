"""Log lines: structured, in UTC, with the request's id, of fields that are known to be harmless.

A field that is not on the list is left out and only its name is told, so that a body or a
secret cannot reach the log by an oversight. To log a new field, add it here.
"""

import logging
import logging.config
import sys
from typing import Any, Final

import structlog
from structlog.types import EventDict, Processor

from api.current_call import add_request
from deploy.settings import Settings

LOGGED_FIELDS: Final = frozenset(
    {
        # structlog's own.
        "event", "level", "logger", "timestamp", "exception", "stack",
        # Who and where.
        "request_id", "tenant_id", "actor", "method", "route", "status", "ms", "process",
        # The ledger.
        "position", "from_position", "to_position", "type", "types", "projection", "commands",
        "submissions", "events", "seconds", "attempt", "queue_depth", "contended", "stream",
        "batch_id", "chunk", "lines", "rows", "deleted", "lag",
        # The house.
        "migration", "exit_status", "error", "data_dir", "address", "worker", "workers", "count",
        "reason", "work", "server", "version", "responses", "uses", "tenant", "names",
    }
)  # fmt: skip


def configure_logging(settings: Settings) -> None:
    """Send structlog's and the standard library's log lines to standard error, in one form."""
    as_json = settings.log_format == "json" or (
        settings.log_format == "auto" and not sys.stderr.isatty()
    )
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_request,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = (
        [structlog.processors.format_exc_info, keep_listed, structlog.processors.JSONRenderer()]
        if as_json
        else [keep_listed, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    level = settings.log_level.upper()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "structlog": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        *last,
                    ],
                }
            },
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stderr",
                    "formatter": "structlog",
                }
            },
            "root": {"level": level, "handlers": ["stderr"]},
            "loggers": {
                # What the HTTP servers say of themselves; requests are logged by the API.
                "_granian": {"level": "ERROR" if level != "DEBUG" else level},
                "granian.access": {"level": "ERROR"},
                "uvicorn": {"level": "WARNING" if level != "DEBUG" else level},
                "uvicorn.access": {"level": "ERROR"},
                "asyncio": {"level": "WARNING"},
            },
        }
    )


def _add_request(logger: Any, method: str, event: EventDict) -> EventDict:
    return add_request(logger, method, dict(event))


def keep_listed(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Leave out every field that is not in ``LOGGED_FIELDS``, naming those left out."""
    withheld = sorted(event.keys() - LOGGED_FIELDS - {"exc_info"})
    if not withheld:
        return event
    kept = {name: value for name, value in event.items() if name not in withheld}
    kept["withheld"] = withheld
    return kept
