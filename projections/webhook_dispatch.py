"""From messages to deliveries: a row for each endpoint that is told, made once.

A tenant's messages are gone through in log order, from the position that ``webhook.dispatched``
has. It is moved in the transaction that writes the deliveries, so none is lost or made twice,
whatever is killed. What is asked for again (`work_replay`) takes the same way.
"""

from datetime import datetime
from typing import Final, NamedTuple

from projections.projection import SCHEMA, Connection
from projections.webhook_facts import MIPOS
from projections.webhook_messages import WebhookMessages

BATCH_MESSAGES: Final = 5_000
PARK_BATCH: Final = 5_000
PARKED_DISABLED: Final = "the endpoint was disabled"
PARKED_DELETED: Final = "the endpoint was deleted"


class Dispatched(NamedTuple):
    """How far deliveries are: ``is_behind`` when more messages wait to become some.

    ``folded`` is how far the messages are, ``head`` how far the log is, and ``has_endpoints``
    whether there is anybody to tell.
    """

    deliveries: int
    is_behind: bool
    folded: int = 0
    head: int = 0
    has_endpoints: bool = False


async def dispatch(connection: Connection, tenant_id: int) -> Dispatched:
    """Make deliveries of the next messages, in the caller's transaction."""
    row = await connection.fetchrow(_STANDING, tenant_id, WebhookMessages.name)
    if row is None:
        return Dispatched(0, is_behind=False)
    folded, head, done, has_endpoints = row
    nothing = Dispatched(0, False, folded, head, has_endpoints)
    if done >= folded:
        return nothing
    # Whoever else dispatches for this tenant has gone on meanwhile, or is waited for here.
    last: int = await connection.fetchval(_NEXT, tenant_id, done, folded, BATCH_MESSAGES) or 0
    if not last:
        return nothing
    await connection.execute(_BEGIN, tenant_id)
    done = await connection.fetchval(_HOLD, tenant_id)
    if done >= last:
        return nothing._replace(is_behind=True)
    status = await connection.execute(_DISPATCH, tenant_id, done, last)
    await connection.execute(_LANES, tenant_id, done, last)
    await connection.execute(
        "UPDATE webhook.dispatched SET position = $2 WHERE tenant_id = $1", tenant_id, last
    )
    return nothing._replace(deliveries=int(status.rsplit(" ", 1)[1]), is_behind=True)


_STANDING: Final = f"""
SELECT c.position, h.position, coalesce(d.position, 0),
       EXISTS (SELECT FROM {SCHEMA}.webhook_endpoint e WHERE e.tenant_id = $1)
FROM ledger.head h
JOIN {SCHEMA}.checkpoint c ON c.tenant_id = h.tenant_id AND c.name = $2
LEFT JOIN webhook.dispatched d ON d.tenant_id = h.tenant_id
WHERE h.tenant_id = $1
"""

_NEXT: Final = f"""
SELECT max(position) FROM (
    SELECT position FROM {SCHEMA}.webhook_message
    WHERE tenant_id = $1 AND position > $2 AND position <= $3 ORDER BY position LIMIT $4
) m
"""

_BEGIN: Final = """
INSERT INTO webhook.dispatched (tenant_id, position) VALUES ($1, 0)
ON CONFLICT (tenant_id) DO NOTHING
"""

_HOLD: Final = "SELECT position FROM webhook.dispatched WHERE tenant_id = $1 FOR UPDATE"

# What came from miPOS is not sent back to it: the POS would book its own movement once more.
_TOLD: Final = f"""
FROM {SCHEMA}.webhook_message m
JOIN {SCHEMA}.webhook_subscription s
  ON s.tenant_id = m.tenant_id AND s.format = m.format AND m.topic = ANY (s.topics)
 AND s.state <> 'pending' AND m.position > s.from_position
 AND (s.to_position IS NULL OR m.position <= s.to_position)
WHERE m.tenant_id = $1 AND m.position > $2 AND m.position <= $3
  AND (m.format <> '{MIPOS}' OR NOT EXISTS (
      SELECT FROM ledger.event e
      WHERE e.tenant_id = $1 AND e.position = m.position AND e.meta->>'source' = '{MIPOS}'
  ))
"""

_DISPATCH: Final = f"""
INSERT INTO webhook.delivery (tenant_id, endpoint_id, position, n, topic, item, state, problem,
                              created_at, finished_at)
SELECT m.tenant_id, s.endpoint_id, m.position, m.n, m.topic, m.item,
       CASE s.state WHEN 'disabled' THEN 'parked' ELSE 'waiting' END,
       CASE s.state WHEN 'disabled' THEN '{PARKED_DISABLED}' END,
       clock_timestamp(), CASE s.state WHEN 'disabled' THEN clock_timestamp() END
{_TOLD}
ON CONFLICT (tenant_id, endpoint_id, position, n) DO NOTHING
"""

_LANES: Final = f"""
INSERT INTO webhook.lane (tenant_id, endpoint_id) SELECT DISTINCT $1::integer, s.endpoint_id {_TOLD}
ON CONFLICT (tenant_id, endpoint_id) DO NOTHING
"""


# --- again ----------------------------------------------------------------------------------


async def resend(
    connection: Connection, tenant_id: int, endpoint_id: int, position: int, n: int
) -> bool:
    """Let one message wait to be sent again; return whether there is such a delivery."""
    status = await connection.execute(_RESEND, tenant_id, endpoint_id, position, n)
    if status == "UPDATE 0":
        return False
    await connection.execute(_CHANGED, tenant_id, endpoint_id)
    return True


