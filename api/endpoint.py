"""Routes as declarations: what OpenAPI says of one is what its wrapper enforces.

A handler takes a `Call` and returns a `Reply`. The wrapper is all that stands between it and
the gate, for a path without parameters, or Litestar's router, for any other: it asks for the
role or scope, and turns exceptions into problems. There is no dependency injection and no model
built per request on this path.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from litestar import Request
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler

from api.context import ROLE_RANK, Call, call_of
from api.problems import PROBLEMS, Family, Problem, of_exception
from api.query import Parameter, parse_query
from api.reply import Reply
from schemas.access import Role, Scope

Handler = Callable[[Call], Awaitable[Reply]]
Serve = Callable[[Call], Awaitable[Reply]]
"""A handler in its wrapper: it raises nothing."""
BODY_BYTES_MAX: Final = 64 * 1024

log = structlog.get_logger("stockledger.api")


class Media(msgspec.Struct, frozen=True):
    """A reply or body that is not a JSON struct: its media type and its schema."""

    media_type: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """All that is declared of a route.

    ``role`` is the least role a user needs, and ``scope`` what an API key needs; None shuts out
    users or keys, and both None make the route public. ``body`` is the struct its body is;
    ``replies`` what each success status carries; ``problems`` the codes it may be refused with,
    besides those that follow from the rest of the declaration. ``family`` says how these look.
    """

    method: str
    path: str
    tag: str
    summary: str
    description: str
    role: Role | None
    scope: Scope | None
    body: type | None = None
    bodies: tuple[Media, ...] = ()
    replies: Mapping[int, Any] = {}
    problems: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    commits: bool = False
    conditional: bool = False
    family: Family = PROBLEMS

    @property
    def is_public(self) -> bool:
        """Whether it takes no credentials."""
        return self.role is None and self.scope is None


class Routes:
    """The routes of one resource; each module of routes makes one. ``family`` is their errors'."""

    def __init__(self, tag: str, family: Family = PROBLEMS) -> None:
        self.tag = tag
        self.family = family
        self.endpoints: list[Endpoint] = []
        self.handlers: list[HTTPRouteHandler] = []
        self.direct: dict[tuple[str, str], Serve] = {}

    def add(
        self,
        method: str,
        path: str,
        summary: str,
        *,
        role: Role | None = "staff",
        scope: Scope | None = "read",
        body: type | None = None,
        bodies: Sequence[Media] = (),
        replies: Mapping[int, Any],
        problems: Sequence[str] = (),
        parameters: Sequence[Parameter] = (),
        commits: bool = False,
        conditional: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare a route. Its description is the handler's docstring.

        ``path`` names its parameters as ``{name}``; one at the end may be ``{name:path}`` to
        take slashes too.
        """

        def declare(handler: Handler) -> Handler:
            endpoint = Endpoint(
                method=method,
                path=path,
                tag=self.tag,
                summary=summary,
                description=" ".join((handler.__doc__ or "").split()),
                role=role,
                scope=scope,
                body=body,
                bodies=tuple(bodies),
                replies=dict(replies),
                problems=tuple(problems),
                parameters=tuple(parameters),
                commits=commits,
                conditional=conditional,
                family=self.family,
            )
            self.endpoints.append(endpoint)
            serve = _serving(endpoint, handler)
            self.handlers.append(_route_handler(endpoint, handler.__name__, serve))
            if "{" not in path:
                self.direct[method, path] = serve
            return handler

        return declare


def _serving(endpoint: Endpoint, handler: Handler) -> Serve:
    path = endpoint.path
    rank = None if endpoint.role is None else ROLE_RANK[endpoint.role]
    scope_needed = endpoint.scope
    is_public = endpoint.is_public
    family = endpoint.family

    async def serve(call: Call) -> Reply:
        call.route = path
        call.family = family
        try:
            if not is_public:
                caller = call.caller
                if caller.kind == "key":
                    if scope_needed not in caller.scopes:
                        raise _key_forbidden(endpoint)
                elif rank is None or ROLE_RANK[caller.role] < rank:
                    raise _user_forbidden(endpoint)
            return await handler(call)
        except Exception as fault:
            return reply_to(fault, family)

    return serve


def _route_handler(endpoint: Endpoint, name: str, serve: Serve) -> HTTPRouteHandler:
    async def handle(request: Request[Any, Any, Any]) -> Reply:
        call = call_of(request.scope)
        call.path_params = request.scope["path_params"]
        return await serve(call)

    # Litestar types a path's parameters itself; everything is text to it here, and each
    # handler parses its own, so that a wrong one gets this API's 404.
    litestar_path = endpoint.path.replace("}", ":str}").replace(":path:str}", ":path}")
    handle.__name__ = handle.__qualname__ = name
    return HTTPRouteHandler(
        litestar_path,
        http_method=HttpMethod[endpoint.method],
        status_code=200,
        opt={"endpoint": endpoint},
    )(handle)


def reply_to(fault: Exception, family: Family = PROBLEMS) -> Reply:
    """Return the reply to an exception; one that nothing foresaw is logged, and tells nothing."""
    problem = of_exception(fault)
    if problem is None:
        log.error("request failed", exc_info=fault)
        problem = Problem(
            "internal", "Something went wrong in here; it has been logged with this request's id."
        )
    return family.reply(problem)


def query(call: Call, parameters: tuple[Parameter, ...]) -> dict[str, Any]:
    """Return the values of a call's query parameters."""
    return parse_query(call.scope["query_string"], parameters)


def _key_forbidden(endpoint: Endpoint) -> Problem:
    if endpoint.scope is None:
        return Problem(
            "forbidden", "An API key cannot do this; sign in as a user and send its token."
        )
    return Problem("forbidden", f"This API key lacks the permission '{endpoint.scope}'.")


def _user_forbidden(endpoint: Endpoint) -> Problem:
    if endpoint.role is None:
        return Problem("forbidden", "This resource takes an API key, not a user's token.")
    return Problem("forbidden", f"This needs the role '{endpoint.role}' or above.")
