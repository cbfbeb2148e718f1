"""Rows from ``COPY`` into Parquet: streaming, in columns, and beside what the process does.

PostgreSQL writes CSV, Arrow reads it and writes Parquet, both block by block in a thread of their
own that yields to the process's others; the event loop only hands the blocks on. What is held in
memory is bounded: two blocks, and one group of rows.
"""

import asyncio
import sys
import threading
from binascii import unhexlify
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, TypeVar

import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
from asyncpg.protocol import NO_TIMEOUT

from api.exports.columns import ArrowSchema, Column
from ledger.store import Connection
from ledger.yielding import EXPORT_NICENESS, yield_to_others

pa: Any = pyarrow
csv: Any = pyarrow.csv
compute: Any = pyarrow.compute
parquet: Any = pyarrow.parquet

ArrowTable = Any
Result = TypeVar("Result")

BLOCK_BYTES: Final = 4 * 1024 * 1024
BLOCKS_WAITING_MAX: Final = 2
GROUP_ROWS: Final = 100_000
GROUP_BYTES: Final = 32 * 1024 * 1024

_NO_TIMEOUT: Final[Any] = NO_TIMEOUT
# No text that is ours holds these, so that hardly any value needs quotes, least of all JSON.
_DELIMITER: Final = "\x02"
_QUOTE: Final = "\x01"

# Times as Arrow reads them, and one process for one export, on either side.
_SETTINGS: Final = """
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, YMD';
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL jit = off
"""


def _yield_to_others() -> None:
    """Have this thread, and on Linux it alone, yield to what else wants the processor."""
    if sys.platform == "linux":
        yield_to_others(threading.get_native_id(), EXPORT_NICENESS)


_threads: Final = ThreadPoolExecutor(2, "export", initializer=_yield_to_others)


async def aside(work: Callable[..., Result], *arguments: Any) -> Result:
    """Do something that takes time in a thread that yields to others; return its result.

    It is waited for also when the caller is cancelled: no thread goes on with what has been closed.
    """
    doing = asyncio.get_running_loop().run_in_executor(_threads, work, *arguments)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise


