"""A tenant's stream in JetStream, as the relay writes it: in order, without a gap or a duplicate.

The relay alone writes to the stream, one message for each event from position 1 on, so that a
message's sequence number is its event's position. Every publish says which number it expects to
come last before it (``Nats-Expected-Last-Sequence``): so the server itself refuses what would be
a gap, a duplicate or out of order, from whichever connection or relay, however late it arrives
and whatever the duplicate window has forgotten. What the stream holds is read from the stream.

Several messages go as one atomic batch, which is stored as a whole or not at all and synced to
the disk once (NATS 2.12 and newer; a sync for each message costs twenty times as much). A stream
that takes no batches gets them one by one, each with its own expectation.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from nats.aio.msg import Msg
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from ledger.nats_connection import Session
from projections.relay_messages import Message, stream_name, stream_subjects

# What the server takes in one atomic batch, unless it is configured to take less.
BATCH_MESSAGES_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 4 * 1024 * 1024
UNBATCHED_MESSAGES_MAX: Final = 100
EXPECTED_LAST: Final = "Nats-Expected-Last-Sequence"
# Room for what is added to a message's own headers.
_OVERHEAD_BYTES: Final = 1_024
# The server's error codes for batches that it does not take at all: none at this stream, none
# with such headers, none so large.
_BATCHES_REFUSED: Final = frozenset({10174, 10177, 10199})


class MessageTooLarge(Exception):
    """An event is larger than the server takes in one message."""


class BatchesRefused(Exception):
    """The server does not take this stream's batches, however often they are sent."""


class OutOfStep(Exception):
    """The stream is not where it was left: another relay writes to it, or it was wiped."""


class Standing(NamedTuple):
    """What a stream holds: its last position, and the headers of the message there.

    They are None where the message itself has gone, by the stream's limits or by hand.
    """

    last: int
    headers: Mapping[str, str] | None


class TenantStream:
    """One tenant's stream, through one session."""

    def __init__(self, session: Session, tenant_id: int, *, replicas: int) -> None:
        self._session = session
        self._name = stream_name(tenant_id)
        self._subjects = stream_subjects(tenant_id)
        self._replicas = replicas
        self.takes_batches = False

    async def look(self) -> Standing:
        """Return what the stream holds; make the stream where there is none.

        Raises errors of nats-py, of JetStream as well.
        """
        jetstream = self._session.jetstream
        try:
            info = await jetstream.stream_info(self._name)
        except NotFoundError:
            info = await jetstream.add_stream(self._config())
        self.takes_batches = bool(info.config.allow_atomic)
        last: int = info.state.last_seq
        if last == 0:
            return Standing(0, None)
        try:
            message = await jetstream.get_msg(self._name, seq=last)
        except NotFoundError:
            return Standing(last, None)
        return Standing(last, message.headers or {})

    async def last_position(self) -> int:
        """Return the last position the stream has; raises errors of nats-py."""
        info = await self._session.jetstream.stream_info(self._name)
        return info.state.last_seq

    async def publish(self, messages: Sequence[Message]) -> "asyncio.Future[Msg]":
        """Send messages that follow each other; return what will hold the server's answer.

        Only the last is answered: it is stored only if all those before it are. See
        ``require_stored``. Raises MessageTooLarge before anything is sent.
        """
        for message in messages:
            if message.size + _OVERHEAD_BYTES > self._session.client.max_payload:
                raise MessageTooLarge(
                    f"the event at position {message.position} takes {message.size:,} bytes and "
                    f"the NATS server at most {self._session.client.max_payload:,} in a message: "
                    "raise its max_payload"
                )
        is_batch = self.takes_batches and len(messages) > 1
        batch = secrets.token_hex(12)
        *before, last = messages
        for number, message in enumerate(before, 1):
            headers = dict(message.headers)
            if number == 1 or not is_batch:
                headers[EXPECTED_LAST] = str(message.position - 1)
            if is_batch:
                headers["Nats-Batch-Id"] = batch
                headers["Nats-Batch-Sequence"] = str(number)
            await self._session.client.publish(message.subject, message.body, headers=headers)
        headers = dict(last.headers)
        if is_batch:
            headers["Nats-Batch-Id"] = batch
            headers["Nats-Batch-Sequence"] = str(len(messages))
            headers["Nats-Batch-Commit"] = "1"
        else:
            headers[EXPECTED_LAST] = str(last.position - 1)
        return await self._session.ask(last.subject, last.body, headers)

    def in_batches(self, messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
        """Cut messages into parts that can be published as one."""
        longest = BATCH_MESSAGES_MAX if self.takes_batches else UNBATCHED_MESSAGES_MAX
        start = size = 0
        for index, message in enumerate(messages):
            if index > start and (
                index - start >= longest or size + message.size > BATCH_BYTES_MAX
            ):
                yield messages[start:index]
                start, size = index, 0
            size += message.size
        if start < len(messages):
            yield messages[start:]

    def _config(self) -> StreamConfig:
        """Return how a stream is made. What an operator changes of it later stays so."""
        return StreamConfig(
            name=self._name,
            description="The ledger's events, sequence number = position. Written by the relay.",
            subjects=[self._subjects],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            deny_delete=True,
            allow_direct=True,
            allow_atomic=True,
        )


class _Error(msgspec.Struct, frozen=True):
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    """JetStream's answer to a publish: where the message is stored, or why it is not."""

    seq: int = 0
    error: _Error | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


def require_stored(answer: Msg, position: int) -> None:
    """Return where an answer says that everything up to ``position`` is stored in its place.

    Raises BatchesRefused, and OutOfStep for every other answer.
    """
    if not answer.data:
        raise OutOfStep("there is no stream that takes the events in")
    decoded = _decode(answer.data)
    if decoded.error is not None:
        reason = f"{decoded.error.description} ({decoded.error.err_code})"
        raise (BatchesRefused if decoded.error.err_code in _BATCHES_REFUSED else OutOfStep)(reason)
    if decoded.seq != position:
        raise OutOfStep(f"position {position} was stored as {decoded.seq}")
