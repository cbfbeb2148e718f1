"""What the proofs share: ledgers on a real database, submissions, and ways to make them fail."""

import asyncio
import re
import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import asyncpg
import msgspec

from api.house import Submitter
from deploy.address import DatabaseAddress
from ledger.committer import Committer
from ledger.domain.decision import RecordedEvent
from ledger.ports import InlineProjections, Meta
from ledger.store import Connection, Pool, create_pool, tenant_transaction
from ledger.submission import Idempotency, Item, Outcome, Rendered, Reply, Submission
from projections.engine import Engine
from projections.verify import verify
from schemas.common import Command
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock, IssueStock, ReceiveStock

META = Meta(actor="system:proof", source="proof")
POISON = "poison"
"""A stock command with this reason makes ``PoisonedProjections`` fail."""


class Result(msgspec.Struct, frozen=True):
    """What became of one command, as these tests' responses show it."""

    refused: str | None = None
    positions: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    replay: str | None = None


class Answer(NamedTuple):
    """A reply taken apart."""

    status: int
    results: Sequence[Result]
    body: bytes
    position: int
    replayed: bool

    @property
    def refused(self) -> str | None:
        """The code of the first refusal."""
        return next((r.refused for r in self.results if r.refused is not None), None)


def _result(outcome: Outcome) -> Result:
    return Result(
        None if outcome.refusal is None else outcome.refusal.CODE,
        tuple(recorded.position for recorded in outcome.events),
        tuple(recorded.event.TYPE for recorded in outcome.events),
        None if outcome.replay is None else outcome.replay.decode(),
    )


def render(outcomes: Sequence[Outcome]) -> Rendered:
    """Render a response: 409 when any command was refused, else 200."""
    refused = any(outcome.refusal is not None for outcome in outcomes)
    return Rendered(409 if refused else 200, msgspec.json.encode([*map(_result, outcomes)]))


def render_item(outcome: Outcome) -> bytes:
    """Render what is kept under one item's own key."""
    return msgspec.json.encode(_result(outcome))


def answer(reply: Reply) -> Answer:
    """Take apart a reply that ``render`` made."""
    results = msgspec.json.decode(reply.body, type=list[Result])
    return Answer(reply.status, results, reply.body, reply.position, reply.replayed)


def request(command: Command | Sequence[Command], path: str = "/proof") -> bytes:
    """Return the request that a client would have sent, for an idempotency key to stand for."""
    return f"POST {path}\n".encode() + msgspec.json.encode(command)


def submission(
    tenant_id: int, *commands: Command, key: str | None = None, **more: Any
) -> Submission:
    """Make a submission of some commands, under an idempotency key where one is given."""
    held = None
    if key is not None:
        held = Idempotency(key, request(commands[0] if len(commands) == 1 else commands))
    options: dict[str, Any] = {"render": render, "meta": META, "idempotency": held, **more}
    return Submission(tenant_id=tenant_id, items=[Item(command) for command in commands], **options)


class Desk:
    """A tenant's commands through one committer, in one line each."""

    def __init__(self, committer: Submitter, tenant_id: int) -> None:
        self.committer = committer
        self.tenant_id = tenant_id

    async def do(self, *commands: Command, key: str | None = None, **more: Any) -> Answer:
        """Submit commands and return the answer, refusals included."""
        made = submission(self.tenant_id, *commands, key=key, **more)
        return answer(await self.committer.submit(made))

    async def shop(self, skus: Sequence[str] = ("A",), codes: Sequence[str] = ("MAIN",)) -> None:
        """Open locations and register products, numbered from 1 in the order given."""
        commands: list[Command] = [OpenLocation(name=code, code=code) for code in codes]
        commands += [
            RegisterProduct(name=sku, sku=sku, base_price=Decimal(1), scale=3) for sku in skus
        ]
        done = await self.do(*commands)
        assert done.refused is None, done


def receive(quantity: object, sku: str = "A", location: str = "MAIN", **more: Any) -> ReceiveStock:
    """Make a command that brings stock in."""
    return ReceiveStock(sku=sku, location=location, quantity=Decimal(str(quantity)), **more)


def issue(quantity: object, sku: str = "A", location: str = "MAIN", **more: Any) -> IssueStock:
    """Make a command that takes stock out."""
    return IssueStock(sku=sku, location=location, quantity=Decimal(str(quantity)), **more)


def adjust(quantity: object, sku: str = "A", location: str = "MAIN", **more: Any) -> AdjustStock:
    """Make a command that corrects stock by a signed quantity."""
    return AdjustStock(sku=sku, location=location, quantity=Decimal(str(quantity)), **more)


# --- the ledger on a database ---------------------------------------------------------------


