"""Changing the master key: every key of personal data is wrapped anew, and the old master goes.

What was left of deleted keys, in dead tuples, in the write-ahead log, in backups and replicas,
is wrapped by the old master key, and opens nothing once that is destroyed.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from deploy.master_keys import MasterKeyFiles, MasterKeySetting
from deploy.wiring import House
from ledger.sealing import KeyLost, MasterKey, about_subject, about_tenant, unwrap
from ledger.store import Connection, tenant_transaction

BATCH_ROWS: Final = 1_000
ROUNDS_MAX: Final = 10

_COUNT: Final = """
SELECT (SELECT count(*) FROM access.subject_key
        WHERE tenant_id = $1 AND substr(wrapped_key, 1, 8) = ANY ($2))
     + (SELECT count(*) FROM access.tenant_key
        WHERE tenant_id = $1 AND substr(wrapped_key, 1, 8) = ANY ($2))
"""

_SUBJECTS: Final = """
SELECT subject, wrapped_key FROM access.subject_key
WHERE tenant_id = $1 AND subject > $2 AND substr(wrapped_key, 1, 8) = ANY ($3)
ORDER BY subject LIMIT $4 FOR UPDATE
"""

_WRAPPED_ANEW: Final = """
UPDATE access.subject_key k SET wrapped_key = w.wrapped_key
FROM unnest($2::text[], $3::bytea[]) AS w (subject, wrapped_key)
WHERE k.tenant_id = $1 AND k.subject = w.subject
"""

_TENANT_KEY: Final = """
SELECT wrapped_key FROM access.tenant_key
WHERE tenant_id = $1 AND substr(wrapped_key, 1, 8) = ANY ($2) FOR UPDATE
"""

_TENANT_WRAPPED_ANEW: Final = "UPDATE access.tenant_key SET wrapped_key = $2 WHERE tenant_id = $1"

# Whoever adds a key waits until it is settled which master keys there are.
_HOLD: Final = "LOCK TABLE access.subject_key, access.tenant_key IN SHARE MODE"

_LOST_SUBJECTS: Final = """
DELETE FROM access.subject_key
WHERE tenant_id = $1 AND substr(wrapped_key, 1, 8) <> ALL ($2)
"""

_LOST_TENANT: Final = """
DELETE FROM access.tenant_key
WHERE tenant_id = $1 AND substr(wrapped_key, 1, 8) <> ALL ($2)
"""

# Digests are keyed with the tenant's key, so without that no address leads to one any more.
_LOST_EMAILS: Final = """
DELETE FROM access.email_name n
WHERE n.tenant_id = $1
  AND NOT EXISTS (SELECT FROM access.tenant_key k WHERE k.tenant_id = $1)
