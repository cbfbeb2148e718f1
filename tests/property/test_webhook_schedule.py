"""Which delivery goes out when, against a small model: order per item, retries, parking, bounds."""

import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from projections import webhook_schedule
from projections.webhook_schedule import (
    ITEM_JOBS_MAX,
    JITTER,
    REFUSED_ATTEMPTS_MAX,
    RETRY_AFTER_MAX_S,
    RETRY_DELAYS_S,
    Answer,
    Job,
    Lane,
    Rules,
)

ITEMS = ["a", "b", "c", "d"]
RULES = Rules(at_once_max=3, item_jobs_max=3)
STATUSES: list[int | None] = [200, 204, 400, 404, 408, 429, 500, 503, None]


class Sending:
    """A lane fed from a queue as its sender feeds it, and a receiver that answers anything.

    The model is the queue: what waits, in order, and how often each was tried.
    """

    def __init__(self) -> None:
        self.lane = Lane(RULES)
        self.now = 1_000_000.0
        self.queue: dict[tuple[int, int], Job] = {}
        self.cursor = (0, -1)
        self.position = 0
        self.under_way: list[Job] = []
        self.done: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self.not_before: dict[tuple[int, int], float] = {}
        self.paused_until = 0.0

    def more_happens(self, items: list[str]) -> None:
        """Deliveries are made, in log order."""
        for item in items:
            self.position += 1
            self.queue[self.position, 0] = Job(self.position, 0, item)

    def read(self, count: int, items_too: bool) -> None:
        """The next of the queue are read, and perhaps more of the items that ran out."""
        self.read_on(count)
        if items_too:
            self.read_items()

    def read_on(self, count: int) -> None:
        if self.lane.has_room:
            jobs = [job for key, job in sorted(self.queue.items()) if key > self.cursor][:count]
            if jobs:
                self.cursor = jobs[-1].key
                self.lane.offer(jobs, self.now)

    def read_items(self) -> None:
        """No further than the cursor."""
        held = RULES.item_jobs_max
        for item, behind in dict(self.lane.refills()).items():
            jobs = [
                job
                for key, job in sorted(self.queue.items())
                if job.item == item and behind < key <= self.cursor
            ]
            self.lane.refill(item, jobs[:held], self.now, more=len(jobs) > held)

    def start(self) -> None:
        """As many go out as may."""
        while (job := self.lane.take(self.now)) is not None:
            first = min(key for key, waits in self.queue.items() if waits.item == job.item)
            assert job.key == first, "the first of its item goes first"
            assert all(other.item != job.item for other in self.under_way), "one at a time"
            assert self.now >= self.not_before.get(job.key, 0), "not before it is due"
            assert self.now >= self.paused_until, "not while the receiver asked for a pause"
            assert job.attempts == self.queue[job.key].attempts
            self.under_way.append(job)

    def answer(
        self, nth: int, status: int | None, retry_after: float | None, jitter: float
    ) -> None:
        job = self.under_way.pop(nth % len(self.under_way))
        ok = status in (200, 204)
        settled = self.lane.settle(job, Answer(ok, status, retry_after), self.now, jitter)
        attempts = job.attempts + 1
        assert settled.attempts == attempts
        refused = status in (400, 404)
        asked_s = 0 if retry_after is None else min(retry_after, RETRY_AFTER_MAX_S)
        if ok:
            self.paused_until = 0.0
        elif not refused and asked_s:
            self.paused_until = max(self.paused_until, self.now + asked_s)
        if ok:
            assert settled.verdict == "delivered"
        elif attempts > len(RETRY_DELAYS_S) or (refused and attempts >= REFUSED_ATTEMPTS_MAX):
            assert settled.verdict == "parked"
        else:
            assert settled.verdict == "retry"
            assert settled.due_at is not None
            delay_s = RETRY_DELAYS_S[attempts - 1]
            waits_s = settled.due_at - self.now
            assert waits_s >= max(delay_s * (1 - JITTER), asked_s) - 0.01
            assert waits_s <= max(delay_s * (1 + JITTER), asked_s) + 0.01
            self.queue[job.key] = self.queue[job.key]._replace(
                attempts=attempts, due_at=settled.due_at
            )
            self.not_before[job.key] = settled.due_at
            return
        del self.queue[job.key]
        self.done[job.item].append(job.key)

    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def begin_anew(self) -> None:
        """The process dies: what was under way is not known to have arrived."""
        self.lane = Lane(RULES)
        self.cursor = (0, -1)
        self.under_way.clear()
        self.paused_until = 0.0

    def check(self) -> None:
        assert self.lane.in_flight == len(self.under_way) <= RULES.at_once_max
        for keys in self.done.values():
            assert keys == sorted(keys)

    def finish(self) -> None:
        """Whatever has happened: with a receiver that is well, all of it arrives."""
        for _ in range(20_000):
            if not self.queue:
                break
            self.read_on(100)
            self.read_items()
            self.start()
            if self.under_way:
                self.answer(0, 200, None, 0.5)
            else:
                due = self.lane.wake_at(self.now)
                assert due is not None or self.cursor < max(self.queue) or self.lane.refills()
                self.now = max(self.now, due or 0)
        assert not self.queue, "nothing is left behind"


