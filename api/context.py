"""Who calls, and with what: the call that travels with each request."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

import msgspec

from api.house import House
from api.problems import PROBLEMS, Problem, unauthenticated
from ledger.ports import Meta
from ledger.store import Credential
from schemas.access import Role
from schemas.access import Scope as KeyScope

if TYPE_CHECKING:
    from litestar.types import Receive, Scope

PrincipalKind = Literal["key", "user"]

# What a role may do, every role below it may not; and each may all that those below it may.
ROLE_RANK: Final[dict[Role, int]] = {"staff": 0, "manager": 1, "admin": 2, "owner": 3}


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request acts for, as its credential proved. ``expires_at`` is a POSIX time."""

    tenant_id: int
    kind: PrincipalKind
    id: int
    name: str
    role: Role
    scopes: tuple[KeyScope, ...]
    credential: Credential
    actor: str
    expires_at: float | None = None


class Pinned(Protocol):
    """One snapshot that all reads of a call share (`api.reads.Pin`)."""

    async def read(
        self,
        min_position: int | None,
        following: Sequence[str],
        isolation: Literal["read committed", "repeatable read"],
    ) -> Any: ...


class Call:
    """One request on its way through: its credentials' owner, its id, and what it is served by.

    ``paging`` stands in for query parameters, and ``pin`` for a snapshot of the call's own, where a
    page is read as a part of a table (`api.tabular_reply`).
    """

    paging: Mapping[str, Any] | None = None
    pin: Pinned | None = None

    __slots__ = (
        "family",
        "headers",
        "house",
        "path_params",
        "principal",
        "receive",
        "refused",
        "request_id",
        "route",
        "scope",
        "status",
    )

    def __init__(
        self,
        house: House,
        scope: "Scope",
        receive: "Receive",
        headers: dict[bytes, bytes],
        request_id: str,
    ) -> None:
        self.house = house
        self.scope = scope
        self.receive = receive
        self.headers = headers
        self.request_id = request_id
        self.principal: Principal | None = None
        self.refused: Problem | None = None
        self.route = ""
        self.family = PROBLEMS
        self.status = 0
        self.path_params: dict[str, Any] = {}

    @property
    def caller(self) -> Principal:
        """Whom the request acts for; raise Problem (401) where nobody has been proven."""
        if self.principal is None:
            raise self.refused or unauthenticated(
                "Send an API key as X-API-Key, or a token from POST /api/auth/login as "
                "Authorization: Bearer."
            )
        return self.principal

    @property
    def address(self) -> str:
        """The client's network address, as the server saw it."""
        client = cast(dict[str, Any], self.scope).get("client")
        return client[0] if client else ""

    def meta(self, idempotency_key: str | None = None) -> Meta:
        """Return what the log keeps of who asked."""
        caller = self.caller
        return Meta(
            actor=caller.actor,
            source=self.family.source,
            actor_name=caller.name,
            correlation_id=self.request_id,
            idempotency_key=idempotency_key,
        )


def call_of(scope: "Scope") -> Call:
    """Return the call that the gate made for a request."""
    return scope["stockledger.call"]  # type: ignore[typeddict-item]