"""

Progress = Callable[[int, int | None], object]


class MasterKeyInUse(Exception):
    """Keys are still wrapped by the old master key, which is therefore kept; try again."""


class Rotation(NamedTuple):
    """How many keys were wrapped anew, and how many master keys were destroyed."""

    keys: int
    destroyed: int


async def rotate(
    house: House, masters: MasterKeyFiles | MasterKeySetting, progress: Progress
) -> Rotation:
    """Wrap every key with the newest master key, made now where they are in files.

    Those before it are destroyed where they are in files; what is left of a rotation that was cut
    off is done with it. The service may go on. ``progress`` is told the keys done, and of how
    many. Raise MasterKeyInUse when keys kept being wrapped by an old one.
    """
    if isinstance(masters, MasterKeyFiles):
        masters.newest()
        masters.make()
    newest, retired = masters.newest(), [master.id for master in masters.retired()]
    async with house.pool.acquire() as connection:
        tenants: list[int] = [
            row[0] for row in await connection.fetch("SELECT ledger.tenant_ids()")
        ]
    total = 0
    for tenant_id in tenants:
        async with tenant_transaction(house.pool, tenant_id) as connection:
            total += await connection.fetchval(_COUNT, tenant_id, retired) or 0
    done = 0
    progress(done, total)
    for _ in range(ROUNDS_MAX):
        for tenant_id in tenants:
            last = ""
            while last is not None:
                wrapped, last = await _wrap_anew(house, masters, newest, retired, tenant_id, last)
                done += wrapped
                progress(done, max(done, total))
        if isinstance(masters, MasterKeySetting):
            return Rotation(done, 0)
        destroyed = await _destroy(house, masters, retired, tenants)
        if destroyed is not None:
            return Rotation(done, destroyed)
    raise MasterKeyInUse("keys are still being wrapped by the old master key; try again")


async def discard_lost(house: House, masters: MasterKeyFiles | MasterKeySetting) -> int:
    """Delete the keys that no master key at hand opens; return how many subjects' keys it were.

    What they sealed is erased with that. Tenants get new keys of their own.
    """
    at_hand = [masters.newest().id, *(master.id for master in masters.retired())]
    discarded = 0
    async with house.admin() as connection, connection.transaction():
        for row in await connection.fetch("SELECT ledger.tenant_ids()"):
            tenant_id: int = row[0]
            await _as_tenant(connection, tenant_id)
            status = await connection.execute(_LOST_SUBJECTS, tenant_id, at_hand)
            discarded += int(status.rpartition(" ")[2])
            await connection.execute(_LOST_TENANT, tenant_id, at_hand)
            await connection.execute(_LOST_EMAILS, tenant_id)
    return discarded


async def _as_tenant(connection: Connection, tenant_id: int) -> None:
    await connection.execute("SELECT set_config('ledger.tenant', $1, true)", str(tenant_id))


async def _wrap_anew(
    house: House,
    masters: MasterKeyFiles | MasterKeySetting,
    newest: MasterKey,
    retired: list[bytes],
    tenant_id: int,
    after: str,
) -> tuple[int, str | None]:
    """Wrap a batch of a tenant's keys; return how many, and where to go on, None at the end."""
    async with tenant_transaction(house.pool, tenant_id) as connection:
        rows = await connection.fetch(_SUBJECTS, tenant_id, after, retired, BATCH_ROWS)
        subjects: list[str] = []
        wrapped: list[bytes] = []
        for row in rows:
            about = about_subject(tenant_id, row["subject"])
            try:
                key = unwrap(masters, row["wrapped_key"], about)
            except KeyLost:
                continue
            subjects.append(row["subject"])
            wrapped.append(newest.wrap(key, about))
        if subjects:
            await connection.execute(_WRAPPED_ANEW, tenant_id, subjects, wrapped)
        if len(rows) == BATCH_ROWS:
            return len(subjects), rows[-1]["subject"]
        return len(subjects) + await _tenant_key(
            connection, masters, newest, retired, tenant_id
        ), None


async def _tenant_key(
    connection: Connection,
    masters: MasterKeyFiles | MasterKeySetting,
    newest: MasterKey,
    retired: list[bytes],
    tenant_id: int,
) -> int:
    wrapped = await connection.fetchval(_TENANT_KEY, tenant_id, retired)
    if wrapped is None:
        return 0
    about = about_tenant(tenant_id)
    key = unwrap(masters, wrapped, about)
    await connection.execute(_TENANT_WRAPPED_ANEW, tenant_id, newest.wrap(key, about))
    return 1


async def _destroy(
    house: House, masters: MasterKeyFiles, retired: list[bytes], tenants: list[int]
) -> int | None:
    """Destroy the old master keys, unless a key is still wrapped by one: then return None."""
    async with house.admin() as connection, connection.transaction():
        await connection.execute(_HOLD)
        for tenant_id in tenants:
            await _as_tenant(connection, tenant_id)
            if await connection.fetchval(_COUNT, tenant_id, retired):
                return None
        return masters.destroy(retired)
