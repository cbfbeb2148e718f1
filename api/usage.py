"""The usage log of API keys: gathered in a bounded queue, written in batches behind the requests.

It is a log of use, not of record: after a crash up to a second of it may be missing, and under
more load than the database takes the newest lines are dropped, and counted.
"""

import asyncio
import itertools
import os
import re
from collections import defaultdict, deque
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter

from ledger.ending import end
from ledger.session import CONNECTION_LOST
from ledger.store import Pool, joined, same_or_joined, tenant_transaction

QUEUE_MAX: Final = 50_000
BATCH_MAX: Final = 5_000
FLUSH_INTERVAL_S: Final = 1.0
_PATH_LENGTH_MAX: Final = 500
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# 2025-01-01T00:00Z in microseconds. A line's id counts eighths of a microsecond since then:
# processes seldom meet, and until the year 2060 it fits into a JSON number (2**53).
_ID_EPOCH_US: Final = 1_735_689_600_000_000
_IDS_PER_US: Final = 8

DROPPED = Counter(
    "stockledger_api_key_log_dropped", "Lines of the API keys' usage log that were not written"
)

log = structlog.get_logger("stockledger.api")

# A line was written when its id says. Columns go as `ledger.store` sends its own.
_INSERT = f"""
INSERT INTO access.api_key_log
    (tenant_id, log_id, key_id, method, path, status_code, response_time_ms, ip_address, created_at)
SELECT $1, u.log_id::bigint, coalesce(u.key_id, $3)::bigint, coalesce(u.method, $4),
       coalesce(u.path, $5), coalesce(u.status, $6)::smallint, coalesce(u.ms, $7)::integer,
       coalesce(u.address, $8),
       timestamptz 'epoch'
           + ({_ID_EPOCH_US} + u.log_id::bigint / {_IDS_PER_US}) * interval '1 microsecond'
FROM ROWS FROM (
    string_to_table($2, E'\\x1e'), string_to_table($3, E'\\x1e'), string_to_table($4, E'\\x1e'),
    string_to_table($5, E'\\x1e'), string_to_table($6, E'\\x1e'), string_to_table($7, E'\\x1e'),
    string_to_table($8, E'\\x1e')
) AS u (log_id, key_id, method, path, status, ms, address)
ON CONFLICT (tenant_id, log_id) DO NOTHING
"""

_LAST_USED = """
UPDATE access.api_key k SET last_used_at = u.used_at
FROM unnest($2::bigint[], $3::timestamptz[]) AS u (key_id, used_at)
WHERE k.tenant_id = $1 AND k.key_id = u.key_id
  AND (k.last_used_at IS NULL OR k.last_used_at < u.used_at)
"""


class Use(msgspec.Struct, frozen=True, gc=False):
    """One request made with a key; ``at`` is a POSIX time, ``elapsed`` in seconds."""

    tenant_id: int
    key_id: int
    method: str
    path: str
    status: int
    elapsed: float
    address: str
    at: float


class UsageLog:
    """Takes uses without waiting and writes them in the background."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._uses: deque[Use] = deque()
        self._task: asyncio.Task[None] | None = None
        self._offset = os.getpid() % _IDS_PER_US
        self._count = itertools.count()

    def add(self, use: Use) -> None:
        """Note a use; where too many wait already, drop and count it."""
        if len(self._uses) >= QUEUE_MAX:
            DROPPED.inc()
            return
        self._uses.append(use)

    async def start(self) -> None:
        """Begin writing in the background."""
        self._task = asyncio.create_task(self._run(), name="api-key-log")

    async def stop(self) -> None:
        """Write what waits, and end."""
        if self._task is not None:
            await end(self._task)
            self._task = None
        await self._flush_or_drop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            await self._flush_or_drop()

    async def _flush_or_drop(self) -> None:
        try:
            await self.flush()
        except (asyncpg.PostgresError, *CONNECTION_LOST) as fault:
            log.warning("api key log not written", fault=type(fault).__name__)

    async def flush(self) -> None:
        """Write what waits now, in batches; raises what the database raises."""
        while self._uses:
            batch = [self._uses.popleft() for _ in range(min(BATCH_MAX, len(self._uses)))]
            by_tenant: defaultdict[int, list[Use]] = defaultdict(list)
            for use in batch:
                by_tenant[use.tenant_id].append(use)
            for tenant_id, uses in by_tenant.items():
                try:
                    await self._write(tenant_id, uses)
                except BaseException:
                    DROPPED.inc(len(uses))
                    raise

    async def _write(self, tenant_id: int, uses: list[Use]) -> None:
        last_used = {use.key_id: use.at for use in uses}
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await connection.execute("SET LOCAL synchronous_commit = off")
            status = await connection.execute(
                _INSERT,
                tenant_id,
                joined([str(self._id(use)) for use in uses]),
                same_or_joined([str(use.key_id) for use in uses]),
                same_or_joined([use.method for use in uses]),
                same_or_joined([_plain(use.path) for use in uses]),
                same_or_joined([str(use.status) for use in uses]),
                same_or_joined([str(int(use.elapsed * 1000)) for use in uses]),
                same_or_joined([_plain(use.address) for use in uses]),
            )
            await connection.execute(
                _LAST_USED,
                tenant_id,
                list(last_used),
                [datetime.fromtimestamp(at, UTC) for at in last_used.values()],
            )
        DROPPED.inc(len(uses) - int(status.rsplit(" ", 1)[1]))

    def _id(self, use: Use) -> int:
        microseconds = int(use.at * 1_000_000) - _ID_EPOCH_US
        return microseconds * _IDS_PER_US + (self._offset + next(self._count)) % _IDS_PER_US


def _plain(text: str) -> str:
    """Return a client's text without what the table, or the way into it, does not take."""
    text = text[:_PATH_LENGTH_MAX]
    return text if text.isprintable() else _CONTROL.sub("", text)
