"""Where the time of a command goes: the pure steps one by one, and a commit phase by phase.

For tuning, not for the table: ``python -m tests.bench --only micro``. It runs the committer in
this process, without HTTP, on an embedded PostgreSQL of its own.
"""

import asyncio
import functools
import inspect
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
from asyncpg.pool import PoolConnectionProxy
from rich.console import Console
from rich.table import Table

from api.reply import encode
from deploy.settings import Settings
from deploy.wiring import House, open_ledger
from ledger import committer, draft, group, merkle, store
from ledger.domain import registry
from ledger.domain.decision import Facts, RecordedEvent, Refs, Refusal
from ledger.idempotency import keep
from ledger.mapper import decode_event, encode_event
from ledger.ports import Meta
from ledger.submission import Idempotency, Item, Outcome, Rendered, Submission
from projections.engine import Engine
from schemas.common import Command
from schemas.location import OpenLocation
from schemas.product import RegisterProduct
from schemas.stock import AdjustStock

BULK_COMMANDS = 1_000
CONCURRENT_SINGLES = 64
PRODUCTS = 20_000
COMMIT = "COMMIT"
"""How the statement begins; that which begins the next transaction may follow in it."""
_META = Meta(actor="key:1", source="api", actor_name="Bench", correlation_id="0123456789abcdef-1")


class Step(NamedTuple):
    """A pure step and what one call of it costs, in microseconds."""

    name: str
    microseconds: float


async def run(console: Console, rounds: int) -> None:
    """Measure and print; ``rounds`` groups of each kind are committed."""
    table = Table(title="Pure steps of one AdjustStock")
    table.add_column("step")
    table.add_column("µs", justify="right")
    for step in pure_steps():
        table.add_row(step.name, f"{step.microseconds:.2f}")
    console.print(table)
    with tempfile.TemporaryDirectory(prefix="stockledger-micro-") as folder:
        settings = Settings(data_dir=Path(folder), log_level="warning")
        async with open_ledger(settings) as house:
            tenant_id = await _new_tenant(house)
            await _stock(house, tenant_id)
            await _show_bulk(console, house, tenant_id, rounds)
            await _show_singles(console, house, tenant_id, rounds)


# --- pure steps -------------------------------------------------------------------------


def pure_steps() -> list[Step]:
    """Measure what a command costs in each step that touches neither network nor database."""
    body = b'{"product_id":7,"location_id":1,"quantity":5}'
    decode = msgspec.json.Decoder(AdjustStock).decode
    command = decode(body)
    now = datetime.now(UTC)
    refs = Refs(product_id=7, location_id=1)
    decider = registry.decider_for(AdjustStock)
    streams = list(decider.streams(command, refs))
    states = {stream: registry.initial(registry.category(stream)) for stream in streams}
    states.update(_registered(states, now))
    facts = Facts(now)
    decision = decider.decide(command, refs, states, facts)
    assert not isinstance(decision, Refusal), decision
    stream, event, _ = decision[0]
    recorded = RecordedEvent(1, stream, 1, event, now, now)
    evolve = registry.evolve(registry.category(stream))
    state = states[stream]
    data = encode_event(event)
    meta = msgspec.json.encode(_META)
    us = int(now.timestamp() * 1_000_000)
    idempotency = Idempotency("bench-000001", b"POST /api/inventory/adjust\n" + body)
    answer = {"message": "Inventory adjusted", "new_quantity": Decimal(250)}
    measured: dict[str, Callable[[], object]] = {
        "decode the body": lambda: decode(body),
        "name the streams": lambda: decider.streams(command, refs),
        "lookups": lambda: decider.lookups(command, refs, states, now),
        "decide": lambda: decider.decide(command, refs, states, facts),
        "evolve": lambda: evolve(state, recorded),
        "encode the event": lambda: encode_event(event),
        "decode the event": lambda: decode_event(event.TYPE, event.SCHEMA_VERSION, data),
        "encode meta": lambda: msgspec.json.encode(_META),
        "leaf hash": lambda: merkle.leaf_hash(
            1, 7, stream, 1, event.TYPE, event.SCHEMA_VERSION, data, meta, us, us
        ),
        "render": lambda: encode(answer),
        "keep the response": lambda: keep(idempotency, 200, b'{"message":"adjusted"}', 7),
    }
    return [Step(name, _microseconds(call)) for name, call in measured.items()]