async def copied(
    connection: Connection, query: str, *, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Yield a query's rows as CSV in blocks of whole rows, no sooner than they are taken.

    To be closed (``aclosing``): the connection is lost when this ends early. Raises TimeoutError
    when they have not been read, and taken, within the time.
    """
    await connection.execute(_SETTINGS)
    blocks: asyncio.Queue[bytes] = asyncio.Queue(BLOCKS_WAITING_MAX)
    parts: list[bytes] = []
    size = 0

    async def take(chunk: bytes) -> None:
        # A chunk is of whole rows: PostgreSQL sends a message a row, asyncpg none in part.
        nonlocal size
        parts.append(chunk)
        size += len(chunk)
        if size >= BLOCK_BYTES:
            await hand_on()

    async def hand_on() -> None:
        nonlocal size
        block = b"".join(parts)
        parts.clear()
        size = 0
        await blocks.put(block)

    async def copy() -> None:
        await connection.copy_from_query(
            query,
            output=take,
            format="csv",
            delimiter=_DELIMITER,
            quote=_QUOTE,
            # One of its own would make a task of every chunk.
            timeout=_NO_TIMEOUT,
        )
        if parts:
            await hand_on()

    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    copying = asyncio.create_task(copy())
    try:
        while True:
            if not blocks.empty():
                yield blocks.get_nowait()
                continue
            getting = asyncio.ensure_future(blocks.get())
            await asyncio.wait(
                {getting, copying},
                timeout=max(0.0, deadline - loop.time()),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if getting.done():
                yield getting.result()
                continue
            getting.cancel()
            if not copying.done():
                raise TimeoutError(f"the rows were not read and taken within {timeout_s:.0f} s")
            # All that was handed on has been taken: it is done, or raises what went wrong.
            await copying
            return
    finally:
        if not copying.done():
            copying.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await copying
            # It is in the middle of rows that nobody wants.
            connection.terminate()


class BlockReader:
    """Reads blocks of copied rows; ``columns`` are those of the copied query, in its order."""

    def __init__(self, columns: Sequence[Column], schema: ArrowSchema) -> None:
        self.schema = schema
        self._columns = columns
        self._names = [column.name for column in columns]
        self._parse = csv.ParseOptions(
            delimiter=_DELIMITER, quote_char=_QUOTE, newlines_in_values=True
        )
        self._convert = csv.ConvertOptions(
            column_types={column.name: column.copied for column in columns},
            # As COPY has it: nothing is NULL, and "" is text without a character.
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            # PostgreSQL has seen to that; `deploy.database` to the encoding.
            check_utf8=False,
            true_values=["t"],
            false_values=["f"],
        )

    def read(self, block: bytes) -> ArrowTable:
        """Return the rows of a block; raise ValueError for one that a column cannot hold."""
        table = csv.read_csv(
            pa.BufferReader(block),
            # The whole block at once, in this thread.
            csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=self._names),
            self._parse,
            self._convert,
        )
        arrays = [
            _from_hex(array.combine_chunks(), column.type) if column.is_bytes else array
            for column, array in zip(self._columns, table.columns, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)


class ParquetWriter:
    """Writes rows to a file, or to anything that has ``write``. It takes time: see ``aside``."""

    def __init__(
        self, sink: Any, schema: ArrowSchema, *, few_values: Sequence[str] | None = None
    ) -> None:
        """``few_values`` names columns whose values recur often; None lets that be found out."""
        self._writer = parquet.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=True if few_values is None else list(few_values),
        )
        self._group: list[ArrowTable] = []
        self._group_rows = 0
        self.rows = 0

    def add(self, table: ArrowTable) -> None:
        """Take rows in."""
        self._group.append(table)
        self._group_rows += table.num_rows
        self.rows += table.num_rows
        if self._group_rows >= GROUP_ROWS or sum(t.nbytes for t in self._group) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and what makes it a file."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Leave it as it is, for nobody to read."""
        with suppress(Exception):
            self._writer.close()

    def _flush(self) -> None:
        if self._group:
            self._writer.write_table(pa.concat_tables(self._group), row_group_size=self._group_rows)
            self._group = []
            self._group_rows = 0


class CopyWriter:
    """Writes blocks of copied rows to one file."""

    def __init__(self, reader: BlockReader, writer: ParquetWriter) -> None:
        self._reader = reader
        self.writer = writer

    @property
    def rows(self) -> int:
        """How many rows have been taken in."""
        return self.writer.rows

    def write(self, block: bytes) -> None:
        """Take a block in."""
        self.writer.add(self._reader.read(block))


def _from_hex(texts: Any, wanted: Any) -> Any:
    """Return the bytes that an array of hexadecimal texts spells, all of them in one go."""
    _, offsets, digits = texts.buffers()
    count = len(texts)
    ends = pa.Array.from_buffers(pa.int32(), count + 1, [None, offsets], offset=texts.offset)
    first, last = ends[0].as_py(), ends[count].as_py()
    content = unhexlify(memoryview(digits)[first:last] if digits is not None else b"")
    if not texts.null_count and pa.types.is_fixed_size_binary(wanted):
        if len(content) != count * wanted.byte_width:
            raise ValueError(f"not all of the {count:,} values have {wanted.byte_width} bytes")
        # Without the functions of `compute`, which take a third of a second to be found at first.
        return pa.Array.from_buffers(wanted, count, [None, pa.py_buffer(content)])
    halves = compute.divide(compute.subtract(ends, first), 2).cast(pa.int32())
    is_valid = None
    if texts.null_count:
        is_valid = compute.is_valid(texts).buffers()[1]
    spelled = pa.Array.from_buffers(
        pa.binary(), count, [is_valid, halves.buffers()[1], pa.py_buffer(content)]
    )
    return spelled.cast(wanted)
