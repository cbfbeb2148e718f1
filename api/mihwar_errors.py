"""How Mihwar's API says what went wrong: one shape, ``{"error": {"code", "message", …}}``.

The document (seed 000) shows no error, so the shape is ours; see `docs/guides/mihwar.md`.
"""

import re
from typing import Final

from api.problems import Family, Problem, kind_of
from api.reply import JSON, Reply, encode
from schemas.http_mihwar import MihwarErrorReply, MihwarFault

INGESTION_PREFIX: Final = "/api/integrations/v1/ingestion"
KEYS_PREFIX: Final = "/api/integrations/v1/keys"

_NEXT_WORD: Final = re.compile(r"_([a-z])")
_MORE: Final = ("field", "differing", "import_batch_id")


def camel(name: str) -> str:
    """Return ``idempotencyMismatch`` for ``idempotency_mismatch``."""
    return _NEXT_WORD.sub(lambda match: match[1].upper(), name)


def _reply(problem: Problem) -> Reply:
    more = {name: problem.members[name] for name in _MORE if name in problem.members}
    fault = MihwarFault(code=camel(problem.code), message=problem.detail, **more)
    return Reply(problem.status, encode(MihwarErrorReply(error=fault)), problem.headers, JSON)


def _status(code: str) -> int:
    return kind_of(code).status


def mihwar_family(prefix: str) -> Family:
    """Return the family of routes that begin with ``prefix``."""
    return Family(_reply, _status, MihwarErrorReply, JSON.decode(), prefix, "mihwar")
