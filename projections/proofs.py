"""What must be true of a tenant's stock whatever the fold does: proofs by SQL, in one snapshot.

Each proof is a statement that returns the first offending rows, as text for a person, and
nothing when all is well. They check the tables against each other and against the log with
other means than those that wrote them.
"""

from typing import Final, NamedTuple

from projections.projection import Connection
from projections.stock_levels import ACCOUNTS


class Proof(NamedTuple):
    """A name, what was checked (a count), and what offends (rows with one text column)."""

    name: str
    checked: str
    offending: str


def _per_account(what: str) -> str:
    return ", ".join(f"{what.format(account=account)} AS {account}" for account in ACCOUNTS)


_LEGS = """
    SELECT m.position, m.product_id, m.from_location_id AS location_id,
           m.from_account AS account, -m.quantity AS moved, m.from_balance AS balance
    FROM projections.movement m WHERE m.tenant_id = $1
    UNION ALL
    SELECT m.position, m.product_id, m.to_location_id, m.to_account, m.quantity, m.to_balance
    FROM projections.movement m WHERE m.tenant_id = $1
"""

STREAMS: Final = Proof(
    "stream versions",
    "SELECT count(DISTINCT stream) FROM ledger.event WHERE tenant_id = $1",
    """
    SELECT format('stream %s has version %s at position %s after version %s at position %s',
                  stream, version, position, coalesce(before, 0), coalesce(place, 0))
    FROM (
        SELECT stream, version, position, lag(version) OVER w AS before,
               lag(position) OVER w AS place
        FROM ledger.event WHERE tenant_id = $1
        WINDOW w AS (PARTITION BY stream ORDER BY version)
    ) e
    WHERE version <> coalesce(before, 0) + 1 OR position <= place
    LIMIT 5
    """,
)

IDEMPOTENCY: Final = Proof(
    "idempotency keys",
    "SELECT count(*) FROM ledger.idempotency WHERE tenant_id = $1",
    """
    SELECT format('key %L stands for position %s, which the log does not have', i.key, i.position)
    FROM ledger.idempotency i
    WHERE i.tenant_id = $1 AND i.position <> 0 AND NOT EXISTS (
        SELECT FROM ledger.event e WHERE e.tenant_id = $1 AND e.position = i.position
    )
    LIMIT 5
    """,
)

CONSERVATION: Final = Proof(
    "conservation",
    "SELECT count(DISTINCT product_id) FROM projections.stock_level WHERE tenant_id = $1",
    f"""
    SELECT format('the accounts of product %s add up to %s instead of 0', product_id,
                  sum({" + ".join(ACCOUNTS)}))
    FROM projections.stock_level WHERE tenant_id = $1
    GROUP BY product_id HAVING sum({" + ".join(ACCOUNTS)}) <> 0
    ORDER BY product_id LIMIT 5
    """,
)

CHAIN: Final = Proof(
    "movements' balances",
    "SELECT count(*) FROM projections.movement WHERE tenant_id = $1",
    f"""
    SELECT format('after the movement at position %s, %s of product %s at location %s is given '
                  'as %s; it was %s and changed by %s',
                  position, account, product_id, location_id, balance, before, moved)
    FROM (
        SELECT legs.*, coalesce(lag(balance) OVER (
                   PARTITION BY product_id, location_id, account ORDER BY position
               ), 0) AS before
        FROM ({_LEGS}) legs
    ) chained
    WHERE balance <> before + moved ORDER BY position LIMIT 5
    """,
)