async def begin_replay(
    connection: Connection,
    tenant_id: int,
    endpoint_id: int,
    replay_id: int,
    from_position: int,
    to_position: int,
) -> None:
    """Note that messages are to be sent again; `work_replay` does it in the background."""
    await connection.execute(
        _BEGIN_REPLAY, tenant_id, replay_id, endpoint_id, from_position, to_position
    )


async def work_replay(connection: Connection, tenant_id: int) -> bool:
    """Let the next messages of the oldest replay wait again; return whether there was one.

    Messages from before the endpoint subscribed count too, as far as any were made then.
    """
    replay = await connection.fetchrow(_NEXT_REPLAY, tenant_id)
    if replay is None:
        return False
    replay_id, endpoint_id, done, to_position = replay
    last: int | None = await connection.fetchval(
        _NEXT, tenant_id, done, to_position, BATCH_MESSAGES
    )
    count = 0
    if last is not None:
        status = await connection.execute(_REPLAY, tenant_id, endpoint_id, done, last)
        count = int(status.rsplit(" ", 1)[1])
        await connection.execute(_CHANGED, tenant_id, endpoint_id)
    await connection.execute(
        _REPLAYED, tenant_id, replay_id, to_position if last is None else last, count
    )
    return True


_AGAIN: Final = """
state = 'waiting', attempts = 0, due_at = NULL, status = NULL, problem = NULL, finished_at = NULL
"""

_RESEND: Final = f"""
UPDATE webhook.delivery SET {_AGAIN}
WHERE tenant_id = $1 AND endpoint_id = $2 AND position = $3 AND n = $4
"""

# Whoever sends to the endpoint begins anew, from the first that waits.
_CHANGED: Final = """
INSERT INTO webhook.lane AS l (tenant_id, endpoint_id) VALUES ($1, $2)
ON CONFLICT (tenant_id, endpoint_id) DO UPDATE SET generation = l.generation + 1
"""

_BEGIN_REPLAY: Final = """
INSERT INTO webhook.replay (tenant_id, replay_id, endpoint_id, from_position, to_position,
                            done_position, created_at)
VALUES ($1, $2, $3, $4, $5, $4::bigint - 1, clock_timestamp())
"""

_NEXT_REPLAY: Final = """
SELECT replay_id, endpoint_id, done_position, to_position FROM webhook.replay
WHERE tenant_id = $1 AND finished_at IS NULL ORDER BY replay_id LIMIT 1
FOR UPDATE SKIP LOCKED
"""

_REPLAY: Final = f"""
INSERT INTO webhook.delivery AS d (tenant_id, endpoint_id, position, n, topic, item, state,
                                   created_at)
SELECT m.tenant_id, e.endpoint_id, m.position, m.n, m.topic, m.item, 'waiting', clock_timestamp()
FROM {SCHEMA}.webhook_message m
JOIN {SCHEMA}.webhook_endpoint e
  ON e.tenant_id = m.tenant_id AND e.endpoint_id = $2 AND e.format = m.format
 AND m.topic = ANY (e.topics)
WHERE m.tenant_id = $1 AND m.position > $3 AND m.position <= $4
ON CONFLICT (tenant_id, endpoint_id, position, n) DO UPDATE SET {_AGAIN}
"""

_REPLAYED: Final = """
UPDATE webhook.replay
SET done_position = $3, messages = messages + $4,
    finished_at = CASE WHEN $3 >= to_position THEN clock_timestamp() END
WHERE tenant_id = $1 AND replay_id = $2
"""


# --- no longer ------------------------------------------------------------------------------


async def park_waiting(
    connection: Connection, tenant_id: int, endpoint_id: int, problem: str
) -> int:
    """Park some of what waits for an endpoint that is sent nothing; return how many."""
    status = await connection.execute(_PARK, tenant_id, endpoint_id, problem, PARK_BATCH)
    return int(status.rsplit(" ", 1)[1])


_PARK: Final = """
WITH parked AS (
    UPDATE webhook.delivery d
    SET state = 'parked', problem = $3, finished_at = clock_timestamp()
    FROM (
        SELECT position, n FROM webhook.delivery
        WHERE tenant_id = $1 AND endpoint_id = $2 AND state = 'waiting'
        ORDER BY position, n LIMIT $4 FOR UPDATE SKIP LOCKED
    ) w
    WHERE d.tenant_id = $1 AND d.endpoint_id = $2 AND d.position = w.position AND d.n = w.n
    RETURNING 1
), counted AS (
    UPDATE webhook.lane SET parked = parked + (SELECT count(*) FROM parked)
    WHERE tenant_id = $1 AND endpoint_id = $2
)
SELECT FROM parked
"""


async def position_at(connection: Connection, tenant_id: int, at: datetime) -> int:
    """Return the first position that was recorded at a time or later; one behind the last if none.

    Positions are recorded in the order of time, so that halving finds it.
    """
    low = 1
    high: int = await connection.fetchval(_END, tenant_id) or 1
    for _ in range(64):
        if low >= high:
            break
        middle = (low + high) // 2
        recorded_at: datetime = await connection.fetchval(_RECORDED, tenant_id, middle)
        if recorded_at >= at:
            high = middle
        else:
            low = middle + 1
    return low


_END: Final = "SELECT position + 1 FROM ledger.head WHERE tenant_id = $1"
_RECORDED: Final = "SELECT recorded_at FROM ledger.event WHERE tenant_id = $1 AND position = $2"
