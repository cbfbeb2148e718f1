"""Routes as declarations: what OpenAPI says of one is what its wrapper enforces.

A handler takes a `Call` and returns a `Reply`. The wrapper is all that stands between it and
the gate, for a path without parameters, or Litestar's router, for any other: it asks for the
role or scope, and turns exceptions into problems. There is no dependency injection and no model
built per request on this path.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncpg
import msgspec
import structlog

from api.context import ROLE_RANK, Call, call_of
from api.problems import PROBLEMS, Family, Problem, of_exception
from api.query import Parameter, parse_query
from api.reply import Reply
from api.sealing import unsealed
from api.tabular import Table, is_tabular, shape_of
from api.tabular_reply import Tabulated, answer_table, asks_for_table
from ledger.errors import Superseded
from ledger.sealing import MARKER
from schemas.access import Role, Scope

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

Handler = Callable[[Call], Awaitable[Reply]]
Serve = Callable[[Call], Awaitable[Reply]]
"""A handler in its wrapper: it raises nothing."""
BODY_BYTES_MAX: Final = 64 * 1024
READ_ATTEMPTS_MAX: Final = 3
_ANOTHER_SHAPE: Final = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.InvalidCachedStatementError,
)

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
    ``tabulated`` says of a list or report which tables it can be had as. ``as_stored`` replies show
    what the log holds, byte for byte: personal texts in them stay sealed.
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
    tabulated: Tabulated | None = None
    as_stored: bool = False

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
        self._serves: list[tuple[Endpoint, str, Serve]] = []
        self.direct: dict[tuple[str, str], Serve] = {}

    def handlers(self) -> list["HTTPRouteHandler"]:
        """Return what Litestar routes requests to."""
        return [_route_handler(*serve) for serve in self._serves]

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
        table: Table | Literal["lists"] | None = "lists",
        as_stored: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare a route. Its description is the handler's docstring.

        ``path`` names its parameters as ``{name}``; one at the end may be ``{name:path}`` to
        take slashes too. What answers with a list can be had as CSV and XLSX too, and what has a
        ``table``; with None it cannot.
        """
        tabulated = self._tabulated(method, path, replies, parameters, table)

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
                parameters=(*parameters, *(() if tabulated is None else tabulated.own)),
                commits=commits,
                conditional=conditional,
                family=self.family,
                tabulated=tabulated,
                as_stored=as_stored,
            )
            self.endpoints.append(endpoint)
            serve = _serving(endpoint, handler)
            self._serves.append((endpoint, handler.__name__, serve))
            if "{" not in path:
                self.direct[method, path] = serve
            return handler

        return declare

    def _tabulated(
        self,
        method: str,
        path: str,
        replies: Mapping[int, Any],
        parameters: Sequence[Parameter],
        table: Table | Literal["lists"] | None,
    ) -> Tabulated | None:
        """Return the tables of a route. Foreign APIs have what their own documents say."""
        reply: Any = replies.get(200)
        if table == "lists":
            listed = method == "GET" and self.family is PROBLEMS and is_tabular(reply)
            table = Table() if listed else None
        if table is None:
            return None
        return Tabulated(path, table, shape_of(reply, table), tuple(parameters))


def _serving(endpoint: Endpoint, handler: Handler) -> Serve:
    path = endpoint.path
    rank = None if endpoint.role is None else ROLE_RANK[endpoint.role]
    scope_needed = endpoint.scope
    is_public = endpoint.is_public
    family = endpoint.family
    if not endpoint.as_stored:
        handler = _unsealing(handler)
    if endpoint.tabulated is not None:
        handler = _tabulating(endpoint.tabulated, handler, family)

    async def serve(call: Call) -> Reply:
        call.route = path
        call.family = family
        try:
            if not is_public:
                if call.house.superseded:
                    raise Superseded
                caller = call.caller
                if caller.kind == "key":
                    if scope_needed not in caller.scopes:
                        raise _key_forbidden(endpoint)
                elif rank is None or ROLE_RANK[caller.role] < rank:
                    raise _user_forbidden(endpoint)
            return await _answered(endpoint, handler, call)
        except _ANOTHER_SHAPE as fault:
            # Another release's tables may have been put in place a moment ago.
            is_theirs = await call.house.look_at_release()
            return reply_to(Superseded() if is_theirs else fault, family)
        except Exception as fault:
            return reply_to(fault, family)

    return serve


def _unsealing(handler: Handler) -> Handler:
    """Return a handler whose replies have personal texts opened; tables are made of these."""

    async def handle(call: Call) -> Reply:
        reply = await handler(call)
        return await unsealed(call, reply) if MARKER in reply.body else reply

    return handle


async def _answered(endpoint: Endpoint, handler: Handler, call: Call) -> Reply:
    """Return a handler's reply; a read that the database ended is done again.

    Tables that are swapped and tables that are read are locked in their own orders. Who swaps
    gives up first as a rule (`projections.swapping`), and there is always another rule.
    """
    for _ in range(READ_ATTEMPTS_MAX - 1):
        try:
            return await handler(call)
        except asyncpg.TransactionRollbackError:
            if endpoint.method != "GET":
                raise
    return await handler(call)


def _tabulating(route: Tabulated, handler: Handler, family: Family) -> Handler:
    """Return a handler that answers with a table where one is asked for."""

    def refused(fault: Exception) -> Reply:
        return reply_to(fault, family)

    async def handle(call: Call) -> Reply:
        if asks_for_table(call):
            return await answer_table(call, route, handler, refused)
        return await handler(call)

    return handle


def _route_handler(endpoint: Endpoint, name: str, serve: Serve) -> "HTTPRouteHandler":
    # Commands use what is declared here as well, and need no web framework for it.
    from litestar import Request
    from litestar.enums import HttpMethod
    from litestar.handlers import HTTPRouteHandler

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
    values = parse_query(call.scope["query_string"], parameters)
    if call.paging is not None:
        values.update(call.paging)
    return values


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