class Ledger:
    """A migrated database of one's own: tenants, committers on it, and its tables' contents."""

    def __init__(self, address: DatabaseAddress) -> None:
        self.address = address
        self._kept: Pool | None = None

    async def new_tenant(self) -> int:
        """Make an empty tenant, old enough for any test's clock."""
        connection = await asyncpg.connect(**self.address.owner)
        try:
            name = f"t{uuid4().hex[:16]}"
            return await connection.fetchval(
                "SELECT ledger.create_tenant($1, $1, 'UTC', $2, $3)",
                name,
                uuid4(),
                datetime(2000, 1, 1, tzinfo=UTC),
            )
        finally:
            await connection.close()

    @asynccontextmanager
    async def committer(
        self,
        *,
        projections: InlineProjections | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        connect: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncGenerator[Committer]:
        """Run a committer with a pool of its own, as one API process would."""
        parameters = {**self.address.app, **(connect or {})}
        pool = await create_pool(parameters, size_min=1, size_max=4)
        committer = Committer(pool, projections or Engine(), clock, **options)
        try:
            yield committer
        finally:
            await committer.close()
            pool.terminate()

    @asynccontextmanager
    async def pool(self) -> AsyncGenerator[Pool]:
        """Open a pool as the application's role, or give the one that is kept."""
        if self._kept is not None:
            yield self._kept
            return
        pool = await create_pool(self.address.app, size_min=1, size_max=4)
        try:
            yield pool
        finally:
            pool.terminate()

    @asynccontextmanager
    async def kept_pool(self) -> AsyncGenerator[None]:
        """Keep one pool for all that is read in the block: most of a short read is connecting."""
        async with self.pool() as pool:
            self._kept = pool
            try:
                yield
            finally:
                self._kept = None

    async def rows(self, tenant_id: int, query: str, *parameters: Any) -> list[asyncpg.Record]:
        """Run a query as the application's role for a tenant."""
        async with self.pool() as pool, tenant_transaction(pool, tenant_id) as connection:
            return await connection.fetch(query, *parameters)

    async def value(self, tenant_id: int, query: str, *parameters: Any) -> Any:
        """Return the one value of a query, as the application's role for a tenant."""
        return (await self.rows(tenant_id, query, *parameters))[0][0]

    async def administer(self, statement: str) -> None:
        """Run a statement as the database's administrator."""
        connection = await asyncpg.connect(**self.address.administrator)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def unrestricted(
        self, tenant_id: int, product_id: int = 1, location_id: int = 1
    ) -> Decimal:
        """Return what the read model says is unrestricted of a product at a location."""
        return await self.value(
            tenant_id,
            "SELECT coalesce(sum(unrestricted), 0) FROM projections.stock_level"
            " WHERE product_id = $1 AND location_id = $2",
            product_id,
            location_id,
        )

    async def count(self, tenant_id: int, table: str) -> int:
        """Return how many rows of a table the tenant sees."""
        return await self.value(tenant_id, f"SELECT count(*) FROM {table}")

    async def verify(self, tenant_id: int) -> None:
        """Raise AssertionError unless `stockledger verify` finds everything as it should be."""
        owner = await asyncpg.connect(**self.address.owner)
        try:
            async with self.pool() as pool:
                verdict = await verify(pool, owner, Engine(), tenant_id)
        finally:
            await owner.close()
        assert verdict.ok, [check for check in verdict.checks if not check.ok]


# --- ways to fail ---------------------------------------------------------------------------


class PoisonedProjections(Engine):
    """The real read models, which fail on events whose reason is ``POISON``."""

    def __init__(self, error: Callable[[], Exception] = lambda: RuntimeError(POISON)) -> None:
        super().__init__()
        self._error = error

    async def apply(
        self, connection: Connection, tenant_id: int, events: Sequence[RecordedEvent]
    ) -> None:
        """Fold events, or fail."""
        await super().apply(connection, tenant_id, events)
        if any(getattr(recorded.event, "reason", None) == POISON for recorded in events):
            raise self._error()


class CountingConnection(asyncpg.Connection):  # type: ignore[type-arg]
    """Counts the events that are read from the log, over all connections."""

    events_read = 0

    async def fetch(self, *arguments: Any, **options: Any) -> Any:  # type: ignore[override]
        rows = await super().fetch(*arguments, **options)
        if rows and "leaf_hash" in rows[0]:
            CountingConnection.events_read += len(rows)
        return rows


Cut = Literal["before commit", "after commit"]
# A simple query that begins so: nothing else may follow, or the begin of the next transaction.
_COMMIT = re.compile(rb"Q[\x00-\xff]{4}COMMIT[\x00;]")


class CuttingProxy:
    """Stands between a pool and PostgreSQL, and cuts a connection at its next COMMIT.

    ``before commit`` swallows the COMMIT, so nothing is committed; ``after commit`` passes it
    on, waits for the server's answer and swallows that, so all is. The client cannot tell.
    """

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server
        self.folder = folder
        self.armed: Cut | None = None
        self.cuts = 0

    async def handle(self, near: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        """Carry one connection until an end closes it or it is cut."""
        far, far_out = await asyncio.open_unix_connection(str(self._server))

        async def back() -> None:
            while content := await far.read(65536):
                out.write(content)
                await out.drain()

        returning = asyncio.create_task(back())
        try:
            while content := await near.read(65536):
                if self.armed is not None and _COMMIT.search(content):
                    cut, self.armed = self.armed, None
                    self.cuts += 1
                    returning.cancel()
                    with suppress(asyncio.CancelledError):
                        await returning
                    if cut == "after commit":
                        far_out.write(content)
                        await far_out.drain()
                        await far.read(65536)
                    break
                far_out.write(content)
                await far_out.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            returning.cancel()
            out.close()
            far_out.close()

    @classmethod
    @asynccontextmanager
    async def running(cls, address: DatabaseAddress) -> AsyncGenerator["CuttingProxy"]:
        """Listen on a socket of its own; connect with ``host`` set to ``folder``."""
        port = address.app.get("port", 5432)
        with tempfile.TemporaryDirectory(prefix="cut-") as folder:
            name = f".s.PGSQL.{port}"
            proxy = cls(Path(address.app["host"]) / name, Path(folder))
            server = await asyncio.start_unix_server(proxy.handle, str(proxy.folder / name))
            try:
                yield proxy
            finally:
                server.close()