# By the events themselves, not by folding them: the fold is what is on trial.
FACTS: Final = Proof(
    "movements = their events",
    "SELECT count(*) FROM projections.movement WHERE tenant_id = $1",
    """
    SELECT format('the movement at position %s is not of the type, item and times of its event: '
                  '%s in %s, effective %s, recorded %s',
                  m.position, e.type, e.stream, e.effective_at, e.recorded_at)
    FROM projections.movement m
    LEFT JOIN ledger.event e ON e.tenant_id = m.tenant_id AND e.position = m.position
    WHERE m.tenant_id = $1
      AND (m.type, 'stock-' || m.product_id || '-' || m.location_id, m.effective_at, m.recorded_at)
          IS DISTINCT FROM (e.type, e.stream, e.effective_at, e.recorded_at)
    ORDER BY m.position LIMIT 5
    """,
)

LEVELS: Final = Proof(
    "levels = sum of movements",
    "SELECT count(*) FROM projections.stock_level WHERE tenant_id = $1",
    f"""
    SELECT format('the level of product %s at location %s is not what its movements add up to',
                  product_id, location_id)
    FROM (
        SELECT product_id, location_id,
               {_per_account("coalesce(sum(moved) FILTER (WHERE account = '{account}'), 0)")}
        FROM ({_LEGS}) legs GROUP BY product_id, location_id
    ) summed
    FULL JOIN (
        SELECT product_id, location_id, {", ".join(ACCOUNTS)}
        FROM projections.stock_level WHERE tenant_id = $1
    ) stored USING (product_id, location_id)
    WHERE {" OR ".join(f"coalesce(summed.{a}, 0) IS DISTINCT FROM stored.{a}" for a in ACCOUNTS)}
    ORDER BY product_id, location_id LIMIT 5
    """,
)

HOLDS: Final = Proof(
    "reserved = sum of holds",
    "SELECT count(*) FROM projections.reservation WHERE tenant_id = $1",
    """
    SELECT format('reserved of product %s at location %s is %s, its holds add up to %s',
                  product_id, location_id, reserved, coalesce(held, 0))
    FROM (SELECT * FROM projections.stock_level WHERE tenant_id = $1) stored
    FULL JOIN (
        SELECT product_id, location_id, sum(quantity_left) AS held
        FROM projections.reservation WHERE tenant_id = $1 GROUP BY product_id, location_id
    ) holds USING (product_id, location_id)
    WHERE reserved IS DISTINCT FROM coalesce(held, 0)
    ORDER BY product_id, location_id LIMIT 5
    """,
)

# In the world's order a movement recorded late comes before what it was recorded after; a
# figure at a time is that after everything of that time. The limit is the lowest that the
# location has ever had: which one held when is checked in the log's order
# (`projections.verify`).
BUSINESS_ORDER: Final = Proof(
    "nothing below zero in business time",
    "SELECT count(*) FROM projections.movement WHERE tenant_id = $1",
    """
    SELECT format('product %s at location %s falls to %s at %s (position %s)',
                  product_id, location_id, on_shelf, effective_at, position)
    FROM (
        SELECT product_id, location_id, position, effective_at, moved,
               sum(moved) OVER (PARTITION BY product_id, location_id
                                ORDER BY effective_at) AS on_shelf
        FROM (
            SELECT product_id, from_location_id AS location_id, position, effective_at,
                   -quantity AS moved
            FROM projections.movement WHERE tenant_id = $1 AND from_account = 'unrestricted'
            UNION ALL
            SELECT product_id, to_location_id, position, effective_at, quantity
            FROM projections.movement WHERE tenant_id = $1 AND to_account = 'unrestricted'
        ) legs
    ) running
    LEFT JOIN (
        SELECT (data ->> 'location_id')::bigint AS location_id,
               min(coalesce((data ->> 'stock_limit')::numeric, 0)) AS stock_limit
        FROM ledger.event
        WHERE tenant_id = $1 AND stream >= 'location-' AND stream < 'location.'
          AND type IN ('LocationOpened', 'LocationRevised')
        GROUP BY 1
    ) limits USING (location_id)
    WHERE moved < 0 AND on_shelf < coalesce(stock_limit, 0)
    ORDER BY position LIMIT 5
    """,
)

