"""Sending for one endpoint, while this process holds its lane.

What goes out when is `projections.webhook_schedule`'s to say; here are the clock, the database
and the receiver.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final, NamedTuple, cast

import structlog

from ledger.errors import LedgerUnavailable, OutcomeUnknown, QueueFull
from ledger.store import Connection, Pool
from projections.webhook_dispatch import PARKED_DELETED, PARKED_DISABLED, park_waiting
from projections.webhook_queue import (
    PAGE_JOBS,
    Lease,
    Outcome,
    read_items,
    read_target,
    read_waiting,
    release,
)
from projections.webhook_recording import FAULTS, RETRY_S, Recorder, unhurried
from projections.webhook_schedule import ITEM_JOBS_MAX, Answer, Job, Lane, Rules
from projections.webhook_sending import Attempt, Content, Sender, Target
from schemas.webhook import DisableCause

LOOK_S: Final = 1.0
DRAIN_S: Final = 5.0
IDLE_S: Final = 5.0
AT_ONCE_GRANTED: Final = 4
"""Deliveries that an endpoint may have under way however many others are."""
REFILLS_MAX: Final = 200
_NOT_DISABLED: Final = (*FAULTS, LedgerUnavailable, OutcomeUnknown, QueueFull)

Disable = Callable[[int, int, DisableCause], Awaitable[None]]
"""Called with a tenant, an endpoint and why nothing more is to be sent to it."""

log = structlog.get_logger(__name__)


class Plan(NamedTuple):
    """How deliveries are made: ``at_once_max`` bounds those under way, to whatever endpoints.

    An endpoint to which nothing could be delivered for ``failing_s`` is disabled.
    """

    rules: Rules = Rules()
    at_once_max: int = 512
    failing_s: float = 5 * 86_400.0


class Slots:
    """The deliveries that may be under way in this process, beyond those that are granted."""

    def __init__(self, count: int) -> None:
        self._free = count

    def take(self) -> bool:
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    def give_back(self) -> None:
        self._free += 1


class Post(NamedTuple):
    """What all that send for a tenant share; ``lanes`` is for those who hold several of them."""

    pool: Pool
    tenant_id: int
    holder: str
    sender: Sender
    disable: Disable
    plan: Plan
    slots: Slots
    recorder: Recorder
    lanes: asyncio.Lock

    def transaction(self) -> contextlib.AbstractAsyncContextManager[Connection]:
        """Give a transaction of the tenant's."""
        return unhurried(self.pool, self.tenant_id)


