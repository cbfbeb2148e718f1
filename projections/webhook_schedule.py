"""Which delivery of an endpoint goes out when: pure, without clock, network or database.

Deliveries of one item go out one after the other, in log order; one that fails holds back the
later ones of its item until it is delivered or parked, and nothing else. Times are POSIX
seconds, given by the caller.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

RETRY_DELAYS_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
"""As Standard Webhooks recommends: eight attempts over a good 27 hours."""
RETRY_SPAN_S: Final = sum(RETRY_DELAYS_S)
REFUSED_ATTEMPTS_MAX: Final = 4
"""Attempts at what the receiver understood and refused: another try will hardly change that."""
RETRY_AFTER_MAX_S: Final = 3_600.0
JITTER: Final = 0.1
ITEM_JOBS_MAX: Final = 32
"""Deliveries of one item that are held in memory; the rest are read when these are done."""
AHEAD_JOBS_MAX: Final = 2_000
"""Deliveries that are ready to go; with so many, no more are read."""
ITEMS_MAX: Final = 100_000
TRIPPED_AT: Final = 10
"""Failures in a row of the receiver itself, after which it is asked seldom, and one at a time."""
PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0

Verdict = Literal["delivered", "retry", "parked", "gone"]
# What a receiver says of itself, not of the message: worth as many attempts as there are.
_PASSING: Final = frozenset({408, 425, 429})
_GONE: Final = 410


class Rules(NamedTuple):
    """How often and how fast.

    ``at_once_max`` bounds the deliveries under way to an endpoint, ``item_jobs_max`` those of one
    item that are held in memory.
    """

    at_once_max: int = 64
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S
    refused_attempts_max: int = REFUSED_ATTEMPTS_MAX
    item_jobs_max: int = ITEM_JOBS_MAX


class Job(NamedTuple):
    """A delivery that waits. ``due_at`` is 0 for one that was never tried.

    ``content`` is carried along for whoever sends it.
    """

    position: int
    n: int
    item: str
    attempts: int = 0
    due_at: float = 0.0
    content: object = None

    @property
    def key(self) -> tuple[int, int]:
        """What deliveries of an endpoint are in order by."""
        return self.position, self.n


class Answer(NamedTuple):
    """What came of an attempt: the status, if there was an answer, and whether it is success."""

    ok: bool
    status: int | None = None
    retry_after_s: float | None = None


class Settled(NamedTuple):
    """What became of a delivery: ``attempts`` so far, and when it is due again."""

    verdict: Verdict
    attempts: int
    due_at: float | None = None


class _Item:
    __slots__ = ("busy", "last", "more", "queue")

    def __init__(self) -> None:
        self.queue: deque[Job] = deque()
        self.busy = False
        # Whether there are later ones that are not held here.
        self.more = False
        # The last one that is done with: whatever is read again must lie behind it.
        self.last: tuple[int, int] = (0, -1)


def _is_full(queue: deque[Job], jobs_max: int) -> bool:
    """Tell whether no more of an item should be held: none is taken in behind one that failed.

    An empty queue is that of an item of which more is to be read first.
    """
    return not queue or queue[0].attempts > 0 or len(queue) >= jobs_max


class Lane:
    """The deliveries of one endpoint.

    They are offered in log order. `take` gives one that may go out now; what came of it is told
    to `settle`. Items of which more is stored than was kept here are named by `refills`.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.in_flight = 0
        self.failing_since: float | None = None
        self.stopped = False
        self._limit = min(8, rules.at_once_max)
        self._failures = 0
        self._paused_until = 0.0
        self._items: dict[str, _Item] = {}
        self._ready: deque[str] = deque()
        self._held: list[tuple[float, str]] = []
        self._refills: dict[str, None] = {}

    # --- what is to be sent -----------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held here, under way or to be read again."""
        return not self._items

    @property
    def has_room(self) -> bool:
        """Whether more should be read and offered."""
        return len(self._ready) < AHEAD_JOBS_MAX and len(self._items) < ITEMS_MAX

    def offer(self, jobs: Iterable[Job], now: float) -> None:
        """Take in what waits, in log order, each once."""
        for job in jobs:
            item = self._items.get(job.item)
            if item is None:
                item = self._items[job.item] = _Item()
                self._append(item, job, now)
            elif item.more or _is_full(item.queue, self.rules.item_jobs_max):
                item.more = True
            else:
                self._append(item, job, now)

    def _append(self, item: _Item, job: Job, now: float) -> None:
        item.queue.append(job)
        if len(item.queue) == 1 and not item.busy:
            self._schedule(job, now)

    def _schedule(self, job: Job, now: float) -> None:
        if job.due_at <= now:
            self._ready.append(job.item)
        else:
            heapq.heappush(self._held, (job.due_at, job.item))

    def refills(self) -> Mapping[str, tuple[int, int]]:
        """Return the items of which more must be read, each with the key that it is behind."""
        return {name: self._items[name].last for name in self._refills}

    def refill(self, name: str, jobs: Sequence[Job], now: float, *, more: bool) -> None:
        """Take in what was read of an item; ``more`` says whether that was not all."""
        del self._refills[name]
        item = self._items[name]
        # What was offered meanwhile lies behind what was read, or is in it.
        item.more = more
        for job in jobs:
            self._append(item, job, now)
        if not item.queue:
            self._drop_or_refill(name, item)

    # --- sending ----------------------------------------------------------------------------

    def take(self, now: float) -> Job | None:
        """Return a delivery to send now, which is under way from here on; None for none."""
        if self.stopped or self.in_flight >= self._limit or now < self._paused_until:
            return None
        while self._held and self._held[0][0] <= now:
            self._ready.append(heapq.heappop(self._held)[1])
        if not self._ready:
            return None
        item = self._items[self._ready.popleft()]
        item.busy = True
        self.in_flight += 1
        return item.queue[0]

    def wake_at(self, now: float) -> float | None:
        """Return when `take` may have something without being told of anything; None for never."""
        if self.stopped or self.in_flight >= self._limit:
            return None
        due = now if self._ready else self._held[0][0] if self._held else None
        return None if due is None else max(due, self._paused_until)

    def settle(self, job: Job, answer: Answer, now: float, jitter: float) -> Settled:
        """Note what came of a delivery and return what becomes of it.

        ``jitter`` is a random number from 0 to 1.
        """
        self.in_flight -= 1
        item = self._items[job.item]
        item.busy = False
        attempts = job.attempts + 1
        if answer.ok:
            self._failures = 0
            self.failing_since = None
            self._paused_until = 0.0
            self._limit = min(self._limit + 1, self.rules.at_once_max)
            self._done(job, item, now)
            return Settled("delivered", attempts)
        if self.failing_since is None:
            self.failing_since = now
        if answer.status == _GONE:
            self.stopped = True
            return Settled("gone", attempts)
        self._back_off(answer, now, jitter)
        delay_s = self._delay(answer, attempts)
        if delay_s is None:
            self._done(job, item, now)
            return Settled("parked", attempts)
        due_at = now + delay_s * (1 - JITTER + 2 * JITTER * jitter)
        if answer.retry_after_s is not None:
            due_at = max(due_at, now + min(answer.retry_after_s, RETRY_AFTER_MAX_S))
        # Only the first of an item that waits is kept: there may be many such items.
        if len(item.queue) > 1:
            item.queue.clear()
            item.more = True
        else:
            item.queue.popleft()
        job = job._replace(attempts=attempts, due_at=due_at)
        item.queue.append(job)
        self._schedule(job, now)
        return Settled("retry", attempts, due_at)

    def _delay(self, answer: Answer, attempts: int) -> float | None:
        """Return how long to wait after so many attempts, None when there are no more."""
        delays = self.rules.retry_delays_s
        status = answer.status
        is_refused = status is not None and status < 500 and status not in _PASSING
        if is_refused and attempts >= self.rules.refused_attempts_max:
            return None
        return delays[attempts - 1] if attempts <= len(delays) else None

    def _back_off(self, answer: Answer, now: float, jitter: float) -> None:
        """Ask a receiver that fails less often; one that refuses a message is well."""
        status = answer.status
        if status is not None and status < 500 and status not in _PASSING:
            return
        if answer.retry_after_s is not None:
            until = now + min(answer.retry_after_s, RETRY_AFTER_MAX_S)
            self._paused_until = max(self._paused_until, until)
        self._failures += 1
        if self._failures < TRIPPED_AT:
            return
        self._limit = 1
        pause_s = min(PAUSE_MIN_S * 2.0 ** min(self._failures - TRIPPED_AT, 10), PAUSE_MAX_S)
        self._paused_until = max(self._paused_until, now + pause_s * (0.5 + jitter / 2))

    def _done(self, job: Job, item: _Item, now: float) -> None:
        """Go on to the next of an item."""
        item.queue.popleft()
        item.last = job.key
        if item.queue:
            self._schedule(item.queue[0], now)
        else:
            self._drop_or_refill(job.item, item)

    def _drop_or_refill(self, name: str, item: _Item) -> None:
        if item.more:
            self._refills[name] = None
        else:
            del self._items[name]