# By the reservations themselves: what orders say is reserved for them is theirs on the shelf.
ORDER_HOLDS: Final = Proof(
    "reserved for orders = their holds",
    "SELECT count(*) FROM projections.order_line WHERE tenant_id = $1",
    """
    SELECT format('for line %s of an order, %s of product %s is reserved at location %s by the '
                  'order and %s by stock', order_item_id, coalesce(claimed, 0), product_id,
                  location_id, coalesce(held, 0))
    FROM (
        SELECT c.order_item_id, l.product_id, c.location_id, c.quantity AS claimed
        FROM projections.order_claim c
        JOIN projections.order_line l USING (tenant_id, order_id, order_item_id)
        WHERE c.tenant_id = $1 AND c.quantity <> 0
    ) claims
    FULL JOIN (
        SELECT substr(reservation_id, 7)::bigint AS order_item_id, product_id, location_id,
               quantity_left AS held
        FROM projections.reservation
        WHERE tenant_id = $1 AND reservation_id ~ '^order:[0-9]{1,18}$'
    ) holds USING (order_item_id, product_id, location_id)
    WHERE claimed IS DISTINCT FROM held
    ORDER BY order_item_id LIMIT 5
    """,
)

ORDER_LINES: Final = Proof(
    "ordered = open + reserved + fulfilled + cancelled",
    "SELECT count(*) FROM projections.order_line WHERE tenant_id = $1",
    """
    SELECT format('of line %s, %s was ordered but %s is open, %s reserved, %s fulfilled and %s '
                  'cancelled; %s came back, and its claims add up to %s', l.order_item_id,
                  ordered, open, reserved, fulfilled, cancelled, returned, coalesce(claimed, 0))
    FROM projections.order_line l
    LEFT JOIN (
        SELECT order_item_id, sum(quantity) AS claimed FROM projections.order_claim
        WHERE tenant_id = $1 GROUP BY order_item_id
    ) c USING (order_item_id)
    WHERE l.tenant_id = $1
      AND (ordered <> open + reserved + fulfilled + cancelled OR returned > fulfilled
           OR reserved <> coalesce(claimed, 0)
           OR least(open, reserved, fulfilled, cancelled, returned) < 0)
    ORDER BY l.order_item_id LIMIT 5
    """,
)

LOTS: Final = Proof(
    "lots within stock levels",
    "SELECT count(*) FROM projections.lot_level WHERE tenant_id = $1",
    """
    SELECT format('of product %s at location %s, %s is of known lots, of which the least is %s, '
                  'in accounts that hold %s (on the shelf, blocked, on the way)',
                  product_id, location_id, of_lots, least, in_all)
    FROM (
        SELECT l.product_id, v.location_id,
               array[sum(v.unrestricted), sum(v.quarantine), sum(v.in_transit)] AS of_lots,
               min(least(v.unrestricted, v.quarantine, v.in_transit)) AS least
        FROM projections.lot_level v JOIN projections.lot l USING (tenant_id, lot_id)
        WHERE v.tenant_id = $1 GROUP BY l.product_id, v.location_id
    ) known
    LEFT JOIN (
        SELECT product_id, location_id, array[unrestricted, quarantine, in_transit] AS in_all
        FROM projections.stock_level WHERE tenant_id = $1
    ) levels USING (product_id, location_id)
    WHERE least < 0 OR in_all IS NULL OR of_lots[1] > in_all[1] OR of_lots[2] > in_all[2]
       OR of_lots[3] > in_all[3]
    ORDER BY product_id, location_id LIMIT 5
    """,
)

