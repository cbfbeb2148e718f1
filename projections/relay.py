"""The relay: every event of every tenant's log to NATS JetStream, in order, each once.

The log is the truth and knows nothing of it. For each tenant the relay looks at what the stream
holds, goes on behind that, and moves its checkpoint when the server has acknowledged. Whatever
goes wrong (an answer that does not come, a connection that ends, an expectation that is not met),
it forgets what it believes and looks again: see `projections.relay_stream` for why that makes
neither a gap nor a duplicate. A stream that was wiped is filled again from position 1.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import asyncpg
import structlog
from nats.aio.msg import Msg

from ledger.feed import READ_LIMIT_MAX, Feed, RawEvent
from ledger.nats_connection import NATS_LOST, NatsConnection, Session, SessionLost
from ledger.store import Pool, tenant_transaction
from projections.relay_messages import LEAF, MESSAGE_ID, message_id, message_of, source_of
from projections.relay_stream import (
    BatchesRefused,
    MessageTooLarge,
    OutOfStep,
    Standing,
    TenantStream,
    require_stored,
)

BATCHES_IN_FLIGHT_MAX: Final = 3
ACK_TIMEOUT_S: Final = 10.0
# When there is no more to read: what gathers meanwhile costs a fraction of a batch for every
# commit. (An atomic batch costs the server as much as three hundred messages in it.)
GATHER_S: Final = 0.2
# How often the checkpoint is written while there is much to do, and while there is nothing, when
# the stream is looked at as well: it may have been wiped.
CHECKPOINT_S: Final = 0.5
BEAT_S: Final = 10.0
LEASE_S: Final = 30.0
STANDBY_S: Final = 5.0
TENANTS_POLL_S: Final = 5.0
TENANTS_TOLD_MAX: Final = 1_000
RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 10.0
# What is lost with a connection, to NATS or to the database, and will be there again.
_LOST: Final = (*NATS_LOST, asyncpg.PostgresError, asyncpg.InterfaceError)

log = structlog.get_logger(__name__)


class WrongStream(Exception):
    """The stream holds what this log does not; going on would be a lie to its consumers."""


class LeaseLost(Exception):
    """Another relay has this tenant."""


class RelayStanding(NamedTuple):
    """How the relay stands over all tenants.

    ``behind`` is in positions, of the tenant that it is furthest behind for; ``published`` and
    ``failures`` count for ever; ``stopped`` is the number of tenants that it cannot go on for.
    """

    behind: int
    published: int
    failures: int
    is_connected: bool
    stopped: int


async def relay_standing(pool: Pool) -> RelayStanding:
    """Return how the relay stands, as the database has it: it may run in any process.

    It looks at ``TENANTS_TOLD_MAX`` tenants, at two round trips each.
    """
    behind = published = failures = stopped = 0
    is_connected = False
    async with pool.acquire() as connection:
        tenants = await connection.fetch("SELECT ledger.tenant_ids() LIMIT $1", TENANTS_TOLD_MAX)
    for (tenant_id,) in tenants:
        async with tenant_transaction(pool, tenant_id) as connection:
            row = await connection.fetchrow(_STANDING, tenant_id)
        if row is not None:
            behind = max(behind, row["behind"])
            published += row["published"]
            failures += row["failures"]
            is_connected = is_connected or row["is_connected"]
            stopped += row["is_stopped"]
    return RelayStanding(behind, published, failures, is_connected, stopped)


_STANDING: Final = """
SELECT h.position - coalesce(c.position, 0) AS behind, coalesce(c.published, 0) AS published,
       coalesce(c.failures, 0) AS failures, c.stopped IS NOT NULL AS is_stopped,
       coalesce(c.is_connected AND c.held_until > clock_timestamp(), false) AS is_connected
