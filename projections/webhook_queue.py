"""The queue of deliveries in the database: who sends for which endpoint, what waits, what came.

An endpoint is sent to by one process at a time, which holds its lane for a while and renews
that. One that dies leaves its lanes to the others when the time is over; what it had under way
goes out again, under the same message ids.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from asyncpg import Record

from ledger.store import Pool, tenant_transaction
from projections.projection import SCHEMA, Connection
from projections.webhook_schedule import ITEM_JOBS_MAX, Job
from projections.webhook_secrets import keep_secret, new_secret
from projections.webhook_sending import Content, Target
from schemas.webhook import WebhookFormat

PAGE_JOBS: Final = 1_000
LANES_MAX: Final = 1_000
DEPTH_COUNTED_MAX: Final = 1_000_000
TENANTS_TOLD_MAX: Final = 1_000


class Lease(NamedTuple):
    """A lane that this process holds, and how its endpoint stands.

    ``version`` changes with whatever is said of the endpoint; None is one that is deleted.
    """

    endpoint_id: int
    generation: int
    version: int | None
    verified: bool
    enabled: bool
    failing_since: datetime | None


class Outcome(NamedTuple):
    """What came of an attempt, to be written."""

    endpoint_id: int
    position: int
    n: int
    state: str
    attempts: int
    due_at: datetime | None
    status: int | None
    problem: str | None
    started_at: datetime
    latency_ms: int
    answer: str | None


async def claim(
    connection: Connection, tenant_id: int, holder: str, lease: timedelta
) -> list[Lease]:
    """Take the lanes of endpoints for which something waits, and nobody sends."""
    rows = await connection.fetch(_CLAIM, tenant_id, holder, lease)
    return [Lease(*row) for row in rows]


async def renew(
    connection: Connection, tenant_id: int, holder: str, lease: timedelta
) -> list[Lease]:
    """Hold the lanes that are held for longer; return them."""
    rows = await connection.fetch(_RENEW, tenant_id, holder, lease)
    return [Lease(*row) for row in rows]


async def release(connection: Connection, tenant_id: int, endpoint_id: int, holder: str) -> None:
    """Let another process have a lane."""
    await connection.execute(_RELEASE, tenant_id, endpoint_id, holder)


async def read_target(connection: Connection, tenant_id: int, endpoint_id: int) -> Target | None:
    """Return where an endpoint is and how it is signed for; None when it is deleted."""
    row = await connection.fetchrow(_TARGET, tenant_id, endpoint_id)
    if row is None:
        return None
    secrets: Sequence[str] = row["secrets"] or ()
    if not secrets:
        # One that came to be without a secret gets it before the first message.
        secrets = (new_secret(),)
        now = datetime.now(UTC)
        await keep_secret(connection, tenant_id, endpoint_id, secrets[0], now)
    form: WebhookFormat = row["format"]
    return Target(
        tenant_id,
        endpoint_id,
        row["url"],
        form,
        secrets,
        row["receiver_id"],
        row["inventory_system_id"],
    )


async def read_waiting(
    connection: Connection, tenant_id: int, endpoint_id: int, after: tuple[int, int]
) -> list[Job]:
    """Return the next deliveries that wait, in log order."""
    rows = await connection.fetch(_WAITING, tenant_id, endpoint_id, *after, PAGE_JOBS)
    return [_job(row) for row in rows]


async def read_items(
    connection: Connection,
    tenant_id: int,
    endpoint_id: int,
    items: Mapping[str, tuple[int, int]],
    up_to: tuple[int, int],
) -> dict[str, list[Job]]:
    """Return what waits of items, each behind a key of its own; none behind ``up_to``.

    One more than `ITEM_JOBS_MAX` of an item says that these are not all.
    """
    positions, numbers = zip(*items.values(), strict=True)
    rows = await connection.fetch(
        _OF_ITEMS,
        tenant_id,
        endpoint_id,
        list(items),
        positions,
        numbers,
        *up_to,
        ITEM_JOBS_MAX + 1,
    )
    found: dict[str, list[Job]] = {name: [] for name in items}
    for row in rows:
        found[row["item"]].append(_job(row))
    return found


def _job(row: Record) -> Job:
    """Return a delivery that waits, with its content; None is one whose message is no more."""
    due_at: datetime | None = row["due_at"]
    content = None
    if row["data"] is not None:
        content = Content(
            row["position"], row["n"], row["topic"], row["occurred_at"], row["zone"], row["data"]
        )
    return Job(
        row["position"],
        row["n"],
        row["item"],
        row["attempts"],
        0.0 if due_at is None else due_at.timestamp(),
        content,
    )


async def record(
    connection: Connection,
    tenant_id: int,
    holder: str,
    outcomes: Sequence[Outcome],
    failing_since: Mapping[int, datetime | None],
) -> None:
    """Write what came of attempts; what is not delivered only where the lane is still held.

    ``failing_since`` says of each of the endpoints since when nothing has been delivered to it.
    """
    # Of a delivery that was tried twice since, the last attempt says how it stands.
    last = {(o.endpoint_id, o.position, o.n): o for o in outcomes}
    await connection.execute(
        _SETTLE,
        tenant_id,
        holder,
        *zip(
            *(
                (o.endpoint_id, o.position, o.n, o.state, o.attempts, o.due_at, o.status, o.problem)
                for o in last.values()
            ),
            strict=True,
        ),
    )
    await connection.execute(
        _LOG,
        tenant_id,
        *zip(
            *(
                (
                    o.endpoint_id,
                    o.position,
                    o.n,
                    o.started_at,
                    o.attempts,
                    o.latency_ms,
                    o.status,
                    o.answer,
                    o.problem,
                )
                for o in outcomes
            ),
            strict=True,
        ),
    )
    tallies: dict[int, list[int]] = {endpoint_id: [0, 0, 0] for endpoint_id in failing_since}
    for outcome in outcomes:
        tally = tallies[outcome.endpoint_id]
        if outcome.state == "delivered":
            tally[0] += 1
        else:
            tally[1] += 1
            tally[2] += outcome.state == "parked"
    await connection.execute(
        _TALLY,
        tenant_id,
        list(tallies),
        *zip(*tallies.values(), strict=True),
        list(failing_since.values()),
    )


async def prune(connection: Connection, tenant_id: int, before: datetime, limit: int) -> int:
    """Delete at most so many attempts, and deliveries that wait no more, older than a time."""
    attempts = await connection.execute(_PRUNE_ATTEMPTS, tenant_id, before, limit)
    deliveries = await connection.execute(_PRUNE_DELIVERIES, tenant_id, before, limit)
    await connection.execute(_PRUNE_SECRETS, tenant_id, before)
    return sum(int(status.rsplit(" ", 1)[1]) for status in (attempts, deliveries))


class Depth(NamedTuple):
    """How the deliveries of a tenant stand; ``waiting`` counts at most `DEPTH_COUNTED_MAX`."""

    delivered: int
    failed: int
    parked: int
    waiting: int
    oldest: datetime | None


async def depth(connection: Connection, tenant_id: int) -> Depth:
    """Return how many deliveries came to what end, and how long the first of the rest waits."""
    row = await connection.fetchrow(_DEPTH, tenant_id, DEPTH_COUNTED_MAX)
    assert row is not None, "an aggregate without GROUP BY always has a row"
    return Depth(*row)


async def webhook_depth(pool: Pool) -> Depth:
    """Return how the deliveries of all tenants stand together; of at most `TENANTS_TOLD_MAX`."""
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT ledger.tenant_ids() LIMIT $1", TENANTS_TOLD_MAX)
    found = Depth(0, 0, 0, 0, None)
    for (tenant_id,) in rows:
        async with tenant_transaction(pool, tenant_id) as connection:
            one = await depth(connection, tenant_id)
        oldest = min((at for at in (found.oldest, one.oldest) if at is not None), default=None)
        found = Depth(
            found.delivered + one.delivered,
            found.failed + one.failed,
            found.parked + one.parked,
            found.waiting + one.waiting,
            oldest,
        )
    return found


_LEASE: Final = """
l.endpoint_id, l.generation, e.position, coalesce(e.verified, false),
e.endpoint_id IS NOT NULL AND e.disabled_cause IS NULL, l.failing_since
"""

_CLAIM: Final = f"""
UPDATE webhook.lane l SET holder = $2, held_until = clock_timestamp() + $3
FROM (
    SELECT l.endpoint_id FROM webhook.lane l
    WHERE l.tenant_id = $1 AND (l.holder IS NULL OR l.held_until < clock_timestamp())
      AND EXISTS (
          SELECT FROM webhook.delivery d
          WHERE d.tenant_id = $1 AND d.endpoint_id = l.endpoint_id AND d.state = 'waiting'
      )
    LIMIT {LANES_MAX} FOR UPDATE SKIP LOCKED
) c
LEFT JOIN {SCHEMA}.webhook_endpoint e ON e.tenant_id = $1 AND e.endpoint_id = c.endpoint_id
WHERE l.tenant_id = $1 AND l.endpoint_id = c.endpoint_id
  AND (e.endpoint_id IS NULL OR e.verified OR e.disabled_cause IS NOT NULL)
