"""One answer to ``/metrics`` from several API processes: whichever is asked, asks the others.

They share a port, so a scrape reaches any one of them. Each also answers on a socket of its own
in a folder that only this service's user may enter; what they tell is added up.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

TELL_TIMEOUT_S: Final = 1.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
# What is no sum: the oldest process stands for all, and so does the one that may open the least.
_LEAST: Final = frozenset({"process_start_time_seconds", "process_max_fds"})
# What the database tells is the same for whoever asks it.
_SAME: Final = ("stockledger_projection_", "stockledger_relay_", "stockledger_webhook_")

log = structlog.get_logger("stockledger.api")


class MetricsTogether:
    """This process's figures, and those of the others whose sockets are in ``folder``.

    ``folder`` None stands for a process that is alone.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._own = None if folder is None else folder / f"{os.getpid()}.sock"

    @asynccontextmanager
    async def told(self) -> AsyncGenerator[None]:
        """Answer the others for as long as the block lasts."""
        if self._own is None:
            yield
            return
        server = await asyncio.start_unix_server(self._tell, self._own)
        try:
            yield
        finally:
            server.close()
            with suppress(FileNotFoundError):
                self._own.unlink()

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(generate_latest())
            await writer.drain()
            writer.close()

    async def text(self) -> bytes:
        """Return the figures of all processes, added up, in Prometheus's text format.

        One that does not answer in time, as when it is just ending, is left out.
        """
        own = generate_latest()
        if self._folder is None:
            return own
        sockets = [path for path in self._folder.glob("*.sock") if path != self._own]
        others = await asyncio.gather(*(self._ask(path) for path in sockets))
        return added_up([own, *(text for text in others if text)])

    async def _ask(self, path: Path) -> bytes:
        try:
            async with asyncio.timeout(TELL_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_BYTES_MAX)
                try:
                    return await reader.read(-1)
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            log.info("process_tells_no_metrics", path=path.name)
            return b""


def added_up(texts: Iterable[bytes]) -> bytes:
    """Return several processes' figures as one: counters, histograms and gauges are added."""
    families: dict[str, Metric] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, family)
            sums = samples.setdefault(family.name, {})
            for name, labels, value, *_ in family.samples:
                key = name, tuple(labels.items())
                sums[key] = _joined(name, sums.get(key), value)
    return generate_latest(_Told(families, samples))


def _joined(name: str, before: float | None, value: float) -> float:
    if before is None:
        return value
    if name.startswith(_SAME):
        # Our own comes first and has just been read; the others' may be of long ago.
        return before
    return min(before, value) if name in _LEAST else before + value


class _Told:
    """A registry, as far as writing its figures goes."""

    def __init__(
        self,
        families: dict[str, Metric],
        samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]],
    ) -> None:
        self._families = families
        self._samples = samples

    def collect(self) -> Iterable[Metric]:
        for name, family in self._families.items():
            told = Metric(name, family.documentation, family.type)
            for (sample, labels), value in self._samples[name].items():
                told.add_sample(sample, dict(labels), value)
            yield told
