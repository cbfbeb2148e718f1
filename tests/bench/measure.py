"""Running the load generator, and measuring two things in turn so that noise hits both."""

import asyncio
import itertools
import os
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from tests.bench.load import Lane, LaneResult, LoadResult, LoadSpec

Progress = Callable[[str], None]
"""Told what is being done now, for the progress line."""

_runs = itertools.count(1)


class LoadFailed(Exception):
    """A server answered something other than a success; the figure would be wrong."""


class Durations(NamedTuple):
    """How long things are measured, and how often in turn."""

    seconds: float
    warmup_s: float
    rounds: int


QUICK = Durations(seconds=2.0, warmup_s=0.7, rounds=1)
FULL = Durations(seconds=6.0, warmup_s=2.0, rounds=5)


async def load(
    port: int,
    api_key: str,
    lanes: Sequence[Lane],
    *,
    durations: Durations | None = None,
    on_done: Callable[[int], None] = lambda done: None,
) -> dict[str, LaneResult]:
    """Run the load generator and return each lane's result.

    Without durations it runs until the lanes have sent all that they have. ``on_done`` is told
    the number of answers so far. Raises LoadFailed on any answer that is not a success.
    """
    spec = LoadSpec(
        port=port,
        api_key=api_key,
        run=f"{os.getpid():x}-{next(_runs):x}-{os.urandom(3).hex()}",
        lanes=list(lanes),
        seconds=None if durations is None else durations.seconds,
        warmup_s=0 if durations is None else durations.warmup_s,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(spec))
        process.stdin.close()
        line = b""
        async for line in process.stdout:
            if line.startswith(b'{"done"'):
                on_done(msgspec.json.decode(line)["done"])
        if await process.wait() != 0:
            raise LoadFailed("the load generator failed; its error is above")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    result = msgspec.json.decode(line, type=LoadResult)
    if result.error is not None:
        raise LoadFailed(result.error)
    return {lane.name: lane for lane in result.lanes}


async def in_turn(
    contestants: Mapping[str, Callable[[], Awaitable[float]]],
    rounds: int,
    progress: Progress,
) -> dict[str, float]:
    """Measure each contestant ``rounds`` times, A B C, C B A, A B C …, and return the medians.

    Going back and forth keeps a drift of the machine from favouring who comes first.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for number in range(rounds):
        for name in order if number % 2 == 0 else reversed(order):
            progress(f"{name}, round {number + 1} of {rounds}")
            found[name].append(await contestants[name]())
    return {name: statistics.median(values) for name, values in found.items()}
