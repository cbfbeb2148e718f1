"""A closed-loop HTTP/1.1 load generator, in a process of its own: ``python -m tests.bench.load``.

It reads one JSON object from its standard input and writes JSON lines to its standard output:
``{"done": n}`` twice a second, and at the end a result for each lane. A *lane* is a number of
keep-alive connections that send one kind of request, each the next one as soon as the answer
to the last has arrived. Any answer but a 2xx ends the run with that answer as the error: a
figure with refusals in it would measure something else.

It costs about 15 microseconds a request, which the server at the other end does not get when
both share two cores; so it is the same for everything that is compared.
"""

import asyncio
import sys
import time
from array import array
from typing import Any
from zlib import crc32

import msgspec
import uvloop

from tests.bench.traffic import NextRequest, Traffic


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """Connections that send one kind of request; see `Traffic` for kinds and their options."""

    name: str
    connections: int
    kind: str
    options: dict[str, Any]


class LoadSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to send where. Without ``seconds`` it ends when the lanes have nothing more to send."""

    port: int
    api_key: str
    run: str
    lanes: list[Lane]
    seconds: float | None = None
    warmup_s: float = 0.0


class LaneResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a lane got: answers, and how long each took, in milliseconds.

    Answers may come in bursts, one a commit, so ``per_second`` is over the whole measured time.
    """

    name: str
    answers: int
    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class LoadResult(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a run; ``error`` is the first answer that was not a success, or a fault."""

    lanes: list[LaneResult]
    error: str | None = None


class _Run:
    """What the connections of a run share."""

    def __init__(self) -> None:
        self.error: str | None = None
        self.done = 0
        self.busy = 0
        self.ended = asyncio.Event()

    def fail(self, reason: str) -> None:
        if self.error is None and not self.ended.is_set():
            self.error = reason
        self.ended.set()


class _Meter:
    """A lane's latencies in seconds."""

    def __init__(self) -> None:
        self.latencies = array("d")

    def result(self, name: str, seconds: float) -> LaneResult:
        ordered = sorted(self.latencies)
        count = len(ordered)
        if not count:
            return LaneResult(name=name, answers=count, per_second=0, p50_ms=0, p99_ms=0, max_ms=0)
        return LaneResult(
            name=name,
            answers=count,
            per_second=count / seconds,
            p50_ms=ordered[count // 2] * 1000,
            p99_ms=ordered[min(count - 1, int(count * 0.99))] * 1000,
            max_ms=ordered[-1] * 1000,
        )


class _Connection(asyncio.Protocol):
    """One keep-alive connection: sends, waits for the whole answer, sends again."""

    def __init__(self, run: _Run, meter: _Meter, next_request: NextRequest) -> None:
        self._run = run
        self._meter = meter
        self._next = next_request
        self._transport: Any = None
        self._pending = b""
        self._sent_at = 0.0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.busy += 1
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.ended.is_set():
            self._run.fail(f"the server closed a connection: {exc or 'at its own will'}")

    def _send(self) -> None:
        try:
            request = self._next()
        except Exception as fault:
            # In a callback of the event loop it would be logged, and the run go on for ever.
            self._run.fail(f"the next request could not be made: {fault!r}")
            return
        if request is None:
            self._run.busy -= 1
            if not self._run.busy:
                self._run.ended.set()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._pending:
            data = self._pending + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._pending = data
            return
        length_at = data.find(b"content-length: ", 0, end)
        if length_at >= 0:
            stop = data.find(b"\r", length_at)
            size = end + 4 + int(data[length_at + 16 : stop])
        elif data[9:12] == b"204":
            size = end + 4
        else:
            self._run.fail(f"an answer without a length: {data[:end].decode(errors='replace')}")
            return
        if len(data) < size:
            self._pending = data
            return
        self._pending = b""
        if data[9:10] != b"2":
            self._run.fail(data[:1000].decode(errors="replace"))
            return
        run = self._run
        if not run.ended.is_set():
            self._meter.latencies.append(time.perf_counter() - self._sent_at)
            run.done += 1
            self._send()


async def generate(spec: LoadSpec) -> LoadResult:
    """Send what the spec says and return what came of it."""
    loop = asyncio.get_running_loop()
    run = _Run()
    meters: list[tuple[str, _Meter]] = []
    transports: list[Any] = []
    for number, lane in enumerate(spec.lanes):
        run_name = f"{spec.run}-{number}"
        traffic = Traffic(api_key=spec.api_key, run=run_name, seed=crc32(run_name.encode()))
        meter = _Meter()
        meters.append((lane.name, meter))
        next_request = traffic.of(lane.kind, lane.options)
        for _ in range(lane.connections):
            transport, _ = await loop.create_connection(
                lambda m=meter, n=next_request: _Connection(run, m, n), "127.0.0.1", spec.port
            )
            transports.append(transport)
    telling = asyncio.create_task(_tell(run))
    began = time.perf_counter()
    if spec.seconds is None:
        await run.ended.wait()
    else:
        await _wait(run, spec.warmup_s)
        for _, meter in meters:
            del meter.latencies[:]
        began = time.perf_counter()
        await _wait(run, spec.seconds)
        run.ended.set()
    elapsed = time.perf_counter() - began
    telling.cancel()
    results = [meter.result(name, elapsed) for name, meter in meters]
    for transport in transports:
        transport.abort()
    return LoadResult(lanes=results, error=run.error)


async def _wait(run: _Run, seconds: float) -> None:
    try:
        await asyncio.wait_for(run.ended.wait(), seconds)
    except TimeoutError:
        return


async def _tell(run: _Run) -> None:
    while True:
        await asyncio.sleep(0.5)
        sys.stdout.write(f'{{"done":{run.done}}}\n')
        sys.stdout.flush()


def main() -> None:
    """Run as a program."""
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=LoadSpec)
    result = uvloop.run(generate(spec))
    sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")


if __name__ == "__main__":
    main()