RETURNING {_LEASE}
"""

_RENEW: Final = f"""
UPDATE webhook.lane l SET held_until = clock_timestamp() + $3
FROM webhook.lane c
LEFT JOIN {SCHEMA}.webhook_endpoint e ON e.tenant_id = $1 AND e.endpoint_id = c.endpoint_id
WHERE l.tenant_id = $1 AND l.holder = $2
  AND c.tenant_id = $1 AND c.endpoint_id = l.endpoint_id
RETURNING {_LEASE}
"""

_RELEASE: Final = """
UPDATE webhook.lane SET holder = NULL, held_until = NULL
WHERE tenant_id = $1 AND endpoint_id = $2 AND holder = $3
"""

# The tenant's own column is read by its name so that a tenant without one is no error.
_TARGET: Final = f"""
SELECT e.url, e.format, e.receiver_id,
       (SELECT to_jsonb(t)->>'inventory_system_id' FROM ledger.tenant t
        WHERE t.tenant_id = $1) AS inventory_system_id,
       (SELECT array_agg(s.secret ORDER BY s.number DESC) FROM webhook.secret s
        WHERE s.tenant_id = $1 AND s.endpoint_id = $2
          AND (s.signs_until IS NULL OR s.signs_until > clock_timestamp())) AS secrets
