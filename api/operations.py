"""Routes for those who run the service and those who read about it: health, metrics, docs."""

import asyncio
from importlib import resources
from typing import Final

import asyncpg

from api.context import Call
from api.endpoint import Media, Routes
from api.metrics import LAG, PARKED
from api.problems import Problem, every_kind, type_uri
from api.relay_metrics import RELAY
from api.reply import Reply, encode
from api.webhook_metrics import WEBHOOKS
from ledger.session import CONNECTION_LOST
from ledger.store import Pool
from projections.engine import FOLLOWING
from projections.following import standings
from projections.relay import relay_standing
from projections.webhook_queue import webhook_depth
from schemas.http_common import HealthReply, ProblemKindReply, ProblemKindsReply

routes = Routes("Operations")

READY_TIMEOUT_S: Final = 2.0


@routes.add(
    "GET",
    "/health/live",
    "Is the process alive?",
    role=None,
    scope=None,
    replies={200: HealthReply},
)
async def live(call: Call) -> Reply:
    """Answers as long as the process does."""
    return Reply(200, encode(HealthReply(status="live")))


@routes.add(
    "GET",
    "/health/ready",
    "Can requests be served?",
    role=None,
    scope=None,
    replies={200: HealthReply, 503: HealthReply},
)
async def ready(call: Call) -> Reply:
    """Ready when the database answers within two seconds, and its read models are those of this
    release."""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            await call.house.pool.fetchval("SELECT 1")
    except (asyncpg.PostgresError, *CONNECTION_LOST):
        return Reply(503, encode(HealthReply(status="unready", checks={"database": "unreachable"})))
    if call.house.superseded:
        checks = {"database": "ok", "release": "superseded"}
        return Reply(503, encode(HealthReply(status="unready", checks=checks)))
    return Reply(200, encode(HealthReply(status="ready", checks={"database": "ok"})))


async def _tell_following(pool: Pool) -> None:
    """Set what is told of those that follow the log; nothing, while the database is away."""
    LAG.clear()
    PARKED.clear()
    RELAY.standing = None
    WEBHOOKS.depth = None
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            found = await standings(pool, [projection.name for projection in FOLLOWING])
            RELAY.standing = await relay_standing(pool)
            WEBHOOKS.depth = await webhook_depth(pool)
    except (asyncpg.PostgresError, *CONNECTION_LOST):
        return
    for name, standing in found.items():
        LAG.labels(name).set(standing.behind)
        PARKED.labels(name).set(standing.parked)


@routes.add("GET", "/metrics", "Metrics", role=None, scope=None, replies={200: Media("text/plain")})
async def metrics(call: Call) -> Reply:
    """Figures for Prometheus, of all API processes together. They tell nothing of any tenant's
    data."""
    await _tell_following(call.house.pool)
    text = await call.scope["litestar_app"].state.metrics.text()
    return Reply(200, text, media_type=b"text/plain; version=0.0.4; charset=utf-8")


@routes.add(
    "GET",
    "/problems",
    "Kinds of problems",
    role=None,
    scope=None,
    replies={200: ProblemKindsReply},
)
async def list_problems(call: Call) -> Reply:
    """The types of problem documents."""
    kinds = [
        ProblemKindReply(type=type_uri(code), code=code, title=kind.title, status=kind.status)
        for code, kind in every_kind().items()
    ]
    return Reply(200, encode(ProblemKindsReply(problems=kinds)))


@routes.add(
    "GET",
    "/problems/{code}",
    "One kind of problem",
    role=None,
    scope=None,
    replies={200: ProblemKindReply},
)
async def get_problem(call: Call) -> Reply:
    """What a problem's type leads to."""
    code = call.path_params["code"].replace("-", "_")
    kind = every_kind().get(code)
    if kind is None:
        raise Problem("not_found", "There is no such kind of problem; see /problems.")
    return Reply(
        200,
        encode(
            ProblemKindReply(type=type_uri(code), code=code, title=kind.title, status=kind.status)
        ),
    )


@routes.add(
    "GET",
    "/openapi.json",
    "This document",
    role=None,
    scope=None,
    replies={200: Media("application/json", {"type": "object"})},
)
async def openapi(call: Call) -> Reply:
    """The OpenAPI description of all routes."""
    return Reply(200, call.scope["litestar_app"].state.openapi)


# The page's own script is a file, so that the policy can forbid inline scripts. The UI sets
# styles on elements, which is what style-src has to allow.
_CONTENT_SECURITY_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    b"frame-ancestors 'none'"
)
_PAGE: Final = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stockledger API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START: Final = b"""\
window.ui = SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#ui",
  deepLinking: true,
  docExpansion: "none",
  validatorUrl: null,
});
"""
_FILES: Final = {
    "swagger-ui.css": b"text/css; charset=utf-8",
    "swagger-ui-bundle.js": b"text/javascript; charset=utf-8",
    "LICENSE": b"text/plain; charset=utf-8",
}


@routes.add(
    "GET",
    "/docs",
    "Read and try the API",
    role=None,
    scope=None,
    replies={200: Media("text/html")},
)
async def docs(call: Call) -> Reply:
    """A page to read and try the API with (Swagger UI, served from here)."""
    return Reply(
        200,
        _PAGE,
        [(b"content-security-policy", _CONTENT_SECURITY_POLICY)],
        b"text/html; charset=utf-8",
    )


@routes.add(
    "GET",
    "/docs/{file}",
    "The page's files",
    role=None,
    scope=None,
    replies={
        200: Media("text/javascript"),
    },
)
async def docs_file(call: Call) -> Reply:
    """Scripts and styles of the page."""
    name = call.path_params["file"]
    if name == "start.js":
        return Reply(200, _START, media_type=b"text/javascript; charset=utf-8")
    media_type = _FILES.get(name)
    if media_type is None:
        raise Problem("not_found", "There is no such file.")
    path = resources.files("api") / "static" / "swagger-ui" / name
    content = await asyncio.to_thread(path.read_bytes)
    return Reply(200, content, media_type=media_type)