SERIALS: Final = Proof(
    "serials within stock levels",
    "SELECT count(*) FROM projections.serial WHERE tenant_id = $1",
    """
    SELECT format('of product %s at location %s, %s units have serial numbers in accounts that '
                  'hold %s (on the shelf, blocked, on the way)',
                  product_id, location_id, numbered, in_all)
    FROM (
        SELECT product_id, location_id,
               array[count(*) FILTER (WHERE status = 'in_stock'),
                     count(*) FILTER (WHERE status = 'quarantined'),
                     count(*) FILTER (WHERE status = 'in_transit')] AS numbered
        FROM projections.serial
        WHERE tenant_id = $1 AND status IN ('in_stock', 'quarantined', 'in_transit')
        GROUP BY product_id, location_id
    ) known
    LEFT JOIN (
        SELECT product_id, location_id, array[unrestricted, quarantine, in_transit] AS in_all
        FROM projections.stock_level WHERE tenant_id = $1
    ) levels USING (product_id, location_id)
    WHERE in_all IS NULL OR numbered[1] > in_all[1] OR numbered[2] > in_all[2]
       OR numbered[3] > in_all[3]
    ORDER BY product_id, location_id LIMIT 5
    """,
)

PURCHASE_LINES: Final = Proof(
    "outstanding = ordered - received",
    "SELECT count(*) FROM projections.purchase_line WHERE tenant_id = $1",
    """
    SELECT format('of line %s, %s was ordered and %s received, %s is outstanding and %s incoming; '
                  '%s went back', l.line_id, ordered, received, outstanding, incoming, returned)
    FROM projections.purchase_line l
    JOIN projections.purchase_order o USING (tenant_id, purchase_order_id)
    WHERE l.tenant_id = $1
      AND (outstanding <> greatest(ordered - received, 0) OR returned > received
           OR incoming <> CASE WHEN o.status IN ('sent', 'partial') THEN outstanding ELSE 0 END
           OR least(received, returned, outstanding) < 0)
    ORDER BY l.line_id LIMIT 5
    """,
)

# Clients may give stock such a reference themselves, so stock may say more than the order.
PURCHASE_RECEIPTS: Final = Proof(
    "received for purchase orders = their movements",
    "SELECT count(*) FROM projections.purchase_receipt WHERE tenant_id = $1",
    """
    WITH said AS (
        SELECT o.po_number || '/' || r.receipt AS reference, 'StockReceived' AS type, r.lines
        FROM projections.purchase_receipt r
        JOIN projections.purchase_order o USING (tenant_id, purchase_order_id)
        WHERE r.tenant_id = $1
        UNION ALL
        SELECT o.po_number || '/R' || r.return_number, 'StockIssued', r.lines
        FROM projections.purchase_return r
        JOIN projections.purchase_order o USING (tenant_id, purchase_order_id)
        WHERE r.tenant_id = $1
    ), moved AS (
        SELECT data ->> 'reference' AS reference, type,
               (data ->> 'product_id')::bigint AS product_id,
               sum((data ->> 'quantity')::numeric) AS quantity
        FROM ledger.event
        WHERE tenant_id = $1 AND type IN ('StockReceived', 'StockIssued')
          AND data ->> 'reference' LIKE 'PO-%'
        GROUP BY 1, 2, 3
    )
    SELECT format('%s says that %s of product %s moved; stock says %s', s.reference, s.quantity,
                  s.product_id, coalesce(m.quantity, 0))
    FROM (
        SELECT reference, type, (line ->> 'product_id')::bigint AS product_id,
               sum((line ->> 'quantity')::numeric) AS quantity
        FROM said, jsonb_array_elements(said.lines) AS line GROUP BY 1, 2, 3
    ) s
    LEFT JOIN moved m USING (reference, type, product_id)
    WHERE coalesce(m.quantity, 0) < s.quantity
    ORDER BY s.reference LIMIT 5
    """,
)