FROM {SCHEMA}.webhook_endpoint e WHERE e.tenant_id = $1 AND e.endpoint_id = $2
"""

_JOB: Final = """
d.position, d.n, d.topic, d.item, d.attempts, d.due_at, m.occurred_at, m.zone, m.data
"""

_WAITING: Final = f"""
SELECT {_JOB}
FROM (
    SELECT * FROM webhook.delivery
    WHERE tenant_id = $1 AND endpoint_id = $2 AND state = 'waiting' AND (position, n) > ($3, $4)
    ORDER BY position, n LIMIT $5
) d
LEFT JOIN {SCHEMA}.webhook_message m
  ON m.tenant_id = $1 AND m.position = d.position AND m.n = d.n
ORDER BY d.position, d.n
"""

_OF_ITEMS: Final = f"""
SELECT {_JOB}
FROM unnest($3::text[], $4::bigint[], $5::smallint[]) AS wanted (item, position, n)
CROSS JOIN LATERAL (
    SELECT * FROM webhook.delivery
    WHERE tenant_id = $1 AND endpoint_id = $2 AND state = 'waiting' AND item = wanted.item
      AND (position, n) > (wanted.position, wanted.n) AND (position, n) <= ($6, $7)
    ORDER BY position, n LIMIT $8
) d
LEFT JOIN {SCHEMA}.webhook_message m
  ON m.tenant_id = $1 AND m.position = d.position AND m.n = d.n