def step(sending: Sending, dice: random.Random) -> None:
    """Let one thing happen: mostly that more goes out and is answered."""
    draw = dice.random()
    if draw < 0.12:
        sending.more_happens(dice.choices(ITEMS, k=dice.randint(1, 12)))
    elif draw < 0.3:
        sending.read(dice.randint(1, 20), dice.random() < 0.6)
    elif draw < 0.5:
        sending.start()
    elif draw < 0.56:
        sending.time_passes(dice.choice([0.5, 10, 400, 40_000]))
    elif draw < 0.57:
        sending.begin_anew()
    elif sending.under_way:
        retry_after = dice.choice([None, None, None, 0.0, 2.0, 1e9])
        sending.answer(dice.randint(0, 2), dice.choice(STATUSES), retry_after, dice.random())
    else:
        due = sending.lane.wake_at(sending.now)
        sending.now = max(sending.now, due or 0)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_whatever_happens_each_is_sent_in_order_and_nothing_is_left_behind(seed: int):
    """Also when the process dies, and whatever a receiver answers."""
    dice, sending = random.Random(seed), Sending()
    for _ in range(400):
        step(sending, dice)
        sending.check()
    sending.finish()
    sending.check()


@given(seed=st.integers(0, 2**32))
@settings(max_examples=10)
def test_a_receiver_that_fails_half_the_time_gets_everything_in_order(seed: int):
    """Or it is parked after the last attempt; each item's in log order either way."""
    chance = random.Random(seed)
    lane, now = Lane(Rules(at_once_max=16)), 0.0
    jobs = [Job(n, 0, f"item-{n % 20}") for n in range(1, 301)]
    lane.offer(jobs, now)
    ended: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    attempts = 0
    while not lane.is_empty:
        for name, behind in dict(lane.refills()).items():
            more = [job for job in jobs if job.item == name and job.key > behind]
            lane.refill(name, more[:ITEM_JOBS_MAX], now, more=len(more) > ITEM_JOBS_MAX)
        job = lane.take(now)
        if job is None:
            due = lane.wake_at(now)
            assert due is not None
            now = max(now, due)
            continue
        attempts += 1
        ok = chance.random() < 0.5
        settled = lane.settle(job, Answer(ok, 200 if ok else 500), now, chance.random())
        if settled.verdict in ("delivered", "parked"):
            ended[job.item].append((*job.key, settled.verdict))
    keys = {item: [entry[:2] for entry in entries] for item, entries in ended.items()}
    assert keys == {item: [job.key for job in jobs if job.item == item] for item in ended}
    assert sum(map(len, keys.values())) == 300
    assert attempts > 300


def test_a_receiver_that_fails_is_asked_seldom_and_one_at_a_time():
    """Until it answers well: then more and more go out at once again."""
    lane = Lane(Rules(at_once_max=4))
    lane.offer([Job(n, 0, f"i{n}") for n in range(1, 40)], 0.0)
    now = 0.0
    for _ in range(webhook_schedule.TRIPPED_AT):
        job = lane.take(now)
        assert job is not None
        lane.settle(job, Answer(False, 503), now, 0.5)
    assert lane.take(now) is None
    due = lane.wake_at(now)
    assert due is not None
    assert now < due <= now + webhook_schedule.PAUSE_MIN_S
    probe = lane.take(due)
    assert probe is not None
    assert lane.take(due) is None, "one at a time"
    lane.settle(probe, Answer(True, 200), due, 0.5)
    assert [lane.take(due) is not None for _ in range(3)] == [True, True, False]


def test_what_is_refused_says_nothing_against_the_receiver():
    """A message that it does not like delays no other."""
    lane = Lane(Rules(at_once_max=4))
    lane.offer([Job(n, 0, f"i{n}") for n in range(1, 40)], 0.0)
    for _ in range(20):
        job = lane.take(0.0)
        assert job is not None
        lane.settle(job, Answer(False, 422), 0.0, 0.5)
    assert lane.take(0.0) is not None


def test_gone_stops_everything():
    """What is under way may still end; nothing more begins."""
    lane = Lane(Rules())
    lane.offer([Job(1, 0, "a"), Job(2, 0, "b"), Job(3, 0, "c")], 0.0)
    first, second = lane.take(0.0), lane.take(0.0)
    assert first is not None
    assert second is not None
    assert lane.settle(first, Answer(False, 410), 0.0, 0.5).verdict == "gone"
    assert lane.take(0.0) is None
    assert lane.wake_at(0.0) is None
    assert lane.settle(second, Answer(True, 200), 0.0, 0.5).verdict == "delivered"


def test_the_delays_span_a_good_day():
    """Eight attempts: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h apart."""
    assert len(RETRY_DELAYS_S) == 7
    assert 27 * 3600 < sum(RETRY_DELAYS_S) < 28 * 3600
