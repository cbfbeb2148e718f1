"""Delivering: messages become deliveries, and these are sent, for as long as it runs.

Any number of processes may do it. Each tenant has a task that makes deliveries and holds lanes,
and each lane that is held has one that sends for its endpoint (`projections.webhook_lanes`).
"""

import asyncio
import contextlib
import random
import secrets
import time
from datetime import timedelta
from typing import Final

import structlog

from ledger.store import Pool
from projections.webhook_dispatch import Dispatched, dispatch, work_replay
from projections.webhook_lanes import DRAIN_S, Disable, EndpointSender, Plan, Post, Slots
from projections.webhook_queue import claim, renew
from projections.webhook_recording import FAULTS, RETRY_S, Recorder
from projections.webhook_sending import Sender

TENANTS_POLL_S: Final = 5.0
LEASE_S: Final = 15.0
LEASE_MARGIN_S: Final = 3.0
TICK_S: Final = 1.0
POLL_MIN_S: Final = 0.05
POLL_MAX_S: Final = 0.5
POLL_IDLE_S: Final = 3.0
POLL_FOLD_S: Final = 0.1
SELDOM_S: Final = 60.0

log = structlog.get_logger(__name__)


class Deliverer:
    """Delivers for every tenant, until cancelled. One a process."""

    def __init__(
        self,
        pool: Pool,
        sender: Sender,
        disable: Disable,
        plan: Plan | None = None,
        *,
        holder: str | None = None,
    ) -> None:
        """``holder`` is what lanes are held under, no two processes at a time the same."""
        self.pool = pool
        self.sender = sender
        self.disable = disable
        self.plan = plan or Plan()
        self.slots = Slots(self.plan.at_once_max)
        self.holder = holder or secrets.token_hex(8)

    async def run(self) -> None:
        """Deliver for the tenants that there are, and for those that come."""
        async with asyncio.TaskGroup() as tasks:
            known: set[int] = set()
            while True:
                try:
                    async with self.pool.acquire() as connection:
                        rows = await connection.fetch("SELECT ledger.tenant_ids()")
                except FAULTS as error:
                    log.warning("tenants_unreadable", error=str(error))
                    rows = []
                for tenant_id in {row[0] for row in rows} - known:
                    known.add(tenant_id)
                    tasks.create_task(_Tenant(self._post(tenant_id)).run())
                await asyncio.sleep(TENANTS_POLL_S)

    def _post(self, tenant_id: int) -> Post:
        recorder = Recorder(self.pool, tenant_id, self.holder, lanes := asyncio.Lock())
        return Post(
            self.pool,
            tenant_id,
            self.holder,
            self.sender,
            self.disable,
            self.plan,
            self.slots,
            recorder,
            lanes,
        )


class _Tenant:
    """What is done for one tenant."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._senders: dict[int, EndpointSender] = {}
        post.recorder.on_room = self._wake_all

    def _wake_all(self) -> None:
        for sender in self._senders.values():
            sender.wake()

    async def run(self) -> None:
        """Make deliveries and have them sent, until cancelled."""
        async with asyncio.TaskGroup() as recording:
            recorder = recording.create_task(self._post.recorder.run())
            try:
                await self._deliver()
            finally:
                # What was sent just now is written, so that it is not sent again.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_S):
                        await self._post.recorder.flushed()
                recorder.cancel()

    async def _deliver(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            poll_s = POLL_MIN_S
            ticked = 0.0
            while True:
                try:
                    standing = await self._dispatch()
                    if standing.deliveries or time.monotonic() - ticked >= TICK_S:
                        ticked = time.monotonic()
                        await self._hold_lanes(tasks, standing)
                except FAULTS as error:
                    log.warning("webhooks_retry", tenant_id=self._post.tenant_id, error=str(error))
                    await asyncio.sleep(RETRY_S)
                    continue
                if standing.is_behind:
                    continue
                waits_for_fold = standing.folded < standing.head
                longest_s = POLL_MAX_S if standing.has_endpoints or self._senders else POLL_IDLE_S
                poll_s = POLL_MIN_S if standing.deliveries else min(poll_s * 2, longest_s)
                await asyncio.sleep(min(poll_s, POLL_FOLD_S) if waits_for_fold else poll_s)

    async def _dispatch(self) -> Dispatched:
        async with self._post.transaction() as connection:
            standing = await dispatch(connection, self._post.tenant_id)
            if await work_replay(connection, self._post.tenant_id):
                return standing._replace(deliveries=standing.deliveries + 1, is_behind=True)
            return standing

    async def _hold_lanes(self, tasks: asyncio.TaskGroup, standing: Dispatched) -> None:
        """Renew lanes that are held, take those that are free; see that each is sent for."""
        if not (standing.has_endpoints or self._senders or standing.deliveries) and (
            # Nobody is told of anything; what waits for deleted endpoints is looked for seldom.
            random.random() > TICK_S / SELDOM_S  # noqa: S311 (spreads work, keeps no secret)
        ):
            return
        until = time.monotonic() + LEASE_S - LEASE_MARGIN_S
        lease = timedelta(seconds=LEASE_S)
        holder = self._post.holder
        async with self._post.lanes, self._post.transaction() as connection:
            held = await renew(connection, self._post.tenant_id, holder, lease)
            held += await claim(connection, self._post.tenant_id, holder, lease)
        for one in held:
            sender = self._senders.get(one.endpoint_id)
            if sender is None:
                sender = self._senders[one.endpoint_id] = EndpointSender(self._post, one, until)
                tasks.create_task(self._send(one.endpoint_id, sender))
            else:
                sender.renew(one, until)

    async def _send(self, endpoint_id: int, sender: EndpointSender) -> None:
        try:
            await sender.run()
        finally:
            # The lane is free before anybody here may take it again.
            del self._senders[endpoint_id]