# The valuation follows: it is held to the movements as far as it has got.
COSTED: Final = Proof(
    "costed quantities = movements",
    "SELECT count(*) FROM projections.cost_day WHERE tenant_id = $1",
    f"""
    SELECT format('the valuation has %s of product %s at location %s and %s on its way there, '
                  'the movements add up to %s and %s',
                  coalesce(costed.on_hand, 0), product_id, location_id,
                  coalesce(costed.in_transit, 0), coalesce(moved.on_hand, 0),
                  coalesce(moved.in_transit, 0))
    FROM (
        SELECT product_id, location_id, sum(on_hand) AS on_hand, sum(in_transit) AS in_transit
        FROM projections.cost_day WHERE tenant_id = $1 GROUP BY product_id, location_id
    ) costed
    FULL JOIN (
        SELECT product_id, location_id,
               sum(moved) FILTER (WHERE account IN ('unrestricted', 'quarantine')) AS on_hand,
               sum(moved) FILTER (WHERE account = 'in_transit') AS in_transit
        FROM ({_LEGS}) legs
        WHERE position <= (
            SELECT position FROM projections.checkpoint
            WHERE tenant_id = $1 AND name = 'valuation'
        )
        GROUP BY product_id, location_id
    ) moved USING (product_id, location_id)
    WHERE (coalesce(costed.on_hand, 0), coalesce(costed.in_transit, 0))
          <> (coalesce(moved.on_hand, 0), coalesce(moved.in_transit, 0))
    ORDER BY product_id, location_id LIMIT 5
    """,
)

# Demand follows: it is held to the events as far as it has got, those of reversed batches left
# out. A batch's stream is named after it, so an index leads to the few types among them.
DEMAND: Final = Proof(
    "demand = lines recorded",
    "SELECT count(*) FROM projections.demand WHERE tenant_id = $1",
    """
    WITH told AS (
        SELECT type, data FROM ledger.event
        WHERE tenant_id = $1 AND stream >= 'import-' AND stream < 'import.'
          AND type IN ('DemandRecorded', 'ImportBatchReversed')
          AND position <= (
              SELECT position FROM projections.checkpoint WHERE tenant_id = $1 AND name = 'demand'
          )
    ), recorded AS (
        SELECT (line ->> 'product_id')::bigint AS product_id,
               sum((line ->> 'quantity')::numeric) AS quantity, count(*) AS lines
        FROM told, json_array_elements(coalesce(data -> 'lines', '[]')) AS line
        WHERE type = 'DemandRecorded' AND data ->> 'batch_id' NOT IN (
            SELECT data ->> 'batch_id' FROM told WHERE type = 'ImportBatchReversed'
        )
        GROUP BY 1
    )
    SELECT format('of product %s, %s is kept as wanted in %s lines; %s was recorded in %s',
                  product_id, coalesce(kept.quantity, 0), coalesce(kept.lines, 0),
                  coalesce(recorded.quantity, 0), coalesce(recorded.lines, 0))
    FROM recorded
    FULL JOIN (
        SELECT product_id, sum(quantity) AS quantity, sum(lines) AS lines
        FROM projections.demand WHERE tenant_id = $1 GROUP BY product_id
    ) kept USING (product_id)
    WHERE (coalesce(kept.quantity, 0), coalesce(kept.lines, 0))
          <> (coalesce(recorded.quantity, 0), coalesce(recorded.lines, 0))
    ORDER BY product_id LIMIT 5
    """,
)

STOCK: Final = (
    CONSERVATION,
    FACTS,
    CHAIN,
    LEVELS,
    HOLDS,
    BUSINESS_ORDER,
    LOTS,
    SERIALS,
    ORDER_LINES,
    ORDER_HOLDS,
    PURCHASE_LINES,
    PURCHASE_RECEIPTS,
    COSTED,
    DEMAND,
)


async def prove(
    connection: Connection, tenant_id: int, proof: Proof, timeout_s: float
) -> tuple[int, list[str]]:
    """Return how much was checked, and the first offences."""
    checked: int = await connection.fetchval(proof.checked, tenant_id, timeout=timeout_s) or 0
    rows = await connection.fetch(proof.offending, tenant_id, timeout=timeout_s)
    return checked, [row[0] for row in rows]
