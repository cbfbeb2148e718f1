"""Erasing a customer: which keys open what is said of him, and what no key can close any more."""

from typing import Final

from ledger.aliases import CUSTOMER_EMAIL
from projections.projection import Connection

EMAIL_NAME_KEPT_S: Final = 86_400

# What is said of a customer, in his own stream and in those of his orders. That a text is sealed
# can be seen by its beginning: nobody's own text gets here as it is.
_TEXTS: Final = """
WITH streams AS (
    SELECT 'customer-' || $2::bigint AS stream
    UNION ALL
    SELECT 'order-' || o.order_id FROM projections.sales_order o
    WHERE o.tenant_id = $1 AND o.customer_id = $2
),
texts AS (
    SELECT e.position, t.value FROM streams
    JOIN ledger.event e ON e.tenant_id = $1 AND e.stream = streams.stream
    CROSS JOIN LATERAL (
        SELECT f.value FROM json_each_text(e.data) f
        WHERE f.key IN ('name', 'email', 'phone', 'company', 'notes')
           OR (f.key = 'reason' AND e.type <> 'CustomerErased')
        UNION ALL
        SELECT a.value FROM json_each_text(
            coalesce(e.data -> 'address', e.data -> 'shipping_address', '{}'::json)
        ) a
    ) t
    WHERE btrim(t.value) <> ''
)
"""

_DESTROY: Final = f"""
{_TEXTS}
DELETE FROM access.subject_key k
WHERE k.tenant_id = $1 AND k.subject IN (
    SELECT substr(value, 10, 32) FROM texts WHERE value ~ '^sealed:1:[0-9a-f]{{32}}:'
)
"""

_PLAIN: Final = f"""
{_TEXTS}
SELECT count(DISTINCT position) FROM texts WHERE value !~ '^sealed:1:[0-9a-f]{{32}}:'
"""

# Without its row, a name that events hold in place of an e-mail address tells nothing.
_FORGET_EMAILS: Final = """
DELETE FROM access.email_name n
USING ledger.event e
WHERE n.tenant_id = $1 AND e.tenant_id = $1 AND e.stream = 'customer-' || $2::bigint
  AND e.type IN ('CustomerRegistered', 'CustomerRevised') AND n.name = e.data ->> 'email_key'
  AND NOT EXISTS (
    SELECT FROM projections.alias a WHERE a.tenant_id = $1 AND a.kind = $3 AND a.key = n.name
  )
"""

_FORGET_UNUSED: Final = """
DELETE FROM access.email_name n
WHERE n.tenant_id = $1 AND n.created_at < now() - $2::integer * interval '1 second'
  AND NOT EXISTS (
    SELECT FROM projections.alias a WHERE a.tenant_id = $1 AND a.kind = $3 AND a.key = n.name
  )
"""


async def destroy_keys(connection: Connection, tenant_id: int, customer_id: int) -> int:
    """Delete the keys of a customer and of his orders, and what stood for his e-mail addresses.

    In the transaction that records the erasure, behind the events. Returns how many keys it were.
    """
    status = await connection.execute(_DESTROY, tenant_id, customer_id)
    await connection.execute(_FORGET_EMAILS, tenant_id, customer_id, CUSTOMER_EMAIL)
    return int(status.rpartition(" ")[2])


async def plain_events(connection: Connection, tenant_id: int, customer_id: int) -> int:
    """Return how many events tell of a customer in plain text: they are older than sealing is."""
    return await connection.fetchval(_PLAIN, tenant_id, customer_id) or 0


async def forget_unused_emails(connection: Connection, tenant_id: int) -> int:
    """Forget e-mail addresses that nobody has any more, or that a refused command named.

    After a day: until then the command that named one may still be on its way.
    """
    status = await connection.execute(_FORGET_UNUSED, tenant_id, EMAIL_NAME_KEPT_S, CUSTOMER_EMAIL)
    return int(status.rpartition(" ")[2])