class EndpointSender:
    """Sends for one endpoint while its lane is held."""

    def __init__(self, post: Post, lease: Lease, until: float) -> None:
        """``until`` is when the lane is given up unless it is renewed, of the monotonic clock."""
        self._post = post
        self._lease = lease
        self._until = until
        self._lane = self._new_lane()
        self._target: Target | None = None
        self._cursor = (0, -1)
        self._is_drained = False
        self._disabling: DisableCause | None = None
        self._awake = asyncio.Event()
        self._workers: set[asyncio.Task[None]] = set()
        self._used_at = time.monotonic()

    def _new_lane(self) -> Lane:
        lane = Lane(self._post.plan.rules)
        since = self._lease.failing_since
        lane.failing_since = None if since is None else since.timestamp()
        return lane

    def renew(self, lease: Lease, until: float) -> None:
        """Go on until a later time; the endpoint or its queue may have changed."""
        changed = (lease.generation, lease.version) != (
            self._lease.generation,
            self._lease.version,
        )
        self._lease = lease
        self._until = until
        if changed:
            self._target = None
        self._is_drained = False
        self.wake()

    def wake(self) -> None:
        """Look again for something to do."""
        self._awake.set()

    async def run(self) -> None:
        """Send what waits until there is nothing, or the lane is not to be sent for any more."""
        try:
            while await self._go_on():
                await self._sleep()
        finally:
            for worker in self._workers:
                worker.cancel()
            if self._workers:
                await asyncio.wait(self._workers)
            await self._release()

    async def _go_on(self) -> bool:
        """Do what there is to do now; return whether there may be more."""
        self._awake.clear()
        lease = self._lease
        if time.monotonic() >= self._until or (lease.enabled and not lease.verified):
            return False
        try:
            if not lease.enabled:
                return await self._park()
            if self._target is None:
                await self._begin_anew()
            if self._target is None:
                return True
            await self._fill()
        except FAULTS as error:
            log.warning(
                "webhooks_retry",
                tenant_id=self._post.tenant_id,
                endpoint_id=lease.endpoint_id,
                error=str(error),
            )
            await asyncio.sleep(RETRY_S)
            return True
        if self._disabling is not None:
            await self._disable()
        self._start_workers()
        if not self._lane.is_empty or self._workers or not self._is_drained:
            self._used_at = time.monotonic()
        return time.monotonic() - self._used_at < IDLE_S

    async def _sleep(self) -> None:
        """Wait until there may be something to do."""
        now = time.time()
        due = self._lane.wake_at(now)
        wait_s = LOOK_S if due is None else min(max(due - now, 0.001), LOOK_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._awake.wait()

    async def _begin_anew(self) -> None:
        """Read the endpoint and its queue from the start, once nothing is under way."""
        if self._workers:
            return
        await self._post.recorder.flushed()
        async with self._post.transaction() as connection:
            target = await read_target(connection, self._post.tenant_id, self._lease.endpoint_id)
        self._lane = self._new_lane()
        self._cursor = (0, -1)
        self._is_drained = False
        self._target = target

    async def _fill(self) -> None:
        """Read more of the queue where there is room for it."""
        lane, post = self._lane, self._post
        endpoint_id = self._lease.endpoint_id
        refills = lane.refills()
        if refills:
            some = {name: refills[name] for name in list(refills)[:REFILLS_MAX]}
            async with post.transaction() as connection:
                found = await read_items(
                    connection, post.tenant_id, endpoint_id, some, self._cursor
                )
            for name, jobs in found.items():
                more = len(jobs) > ITEM_JOBS_MAX
                lane.refill(name, jobs[:ITEM_JOBS_MAX], time.time(), more=more)
        if lane.has_room and not self._is_drained:
            async with post.transaction() as connection:
                jobs = await read_waiting(connection, post.tenant_id, endpoint_id, self._cursor)
            if jobs:
                self._cursor = jobs[-1].key
                lane.offer(jobs, time.time())
            self._is_drained = len(jobs) < PAGE_JOBS
        if lane.refills() or (lane.has_room and not self._is_drained):
            self.wake()

    # --- sending ----------------------------------------------------------------------------

    def _start_workers(self) -> None:
        while (taken := self._take()) is not None:
            worker = asyncio.create_task(self._work(*taken))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def _take(self) -> tuple[Job, bool] | None:
        """Return a delivery to send now, and whether it has a slot that is to be given back."""
        if (
            self._target is None
            or time.monotonic() >= self._until
            or not self._post.recorder.has_room
        ):
            return None
        slots = self._post.slots
        has_slot = self._lane.in_flight >= AT_ONCE_GRANTED
        if has_slot and not slots.take():
            return None
        job = self._lane.take(time.time())
        if job is None:
            if has_slot:
                slots.give_back()
            return None
        return job, has_slot

    async def _work(self, job: Job, has_slot: bool) -> None:
        """Send one delivery after the other for as long as there are some."""
        slots = self._post.slots
        while True:
            try:
                await self._send(job)
            finally:
                if has_slot:
                    slots.give_back()
            taken = self._take()
            if taken is None:
                break
            job, has_slot = taken
        self.wake()

    async def _send(self, job: Job) -> None:
        """Send a delivery and note what came of it."""
        target = self._target
        assert target is not None, "nothing is taken without a target"
        started_at = datetime.now(UTC)
        lane = self._lane
        if job.content is None:
            lane.settle(job, Answer(ok=True), time.time(), 0)
            attempt = Attempt(False, None, 0, None, "its message is not there any more")
            self._note(job, attempt, "parked", job.attempts, None, started_at)
            return
        try:
            attempt = await self._post.sender.send(target, cast(Content, job.content))
        except Exception as fault:
            # A message that cannot be sent is parked in the end; it must not stop all others.
            log.exception("webhook_not_sendable", tenant_id=target.tenant_id)
            attempt = Attempt(False, None, 0, None, f"not sendable: {type(fault).__name__}")
        now = time.time()
        settled = lane.settle(
            job,
            Answer(attempt.ok, attempt.status, attempt.retry_after_s),
            now,
            random.random(),  # noqa: S311 (to spread retries, not to keep a secret)
        )
        due_at = None if settled.due_at is None else datetime.fromtimestamp(settled.due_at, UTC)
        state = settled.verdict if settled.verdict in ("delivered", "parked") else "waiting"
        self._note(job, attempt, state, settled.attempts, due_at, started_at)
        if settled.verdict == "gone":
            self._disabling = "gone"
        elif (
            lane.failing_since is not None and now - lane.failing_since >= self._post.plan.failing_s
        ):
            lane.stopped = True
            self._disabling = "failing"

    def _note(
        self,
        job: Job,
        attempt: Attempt,
        state: str,
        attempts: int,
        due_at: datetime | None,
        started_at: datetime,
    ) -> None:
        self._post.recorder.add(
            Outcome(
                self._lease.endpoint_id,
                job.position,
                job.n,
                state,
                attempts,
                due_at,
                attempt.status,
                attempt.problem,
                started_at,
                attempt.latency_ms,
                attempt.answer,
            ),
            self._lane.failing_since,
        )

    # --- no longer --------------------------------------------------------------------------

    async def _disable(self) -> None:
        """Record that nothing more is to be sent; what waits is parked once that is known."""
        assert self._disabling is not None, "only where there is a cause"
        tenant_id, endpoint_id = self._post.tenant_id, self._lease.endpoint_id
        try:
            await self._post.disable(tenant_id, endpoint_id, self._disabling)
        except _NOT_DISABLED as error:
            log.warning(
                "webhook_not_disabled",
                tenant_id=tenant_id,
                endpoint_id=endpoint_id,
                error=str(error),
            )
            await asyncio.sleep(RETRY_S)
            return
        log.warning(
            "webhook_disabled",
            tenant_id=tenant_id,
            endpoint_id=endpoint_id,
            reason=self._disabling,
        )
        self._disabling = None

    async def _park(self) -> bool:
        """Park what waits for an endpoint that is sent nothing; return whether some is left."""
        if self._workers:
            return True
        await self._post.recorder.flushed()
        problem = PARKED_DELETED if self._lease.version is None else PARKED_DISABLED
        async with self._post.transaction() as connection:
            count = await park_waiting(
                connection, self._post.tenant_id, self._lease.endpoint_id, problem
            )
        if count:
            self.wake()
        return bool(count)

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._post.recorder.flushed()
            async with self._post.transaction() as connection:
                await release(
                    connection,
                    self._post.tenant_id,
                    self._lease.endpoint_id,
                    self._post.holder,
                )
        except FAULTS as error:
            # It is free when its time is over.
            log.warning("webhook_lane_kept", tenant_id=self._post.tenant_id, error=str(error))