FROM ledger.head h LEFT JOIN relay.checkpoint c ON c.tenant_id = h.tenant_id
WHERE h.tenant_id = $1
"""


async def run_relay(
    pool: Pool, feed: Feed, connection: NatsConnection, *, holder: str, replicas: int = 1
) -> None:
    """Relay every tenant's log, until cancelled.

    Several processes may run this. One at a time has a tenant, by a lease under the name
    ``holder`` (the installation's, so that a relay that is started again waits for nobody); if
    two should have it nevertheless, the stream takes each event from one of them. New streams
    get so many ``replicas``.
    """
    async with asyncio.TaskGroup() as tasks:
        known: set[int] = set()
        while True:
            try:
                async with pool.acquire() as database:
                    rows = await database.fetch("SELECT ledger.tenant_ids()")
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("tenants_unreadable", error=str(error))
                rows = []
            for tenant_id in {row[0] for row in rows} - known:
                known.add(tenant_id)
                relay = _TenantRelay(pool, feed, connection, tenant_id, holder, replicas)
                tasks.create_task(relay.run())
            await asyncio.sleep(TENANTS_POLL_S)


class _Sent(NamedTuple):
    """A batch under way: its last position, how many messages, and what will hold the answer."""

    last: int
    messages: int
    answer: "asyncio.Future[Msg]"


class _TenantRelay:
    """The relay of one tenant's log."""

    def __init__(
        self,
        pool: Pool,
        feed: Feed,
        connection: NatsConnection,
        tenant_id: int,
        holder: str,
        replicas: int,
    ) -> None:
        self._pool = pool
        self._feed = feed
        self._connection = connection
        self._tenant_id = tenant_id
        self._holder = holder
        self._replicas = replicas
        self._source = ""
        self._position = 0
        self._published = 0
        self._failures = 0
        self._stopped: str | None = None
        self._noted_at = 0.0
        self._retry_s = RETRY_MIN_S
        self._batches = True

    async def run(self) -> None:
        """Relay until cancelled, whatever happens."""
        while True:
            session = await self._connection.next_session()
            try:
                if await self._hold():
                    await self._relay(session)
                await asyncio.sleep(STANDBY_S)
            except LeaseLost:
                await asyncio.sleep(STANDBY_S)
            except BatchesRefused as refused:
                self._batches = False
                log.warning("relay_unbatched", tenant_id=self._tenant_id, reason=str(refused))
            except (WrongStream, MessageTooLarge) as fault:
                await self._stop(str(fault))
            except Exception as error:
                # A fault of ours is tried again as well: it must not end the other tenants'.
                await self._failed(error, session)

    async def _stop(self, reason: str) -> None:
        """Tell why this tenant's events cannot be relayed, and look again later."""
        if reason != self._stopped:
            log.error("relay_stopped", tenant_id=self._tenant_id, reason=reason)
        self._stopped = reason
        await self._try_to_note(is_connected=True)
        await asyncio.sleep(BEAT_S)

    async def _failed(self, error: Exception, session: Session) -> None:
        self._failures += 1
        # That a connection was lost is told once, not by every tenant.
        if not session.is_lost:
            log.warning(
                "relay_retries",
                tenant_id=self._tenant_id,
                position=self._position,
                error=f"{type(error).__name__}: {error}",
                seconds=self._retry_s,
                exc_info=not isinstance(error, (OutOfStep, *_LOST)),
            )
        await self._try_to_note(is_connected=not session.is_lost)
        await asyncio.sleep(self._retry_s)
        self._retry_s = min(self._retry_s * 2, RETRY_MAX_S)

    # --- one session --------------------------------------------------------------------

    async def _relay(self, session: Session) -> None:
        """Publish from where the stream is, for as long as all is as expected."""
        stream = TenantStream(session, self._tenant_id, replicas=self._replicas)
        standing = await stream.look()
        stream.takes_batches = stream.takes_batches and self._batches
        await self._require_ours(standing)
        if standing.last < self._position:
            log.warning(
                "relay_stream_behind",
                tenant_id=self._tenant_id,
                from_position=standing.last,
                position=self._position,
            )
        self._position, self._stopped = standing.last, None
        await self._note()
        batches = self._feed.follow(self._tenant_id, standing.last, batch=READ_LIMIT_MAX)
        lost = asyncio.create_task(session.lost.wait())
        coming: asyncio.Future[list[RawEvent]] | None = None
        under_way: deque[_Sent] = deque()
        heard_at = asyncio.get_running_loop().time()
        try:
            while not session.is_lost:
                if coming is None and len(under_way) < BATCHES_IN_FLIGHT_MAX:
                    coming = asyncio.ensure_future(anext(batches))
                waiting: set[asyncio.Future[Any]] = {lost}
                if coming is not None:
                    waiting.add(coming)
                if under_way:
                    waiting.add(under_way[0].answer)
                await asyncio.wait(
                    waiting,
                    timeout=CHECKPOINT_S if under_way or self._published else BEAT_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                now = asyncio.get_running_loop().time()
                if not under_way:
                    heard_at = now
                if coming is not None and coming.done():
                    events, coming = coming.result(), None
                    under_way.extend(await self._send(stream, events))
                    if len(events) < READ_LIMIT_MAX:
                        await asyncio.sleep(GATHER_S)
                while under_way and under_way[0].answer.done():
                    heard_at = now
                    self._count(under_way.popleft())
                if now - heard_at > ACK_TIMEOUT_S:
                    raise TimeoutError(f"nothing was acknowledged for {ACK_TIMEOUT_S:.0f} s")
                await self._keep_up(stream, now, is_idle=not under_way)
        finally:
            await self._let_go(lost, coming, under_way, batches)
        raise SessionLost

    async def _send(self, stream: TenantStream, events: list[RawEvent]) -> list[_Sent]:
        messages = [message_of(self._tenant_id, self._source, event) for event in events]
        # A server that reads nothing holds up who writes to it.
        async with asyncio.timeout(ACK_TIMEOUT_S):
            return [
                _Sent(part[-1].position, len(part), await stream.publish(part))
                for part in stream.in_batches(messages)
            ]

    def _count(self, sent: _Sent) -> None:
        """Take an answer in; raise OutOfStep or BatchesRefused where nothing was stored."""
        require_stored(sent.answer.result(), sent.last)
        self._position = sent.last
        self._published += sent.messages
        self._retry_s = RETRY_MIN_S

    async def _keep_up(self, stream: TenantStream, now: float, *, is_idle: bool) -> None:
        """Write the checkpoint when it is time; look at the stream when nothing else happens."""
        since_s = now - self._noted_at
        if since_s >= BEAT_S and is_idle:
            last = await stream.last_position()
            if last != self._position:
                raise OutOfStep(f"the stream is at {last} and was left at {self._position}")
        if since_s >= BEAT_S or (self._published and since_s >= CHECKPOINT_S):
            await self._note()

    @staticmethod
    async def _let_go(
        lost: "asyncio.Task[Any]",
        coming: "asyncio.Future[Any] | None",
        under_way: "deque[_Sent]",
        batches: AsyncGenerator[Any, None],
    ) -> None:
        """Forget what was under way: what became of it, the stream will say."""
        lost.cancel()
        for sent in under_way:
            sent.answer.cancel()
        if coming is not None:
            coming.cancel()
            await asyncio.wait({coming})
            if not coming.cancelled():
                coming.exception()
        await batches.aclose()

    async def _require_ours(self, standing: Standing) -> None:
        """Raise WrongStream unless the stream's last message is an event of this log."""
        async with tenant_transaction(self._pool, self._tenant_id) as connection:
            row = await connection.fetchrow(_OURS, self._tenant_id, standing.last)
        assert row is not None, "a tenant has a head"
        self._source = source_of(cast(UUID, row["inventory_system_id"]))
        if standing.last > row["head"]:
            fault = f"it is at {standing.last:,} and the log at {row['head']:,}"
        elif standing.headers is None:
            return
        elif standing.headers.get(MESSAGE_ID) != message_id(self._tenant_id, standing.last):
            fault = "its last message is not the relay's"
        elif standing.headers.get(LEAF) != row["leaf"]:
            fault = f"at position {standing.last:,} it has another event than the log"
        else:
            return
        raise WrongStream(
            f"the stream is not of this log: {fault}. Was the database restored, or did somebody "
            "else publish to it? Delete the stream: it is filled again from position 1"
        )

    # --- the checkpoint ------------------------------------------------------------------

    async def _hold(self) -> bool:
        """Take or renew the lease; return False when another relay has it."""
        async with tenant_transaction(self._pool, self._tenant_id) as connection:
            position = await connection.fetchval(_HOLD, self._tenant_id, self._holder, LEASE_S)
        if position is None:
            return False
        self._position = position
        return True

    async def _note(self, *, is_connected: bool = True) -> None:
        """Write the checkpoint and renew the lease; raise LeaseLost when another relay has it."""
        published, failures = self._published, self._failures
        async with tenant_transaction(self._pool, self._tenant_id) as connection:
            # What a crash takes back of it, the stream knows.
            await connection.execute("SET LOCAL synchronous_commit = off")
            noted = await connection.fetchval(
                _NOTE,
                self._tenant_id,
                self._holder,
                self._position,
                published,
                failures,
                is_connected,
                self._stopped,
                LEASE_S,
            )
        if noted is None:
            raise LeaseLost
        self._published -= published
        self._failures -= failures
        self._noted_at = asyncio.get_running_loop().time()

    async def _try_to_note(self, *, is_connected: bool) -> None:
        try:
            await self._note(is_connected=is_connected)
        except (LeaseLost, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            # Told with the next one; the database may be what has failed.
            return


_OURS: Final = """
SELECT h.position AS head, t.inventory_system_id, encode(e.leaf_hash, 'hex') AS leaf
FROM ledger.head h JOIN ledger.tenant t ON t.tenant_id = h.tenant_id
LEFT JOIN ledger.event e ON e.tenant_id = h.tenant_id AND e.position = $2
WHERE h.tenant_id = $1
"""
_HOLD: Final = """
INSERT INTO relay.checkpoint AS c (tenant_id, holder, held_until)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (tenant_id) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE c.holder = excluded.holder OR c.held_until < clock_timestamp()
RETURNING c.position
"""
_NOTE: Final = """
UPDATE relay.checkpoint
SET position = $3, published = published + $4, failures = failures + $5, is_connected = $6,
    stopped = $7, held_until = clock_timestamp() + make_interval(secs => $8)
WHERE tenant_id = $1 AND holder = $2
RETURNING position
"""