def _registered(states: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Return the states of the product and the location that the command names, registered."""
    found: dict[str, Any] = {}
    for command, refs in (
        (RegisterProduct(name="A", sku="A", base_price=Decimal(1)), Refs(new_id=7)),
        (OpenLocation(name="L", code="L"), Refs(new_id=1)),
    ):
        decider = registry.decider_for(type(command))
        streams = decider.streams(command, refs)
        before = {stream: registry.initial(registry.category(stream)) for stream in streams}
        free = dict.fromkeys(decider.aliases(command))
        decision = decider.decide(command, refs, before, Facts(now, aliases=free))
        assert not isinstance(decision, Refusal), decision
        for stream, event, _ in decision:
            if stream in states:
                category = registry.category(stream)
                recorded = RecordedEvent(1, stream, 1, event, now, now)
                found[stream] = registry.evolve(category)(registry.initial(category), recorded)
    return found


def _microseconds(call: Callable[[], object]) -> float:
    """Return the least mean of several runs: what the call costs when nothing disturbs it."""
    count = 2_000
    means: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            call()
        means.append((time.perf_counter() - began) / count)
    return min(means) * 1e6


# --- the committer, in this process ----------------------------------------------------


class Phases:
    """Adds up the time spent in functions, which it wraps for as long as it measures."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def timing(self, *targets: tuple[str, Any, str]) -> Generator[None]:
        """Wrap ``(phase, owner, attribute)`` functions, and put them back."""
        before = [(owner, attribute, getattr(owner, attribute)) for _, owner, attribute in targets]
        for phase, owner, attribute in targets:
            setattr(owner, attribute, self._timed(phase, getattr(owner, attribute)))
        try:
            yield
        finally:
            for owner, attribute, function in before:
                setattr(owner, attribute, function)

    def _timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        self.seconds.setdefault(phase, 0.0)

        async def awaited(result: Awaitable[Any], began: float) -> Any:
            try:
                return await result
            finally:
                self.seconds[phase] += time.perf_counter() - began

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            if phase == COMMIT and not str(args[1]).startswith(COMMIT):
                return function(*args, **kwargs)
            began = time.perf_counter()
            result = function(*args, **kwargs)
            if inspect.isawaitable(result):
                return awaited(result, began)
            self.seconds[phase] += time.perf_counter() - began
            return result

        return called


async def _new_tenant(house: House) -> int:
    async with house.admin() as connection:
        return await connection.fetchval(  # type: ignore[return-value]
            "SELECT ledger.create_tenant($1, $1, 'UTC', $2, $3)",
            "bench",
            uuid4(),
            datetime.now(UTC),
        )


async def _stock(house: House, tenant_id: int) -> None:
    """Open a location, register the products and give each one stock."""
    opened = [OpenLocation(name="Bench", code="BENCH")]
    await house.committer.submit(_submission(tenant_id, opened))
    for start in range(0, PRODUCTS, BULK_COMMANDS):
        numbers = range(start + 1, start + BULK_COMMANDS + 1)
        products: list[Command] = [
            RegisterProduct(name=f"Product {n}", sku=f"BENCH-{n:07d}", base_price=Decimal("9.99"))
            for n in numbers
        ]
        await house.committer.submit(_submission(tenant_id, products))
        seeds = [_adjust(n, 1_000_000) for n in numbers]
        await house.committer.submit(_submission(tenant_id, seeds))
        if not start:
            await _analyse(house)
    await _analyse(house)


async def _analyse(house: House) -> None:
    """Give the database the statistics that autovacuum would soon have given it."""
    async with house.admin() as connection:
        await connection.execute("ANALYZE")


def _adjust(product_id: int, quantity: int) -> Command:
    return AdjustStock(product_id=product_id, location_id=1, quantity=Decimal(quantity))


_keys = iter(range(1, 10**9))


def _submission(tenant_id: int, commands: Sequence[Command]) -> Submission:
    """Return commands of one request with a key of its own."""
    key = f"bench-{next(_keys):08d}"

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        for outcome in outcomes:
            assert outcome.refusal is None, outcome.refusal
        results = [
            {"status": "accepted", "events": [{"position": e.position} for e in outcome.events]}
            for outcome in outcomes
        ]
        return Rendered(200, encode({"results": results}))

    return Submission(
        tenant_id=tenant_id,
        items=[Item(command) for command in commands],
        meta=_META,
        render=render,
        idempotency=Idempotency(key, b"POST /api/ledger/commands\n" + b"x" * 90 * len(commands)),
    )


async def _show_bulk(console: Console, house: House, tenant_id: int, rounds: int) -> None:
    def requests() -> list[Callable[[], Awaitable[Any]]]:
        return [
            functools.partial(house.committer.submit, _submission(tenant_id, _spread(r * 1009)))
            for r in range(rounds)
        ]

    await _run(requests(), 1)
    what = f"{BULK_COMMANDS:,} adjustments in one request, {PRODUCTS:,} SKUs"
    await _show(console, house, f"{what}, one request at a time", requests(), 1, BULK_COMMANDS)
    await _show(console, house, f"{what}, three requests at a time", requests(), 3, BULK_COMMANDS)


def _spread(start: int) -> list[Command]:
    return [_adjust((i * 7919 + start) % PRODUCTS + 1, i % 9 + 1) for i in range(BULK_COMMANDS)]


async def _show_singles(console: Console, house: House, tenant_id: int, rounds: int) -> None:
    def requests() -> list[Callable[[], Awaitable[Any]]]:
        return [
            functools.partial(
                house.committer.submit, _submission(tenant_id, [_adjust(i % 1000 + 1, 1)])
            )
            for i in range(rounds * 1000)
        ]

    await _run(requests(), CONCURRENT_SINGLES)
    title = f"Requests of one adjustment, {CONCURRENT_SINGLES} at a time"
    await _show(console, house, title, requests(), CONCURRENT_SINGLES, 1)
    await _show(console, house, "Requests of one adjustment, one at a time", requests()[:500], 1, 1)


async def _run(calls: Sequence[Callable[[], Awaitable[Any]]], at_once: int) -> None:
    """Make the calls, so many at a time."""
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            await call()

    await asyncio.gather(*(work() for _ in range(at_once)))


_PHASES = (
    ("begin", store, "begin"),
    ("decide: prefetch", group.Group, "_prefetch"),
    ("decide: lone commands, with rendering", group.Group, "decide_at_once"),
    ("decide: all else, with rendering", group.Group, "decide"),
    ("head after: Merkle tree", draft.Draft, "head_after"),
    ("append: events, keys, head", store, "append"),
    ("inline projections", Engine, "apply"),
    ("snapshots", store, "keep_snapshots"),
    ("working set", draft.Draft, "publish"),
    (COMMIT, PoolConnectionProxy, "execute"),
)


async def _show(
    console: Console,
    house: House,
    title: str,
    calls: Sequence[Callable[[], Awaitable[Any]]],
    at_once: int,
    each: int,
) -> None:
    """Print what each phase took; phases of groups that overlap add up to more than the whole."""
    phases = Phases()
    groups = 0

    def count(report: committer.GroupReport) -> None:
        nonlocal groups
        groups += 1

    house.group_observers.append(count)
    cpu = time.process_time()
    began = time.perf_counter()
    with phases.timing(*_PHASES):
        await _run(calls, at_once)
    elapsed = time.perf_counter() - began
    cpu = time.process_time() - cpu
    house.group_observers.remove(count)
    commands = each * len(calls)
    table = Table(title=f"{title}: {commands / elapsed:,.0f} commands/s")
    table.add_column("phase")
    table.add_column("ms a group", justify="right")
    table.add_column("µs a command", justify="right")
    rows = {
        **phases.seconds,
        "the whole": elapsed,
        "of that, this process's own CPU": cpu,
    }
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds / groups * 1000:.2f}", f"{seconds / commands * 1e6:.1f}")
    console.print(table)
    console.print(f"{commands / groups:,.0f} commands a group", highlight=False)
