"""The keys of personal data: made where a text is sealed, read where it is shown, destroyed.

They are rows beside the log (``access.subject_key``), and no process keeps one: each reply asks
for those it needs, so that nothing can be read any more from the moment of an erasure on.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from ledger.aliases import fold
from ledger.sealing import (
    KeyLost,
    Keys,
    MasterKeyRetired,
    MasterKeys,
    SubjectKey,
    about_subject,
    about_tenant,
    keyed_digest,
    new_key,
    new_subject,
    unwrap,
)
from ledger.store import Connection, Pool, tenant_transaction

_READ_KEYS: Final = """
SELECT subject, wrapped_key FROM access.subject_key WHERE tenant_id = $1 AND subject = ANY ($2)
"""

_ADD_KEYS: Final = """
INSERT INTO access.subject_key (tenant_id, subject, wrapped_key)
SELECT $1, k.subject, k.wrapped_key FROM unnest($2::text[], $3::bytea[]) AS k (subject, wrapped_key)
"""

_DESTROY_KEYS: Final = """
DELETE FROM access.subject_key WHERE tenant_id = $1 AND subject = ANY ($2)
"""

_READ_TENANT_KEY: Final = "SELECT wrapped_key FROM access.tenant_key WHERE tenant_id = $1"

_ADD_TENANT_KEY: Final = """
INSERT INTO access.tenant_key (tenant_id, wrapped_key) VALUES ($1, $2) ON CONFLICT DO NOTHING
"""

# What is there already stays; whoever is adding the same address at this moment is waited for.
_NAME_EMAILS: Final = """
INSERT INTO access.email_name (tenant_id, digest, name)
SELECT $1, e.digest, e.name FROM unnest($2::bytea[], $3::text[]) AS e (digest, name)
ORDER BY e.digest
ON CONFLICT (tenant_id, digest) DO NOTHING
"""

_READ_EMAILS: Final = """
SELECT digest, name FROM access.email_name WHERE tenant_id = $1 AND digest = ANY ($2)
"""


class PersonalData:
    """The keys of all tenants' personal data, for one process."""

    def __init__(self, pool: Pool, masters: MasterKeys) -> None:
        self.pool = pool
        self.masters = masters
        self._tenant_keys: dict[int, bytes] = {}

    async def keys(self, tenant_id: int, subjects: Iterable[str]) -> Keys:
        """Return the keys of subjects; what has been erased is not among them."""
        async with tenant_transaction(self.pool, tenant_id) as connection:
            return await self.keys_at(connection, tenant_id, subjects)

    async def keys_at(
        self, connection: Connection, tenant_id: int, subjects: Iterable[str]
    ) -> dict[str, SubjectKey | None]:
        """Return the keys of subjects, read in a transaction of the caller's."""
        rows = await connection.fetch(_READ_KEYS, tenant_id, list(subjects))
        found: dict[str, SubjectKey | None] = {}
        for row in rows:
            subject: str = row["subject"]
            try:
                key = unwrap(self.masters, row["wrapped_key"], about_subject(tenant_id, subject))
            except KeyLost:
                found[subject] = None
            else:
                found[subject] = SubjectKey(tenant_id, subject, key)
        return found

    async def new_keys(
        self, connection: Connection, tenant_id: int, count: int
    ) -> list[tuple[str, SubjectKey]]:
        """Make keys for new subjects, and keep them in the caller's transaction.

        Raise MasterKeyRetired when the master key that wraps them has been retired meanwhile.
        """
        master = self.masters.newest()
        made: list[tuple[str, SubjectKey]] = []
        wrapped: list[bytes] = []
        for _ in range(count):
            subject, key = new_subject(), new_key()
            made.append((subject, SubjectKey(tenant_id, subject, key)))
            wrapped.append(master.wrap(key, about_subject(tenant_id, subject)))
        await connection.execute(_ADD_KEYS, tenant_id, [subject for subject, _ in made], wrapped)
        if self.masters.find(master.id) is None:
            raise MasterKeyRetired
        return made

    async def tenant_key(self, tenant_id: int) -> bytes:
        """Return the tenant's own key, made now if there is none; raise KeyLost without a master.

        It is no subject's, so it is not erased, and a process may hold it.
        """
        held = self._tenant_keys.get(tenant_id)
        if held is not None:
            return held
        about = about_tenant(tenant_id)
        async with tenant_transaction(self.pool, tenant_id) as connection:
            wrapped = await connection.fetchval(_READ_TENANT_KEY, tenant_id)
            if wrapped is None:
                master = self.masters.newest()
                made = master.wrap(new_key(), about)
                await connection.execute(_ADD_TENANT_KEY, tenant_id, made)
                if self.masters.find(master.id) is None:
                    raise MasterKeyRetired
                wrapped = await connection.fetchval(_READ_TENANT_KEY, tenant_id)
        key = self._tenant_keys[tenant_id] = unwrap(self.masters, wrapped, about)
        return key

    # --- e-mail addresses ---------------------------------------------------------------

    async def name_emails(
        self, connection: Connection, tenant_id: int, tenant_key: bytes, emails: Sequence[str]
    ) -> dict[str, str]:
        """Return what stands for e-mail addresses where they must be unique; new ones are kept."""
        digests = {email: email_digest(tenant_key, email) for email in emails}
        names = [secrets.token_hex(16) for _ in digests]
        wanted = list(digests.values())
        await connection.execute(_NAME_EMAILS, tenant_id, wanted, names)
        rows = await connection.fetch(_READ_EMAILS, tenant_id, wanted)
        by_digest = {row["digest"]: row["name"] for row in rows}
        return {email: by_digest[digest] for email, digest in digests.items()}


def email_digest(tenant_key: bytes, email: str) -> bytes:
    """Return what an e-mail address is looked for by: equal for all its spellings."""
    return keyed_digest(tenant_key, b"email", fold(email).encode())


async def destroy(connection: Connection, tenant_id: int, subjects: Sequence[str]) -> None:
    """Delete the keys of subjects."""
    await connection.execute(_DESTROY_KEYS, tenant_id, list(subjects))
