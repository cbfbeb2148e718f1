"""Searching customers by what is said of them, which the database holds sealed.

A database cannot look into sealed texts, so each process holds the searched texts of the tenants
whose customers are searched, opened, for as long as they are: bounded, brought up to date
by what has changed since before each search, and forgotten a few minutes after the last one. A
customer that has been erased is not among them.
"""

import asyncio
from typing import Any, Final, NamedTuple

from api.problems import Problem
from ledger.aliases import CUSTOMER_EMAIL, fold
from ledger.personal_data import PersonalData, email_digest
from ledger.sealing import open_text, subjects_in
from ledger.store import Connection
from projections.aliases import find_aliases
from schemas.customer import CustomerType

CUSTOMERS_HELD_MAX: Final = 200_000
"""Customers whose texts a process holds, of all tenants: about 60 MB."""
HELD_S: Final = 300.0
_BATCH_ROWS: Final = 1_000

_CHANGED: Final = """
SELECT customer_id, customer_type, position, erased_at IS NOT NULL AS is_erased,
       concat_ws(E'\\n', name, company, email) AS texts
FROM projections.customer
WHERE tenant_id = $1 AND position > $2 ORDER BY position LIMIT $3
"""

_EMAIL_NAME: Final = """
SELECT name FROM access.email_name WHERE tenant_id = $1 AND digest = $2
"""


class _Held(NamedTuple):
    text: str
    customer_type: CustomerType


class _Tenant:
    """The texts of one tenant's customers, as of a position."""

    def __init__(self) -> None:
        self.position = 0
        self.customers: dict[int, _Held] = {}
        self.lock = asyncio.Lock()
        self.forgetting: asyncio.TimerHandle | None = None


class CustomerSearch:
    """Finds customers by a part of their name, company or e-mail address."""

    def __init__(self, personal: PersonalData, held_max: int = CUSTOMERS_HELD_MAX) -> None:
        self._personal = personal
        self._held_max = held_max
        self._tenants: dict[int, _Tenant] = {}

    @property
    def held(self) -> int:
        """How many customers' texts are held."""
        return sum(len(tenant.customers) for tenant in self._tenants.values())

    async def find(
        self,
        connection: Connection,
        tenant_id: int,
        text: str,
        customer_type: CustomerType | None = None,
    ) -> list[int]:
        """Return the ids of the customers in which a text occurs, in any case, in order.

        With more customers than a process may hold only a whole e-mail address is found; raise
        Problem (409) for any other text then.
        """
        tenant = self._tenants.pop(tenant_id, None) or _Tenant()
        # The one that was used last stands last: those before it are forgotten first.
        self._tenants[tenant_id] = tenant
        async with tenant.lock:
            fits = await self._catch_up(connection, tenant_id, tenant)
        if not fits:
            return await self._by_email(connection, tenant_id, text)
        self._forget_later(tenant_id, tenant)
        wanted = text.casefold()
        return sorted(
            customer_id
            for customer_id, held in tenant.customers.items()
            if wanted in held.text
            and (customer_type is None or held.customer_type == customer_type)
        )

    async def _catch_up(self, connection: Connection, tenant_id: int, tenant: _Tenant) -> bool:
        """Take in what has changed; False, with nothing held, where that is too much to hold."""
        while True:
            rows: list[Any] = await connection.fetch(
                _CHANGED, tenant_id, tenant.position, _BATCH_ROWS
            )
            if not rows:
                return True
            subjects = subjects_in("\n".join(row["texts"] for row in rows).encode())
            keys = await self._personal.keys_at(connection, tenant_id, subjects)
            for row in rows:
                if row["is_erased"]:
                    tenant.customers.pop(row["customer_id"], None)
                else:
                    opened = open_text(row["texts"], keys).casefold()
                    tenant.customers[row["customer_id"]] = _Held(opened, row["customer_type"])
            tenant.position = rows[-1]["position"]
            if not self._make_room(tenant_id, tenant):
                return False
            # Opening a batch takes some milliseconds, and others are served in between.
            await asyncio.sleep(0)

    def _make_room(self, tenant_id: int, tenant: _Tenant) -> bool:
        for other_id in list(self._tenants):
            if self.held <= self._held_max:
                return True
            if other_id != tenant_id:
                self._forget(other_id)
        if self.held <= self._held_max:
            return True
        tenant.customers.clear()
        tenant.position = 0
        self._forget(tenant_id)
        return False

    def _forget_later(self, tenant_id: int, tenant: _Tenant) -> None:
        if tenant.forgetting is not None:
            tenant.forgetting.cancel()
        loop = asyncio.get_running_loop()
        tenant.forgetting = loop.call_later(HELD_S, self._forget, tenant_id)

    def _forget(self, tenant_id: int) -> None:
        tenant = self._tenants.pop(tenant_id, None)
        if tenant is not None and tenant.forgetting is not None:
            tenant.forgetting.cancel()

    async def _by_email(self, connection: Connection, tenant_id: int, text: str) -> list[int]:
        if "@" not in text:
            raise Problem(
                "too_many_to_search",
                f"search: with more than {self._held_max} customers only a whole e-mail address "
                f"can be searched for; give one, or filter by type.",
                field="search",
            )
        key = await self._personal.tenant_key(tenant_id)
        digest = email_digest(key, text)
        name = await connection.fetchval(_EMAIL_NAME, tenant_id, digest)
        aliases = [(CUSTOMER_EMAIL, alias) for alias in (name, fold(text)) if alias]
        found = await find_aliases(connection, tenant_id, aliases)
        return sorted(set(found.values()))
