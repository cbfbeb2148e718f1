"""A connection to NATS that is made again for ever, one session after the other.

The client's own reconnecting is off: it keeps what was to be sent and sends it later, gives up
after some attempts, and tells nobody which answers will never come. Here a session ends when its
connection does, whatever waits on it is told so, and the next session begins from what the
server holds.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from itertools import cycle
from typing import Any, Final

import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from ledger.ending import end

CONNECT_TIMEOUT_S: Final = 3
CLOSE_TIMEOUT_S: Final = 2
CLOSED_POLL_S: Final = 0.1
REQUEST_TIMEOUT_S: Final = 5
# A server that answers nothing for so long, twice, is taken for lost.
PING_INTERVAL_S: Final = 5
RETRY_MIN_S: Final = 0.1
RETRY_MAX_S: Final = 2.0

# What says that NATS, or the way there, is at fault, and not what we asked of it.
NATS_LOST: Final = (nats.errors.Error, OSError, TimeoutError)

log = structlog.get_logger(__name__)


class SessionLost(nats.errors.Error):
    """The connection to NATS has ended; what was not answered may have been done or not."""


class Session:
    """One connection, for as long as it lasts."""

    def __init__(self) -> None:
        # Any: the library is only partly typed.
        self.client: Any = Client()
        self.lost = asyncio.Event()
        self.error: Exception | None = None
        self._inbox = ""
        self._asked: dict[str, asyncio.Future[Msg]] = {}
        self._questions = 0

    async def open(self, server: str, **options: Any) -> None:
        """Connect; raise errors of nats-py and of the network."""
        await self.client.connect([server], **options)
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    async def ask(
        self, subject: str, body: bytes, headers: Mapping[str, str]
    ) -> "asyncio.Future[Msg]":
        """Send a request and return what will hold its answer, so that many may be under way.

        It waits for ever where none comes; cancel it then. (The library's ``publish_async`` does
        not do: of its answers, those that tell of an error are lost.)
        """
        self._questions += 1
        token = str(self._questions)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._asked[token] = answer
        answer.add_done_callback(lambda _: self._asked.pop(token, None))
        await self.client.publish(subject, body, reply=f"{self._inbox}.{token}", headers=headers)
        return answer

    async def _answered(self, message: Msg) -> None:
        answer = self._asked.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(message)

    async def end(self) -> None:
        """Return when the connection has ended, and say that it has.

        The library tells so by a call back, but not where it fails as it lets go of what it had
        still to send; that it takes itself for closed is seen in any case.
        """
        while not self.client.is_closed and not self.is_lost:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSED_POLL_S):
                    await self.lost.wait()
        self.lost.set()

    async def close(self) -> None:
        """End the connection, in a time that a server which answers nothing cannot draw out."""
        self.lost.set()
        reading: asyncio.Task[None] | None = getattr(self.client, "_reading_task", None)
        if reading is not None and reading.done() and not reading.cancelled():
            # It may have ended with the error that ended the connection, which nobody asks for.
            reading.exception()
        # What the library meets while it lets go of a broken connection is of no use to anybody.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.client.close()

    @property
    def is_lost(self) -> bool:
        """Whether the connection has ended."""
        return self.lost.is_set()

    @cached_property
    def jetstream(self) -> Any:
        """JetStream through this connection."""
        return self.client.jetstream(timeout=REQUEST_TIMEOUT_S)


class NatsConnection:
    """Keeps a session with one of some servers, in the order of their list, starting anywhere."""

    def __init__(self, servers: Sequence[str], name: str, *, echo: bool = True) -> None:
        """``name`` is what the server's own listings show; with ``echo`` off, what is published
        through this connection is not delivered to it."""
        self._servers = tuple(servers)
        self._name = name
        self._echo = echo
        self._session: Session | None = None
        self._arrived = asyncio.Event()

    @property
    def session(self) -> Session | None:
        """The session there is now, if there is one."""
        return self._session

    async def next_session(self) -> Session:
        """Return the session there is, waiting until there is one."""
        while (session := self._session) is None or session.is_lost:
            # Of one that has just been lost it may still tell; waiting would then not wait, and
            # nobody else, not even who sees to the next one, would get a turn.
            self._arrived.clear()
            await self._arrived.wait()
        return session

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Connect, and again whenever that is lost, for as long as the block lasts."""
        task = asyncio.create_task(self._keep_connecting(), name=f"NATS: {self._name}")
        try:
            yield
        finally:
            await end(task)

    async def _keep_connecting(self) -> None:
        retry_s = RETRY_MIN_S
        was_told = False
        for server in cycle(self._servers):
            session = Session()
            try:
                await self._connect(session, server)
            except Exception as error:
                # Not those of NATS alone: at the other end may be anything. And where we are told
                # to end as an attempt fails, the library's way of waiting tells only of that.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                if not was_told:
                    reason = session.error or error
                    log.warning("nats_unreachable", error=str(reason) or type(reason).__name__)
                    was_told = True
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_MAX_S)
                continue
            retry_s, was_told = RETRY_MIN_S, False
            log.info("nats_connected")
            self._session = session
            self._arrived.set()
            try:
                await session.end()
            finally:
                self._arrived.clear()
                self._session = None
                await session.close()
            log.warning("nats_lost")

    async def _connect(self, session: Session, server: str) -> None:
        async def on_error(error: Exception) -> None:
            session.error = error
            log.debug("nats_error", error=str(error))

        async def on_closed() -> None:
            session.lost.set()

        options: dict[str, Any] = {
            "name": self._name,
            "allow_reconnect": False,
            # Of the first connection: it would try sixty times, two seconds apart.
            "max_reconnect_attempts": 1,
            "reconnect_time_wait": 0,
            "no_echo": not self._echo,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "ping_interval": PING_INTERVAL_S,
            "error_cb": on_error,
            "closed_cb": on_closed,
            "disconnected_cb": on_closed,
        }
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await session.open(server, **options)
        except BaseException:
            await session.close()
            raise