ORDER BY d.item, d.position, d.n
"""

_SETTLE: Final = """
UPDATE webhook.delivery d
SET state = r.state, attempts = r.attempts, due_at = r.due_at, status = r.status,
    problem = r.problem,
    finished_at = CASE r.state WHEN 'waiting' THEN NULL ELSE clock_timestamp() END
FROM unnest($3::bigint[], $4::bigint[], $5::smallint[], $6::text[], $7::smallint[],
            $8::timestamptz[], $9::smallint[], $10::text[])
    AS r (endpoint_id, position, n, state, attempts, due_at, status, problem)
JOIN webhook.lane l ON l.tenant_id = $1 AND l.endpoint_id = r.endpoint_id
WHERE d.tenant_id = $1 AND d.endpoint_id = r.endpoint_id AND d.position = r.position
  AND d.n = r.n AND d.state = 'waiting' AND (r.state = 'delivered' OR l.holder = $2)
"""

_LOG: Final = """
INSERT INTO webhook.attempt (tenant_id, endpoint_id, position, n, started_at, attempt,
                             latency_ms, status, answer, problem)
SELECT $1, r.* FROM unnest($2::bigint[], $3::bigint[], $4::smallint[], $5::timestamptz[],
                           $6::smallint[], $7::integer[], $8::smallint[], $9::text[],
                           $10::text[]) AS r
ON CONFLICT DO NOTHING
"""

_TALLY: Final = """
UPDATE webhook.lane l
SET delivered = l.delivered + r.delivered, failed = l.failed + r.failed,
    parked = l.parked + r.parked, failing_since = r.failing_since
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[])
    AS r (endpoint_id, delivered, failed, parked, failing_since)
WHERE l.tenant_id = $1 AND l.endpoint_id = r.endpoint_id
"""

_PRUNE_ATTEMPTS: Final = """
DELETE FROM webhook.attempt a USING (
    SELECT endpoint_id, position, n, started_at FROM webhook.attempt
    WHERE tenant_id = $1 AND started_at < $2 LIMIT $3
) old
WHERE a.tenant_id = $1 AND a.endpoint_id = old.endpoint_id AND a.position = old.position
  AND a.n = old.n AND a.started_at = old.started_at
"""

_PRUNE_DELIVERIES: Final = """
DELETE FROM webhook.delivery d USING (
    SELECT endpoint_id, position, n FROM webhook.delivery
    WHERE tenant_id = $1 AND state <> 'waiting' AND finished_at < $2 LIMIT $3
) old
WHERE d.tenant_id = $1 AND d.endpoint_id = old.endpoint_id AND d.position = old.position
  AND d.n = old.n AND d.state <> 'waiting'
"""

_PRUNE_SECRETS: Final = "DELETE FROM webhook.secret WHERE tenant_id = $1 AND signs_until < $2"

_DEPTH: Final = """
SELECT coalesce(sum(l.delivered), 0)::bigint, coalesce(sum(l.failed), 0)::bigint,
       coalesce(sum(l.parked), 0)::bigint,
       (SELECT count(*) FROM (
            SELECT FROM webhook.delivery WHERE tenant_id = $1 AND state = 'waiting' LIMIT $2
       ) w),
       min(f.created_at)
FROM webhook.lane l
LEFT JOIN LATERAL (
    SELECT created_at FROM webhook.delivery d
    WHERE d.tenant_id = $1 AND d.endpoint_id = l.endpoint_id AND d.state = 'waiting'
    ORDER BY d.position, d.n LIMIT 1
) f ON true
WHERE l.tenant_id = $1
"""
