"""The views for analysts that tell of value: what stock is worth, and what was sold did cost.

What `projections.valuation_queries` works out a product at a time, here as queries. A product's
movements are costed in one order (`projections.costing`): by business day, effective time and
position. First in, first out: what so many units on hand are worth, up to a place in that order,
is what the last so many units that came in by then did cost, which two running sums over the
layers tell. The layers are others from each *turn* on: a layer that is taken out again, or a
revaluation, behind which only newer layers count. So the sums are made once for each stretch
between two turns. All amounts are whole millionths, and each share is rounded as there.
"""

from typing import Final

from projections.star_view import VALUATION, Column, View


def _share(amount: str, part: str, whole: str) -> str:
    """Return the SQL of `projections.costing.share`: of whole numbers, half goes up."""
    over, under = f"(2 * ({amount}) * ({part}) + ({whole}))", f"(2 * ({whole}))"
    return (
        f"(div({over}, {under})"
        f" - CASE WHEN {over} < 0 AND mod({over}, {under}) <> 0 THEN 1 ELSE 0 END)"
    )


_INBOUND: Final = "('receipt', 'return', 'found')"
_SPECIAL: Final = "('supplier_return', 'missed', 'loss', 'revaluation')"
_OF: Final = "tenant_id = p.tenant_id AND {0}.product_id = p.product_id"


def _of(alias: str) -> str:
    return f"{alias}.{_OF.format(alias)}"


# The products that have ever been costed, with what each has in all and how it is costed.
_PRODUCTS: Final = """
    SELECT d.tenant_id, d.product_id, coalesce(c.method, b.method, 'standard') AS method,
           sum(d.on_hand + d.in_transit) * 1000000 AS quantity
    FROM projections.cost_day d
    LEFT JOIN projections.cost_product c
        ON c.tenant_id = d.tenant_id AND c.product_id = d.product_id
    LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
    WHERE d.tenant_id = {tenant}
    GROUP BY d.tenant_id, d.product_id, c.method, b.method
"""

# Of one product `p`: its days, its turns, and the layers that count from each turn on.
_DAYS: Final = f"""
    of_day AS (
        SELECT d.day, sum(d.sold_qty) AS units_sold, sum(d.returned_qty) AS units_returned,
               sum(d.in_cost - d.returned_cost) * 1000000 AS cost,
               sum(d.specials) AS specials,
               sum(sum(d.on_hand + d.in_transit)) OVER (ORDER BY d.day) * 1000000 AS closing,
               sum(d.on_hand + d.in_transit) * 1000000 AS change,
               sum(d.layers) <> 0 OR sum(d.on_hand + d.in_transit) <> 0
                   OR sum(d.sold_qty) <> 0 OR sum(d.specials) <> 0 AS is_moving
        FROM projections.cost_day d WHERE {_of("d")} GROUP BY d.day
    )
"""
_LAYERS: Final = f"""
    turn AS (
        SELECT row_number() OVER (ORDER BY t.day, t.effective_at, t.position) AS number, t.*
        FROM (
            SELECT r.day, r.effective_at, r.position, r.layer_position,
                   r.cost * 1000000 AS cost, NULL::numeric AS unit_cost
            FROM projections.cost_removal r WHERE {_of("r")}
            UNION ALL
            SELECT s.day, s.effective_at, s.position, NULL, NULL,
                   coalesce(s.unit_cost, 0) * 1000000
            FROM projections.cost_standard s WHERE {_of("s")} AND s.is_revaluation
        ) t
    ), stretch AS (
        SELECT e.number, m.day, m.effective_at, m.position, m.unit_cost
        FROM generate_series(0, (SELECT count(*) FROM turn)) AS e (number)
        LEFT JOIN LATERAL (
            SELECT * FROM turn t WHERE t.number <= e.number AND t.unit_cost IS NOT NULL
            ORDER BY t.number DESC LIMIT 1
        ) m ON true
    ), layer AS (
        SELECT e.number AS stretch, l.day, l.effective_at, l.position,
               l.quantity * 1000000 AS quantity,
               (coalesce(l.cost, 0) + l.landed) * 1000000 AS cost,
               row_number() OVER w AS n,
               sum(l.quantity) OVER w * 1000000 AS to_quantity,
               sum(coalesce(l.cost, 0) + l.landed) OVER w * 1000000 AS to_cost
        FROM stretch e
        JOIN projections.cost_movement l
            ON e.position IS NULL
            OR (l.day, l.effective_at, l.position) > (e.day, e.effective_at, e.position)
        WHERE {_of("l")} AND l.kind IN {_INBOUND}
          AND NOT EXISTS (
              SELECT FROM turn t WHERE t.layer_position = l.position AND t.number <= e.number
          )
        WINDOW w AS (PARTITION BY e.number ORDER BY l.day, l.effective_at, l.position)
    )
"""

# What one costs of what is owed, where neither a layer nor a revaluation says it: the standard
# cost on the last day, up to the one given, on which anything moved.
_STANDARD_OWED: Final = f"""
    coalesce((
        SELECT coalesce(s.unit_cost, 0) * 1000000 FROM projections.cost_standard s
        WHERE {_of("s")} AND NOT s.is_revaluation AND s.day <= coalesce(
            (SELECT max(o.day) FROM of_day o WHERE o.is_moving AND o.day <= {{day}}), {{day}}
        )
        ORDER BY s.day DESC, s.effective_at DESC, s.position DESC LIMIT 1
    ), 0)
"""

# What has to be known the value of: how each day closed, and what was on hand before and after
# each movement that is costed by itself. `weight` is what the value counts for in the day's cost.
_POINTS: Final = f"""
    special AS (
        SELECT * FROM (
            SELECT m.day, m.effective_at, m.position, m.kind, c.change,
                   o.closing - o.change + sum(c.change) OVER (
                       PARTITION BY m.day ORDER BY m.effective_at, m.position
                   ) AS after
            FROM of_day o
            JOIN projections.cost_movement m ON {_of("m")} AND m.day = o.day
            CROSS JOIN LATERAL (
                SELECT CASE WHEN m.kind IN {_INBOUND} THEN m.quantity
                            WHEN m.kind = 'revaluation' THEN 0
                            ELSE -m.quantity END * 1000000 AS change
            ) c
            WHERE o.specials <> 0
        ) m WHERE m.kind IN {_SPECIAL}
    ), asked AS (
        SELECT o.day, 'infinity'::timestamptz AS effective_at, 9223372036854775807 AS position,
               o.closing AS quantity, 0 AS weight
        FROM of_day o
        UNION ALL
        SELECT s.day, s.effective_at, s.position, s.after, 1 FROM special s
        UNION ALL
        SELECT s.day, s.effective_at,
               CASE WHEN s.kind = 'revaluation' THEN s.position - 1 ELSE s.position END,
               s.after - s.change, -1
        FROM special s
    ), point AS (
        SELECT row_number() OVER () AS id, a.*, (
            SELECT count(*) FROM turn t
            WHERE (t.day, t.effective_at, t.position) <= (a.day, a.effective_at, a.position)
        ) AS stretch
        FROM asked a
    ), placed AS (
        SELECT * FROM (
            SELECT u.*, sum(u.layer_quantity) OVER w AS to_quantity,
                   sum(u.layer_cost) OVER w AS to_cost, max(u.n) OVER w AS last_n
            FROM (
                SELECT l.stretch, l.day, l.effective_at, l.position, false AS is_point,
                       NULL::bigint AS id, l.n, l.quantity AS layer_quantity,
                       l.cost AS layer_cost, NULL::numeric AS quantity, 0 AS weight
                FROM layer l
                UNION ALL
                SELECT a.stretch, a.day, a.effective_at, a.position, true, a.id, NULL, 0, 0,
                       a.quantity, a.weight
                FROM point a
            ) u
            WINDOW w AS (PARTITION BY u.stretch
                         ORDER BY u.day, u.effective_at, u.position, u.is_point
                         ROWS UNBOUNDED PRECEDING)
        ) u WHERE u.is_point
    ), reached AS (
        SELECT u.id, u.first_n FROM (
            SELECT x.*, max(x.n) OVER (PARTITION BY x.stretch ORDER BY x.from_quantity, x.is_point
                                       ROWS UNBOUNDED PRECEDING) AS first_n
            FROM (
                SELECT l.stretch, l.to_quantity - l.quantity AS from_quantity,
                       false AS is_point, l.n, NULL::bigint AS id
                FROM layer l
                UNION ALL
                SELECT a.stretch, a.to_quantity - a.quantity, true, NULL, a.id
                FROM placed a WHERE a.quantity > 0
            ) x
        ) u WHERE u.is_point
    ), valued AS (
        SELECT a.day, a.weight, CASE
            WHEN a.quantity = 0 THEN 0
            WHEN a.quantity > 0 AND a.to_quantity < a.quantity THEN
                a.to_cost + {_share("e.unit_cost", "a.quantity - a.to_quantity", "1000000")}
            WHEN a.quantity > 0 THEN a.to_cost - (f.to_cost - f.cost) - {
    _share("f.cost", "a.to_quantity - a.quantity - (f.to_quantity - f.quantity)", "f.quantity")
}
            WHEN g.n IS NOT NULL THEN -{_share("g.cost", "-a.quantity", "g.quantity")}
            ELSE -{
    _share(
        f"coalesce(e.unit_cost, {_STANDARD_OWED.replace('{day}', 'a.day')})",
        "-a.quantity",
        "1000000",
    )
}
        END AS value
        FROM placed a
        JOIN stretch e ON e.number = a.stretch
        LEFT JOIN reached r ON r.id = a.id
        LEFT JOIN layer f ON f.stretch = a.stretch AND f.n = r.first_n
        LEFT JOIN layer g ON g.stretch = a.stretch AND g.n = a.last_n AND a.quantity < 0
    )
"""

_COGS: Final = f"""
    SELECT d.product_id, d.day, d.units_sold::numeric(30,6) AS units_sold,
           d.units_returned::numeric(30,6) AS units_returned, d.method,
           (CASE d.method WHEN 'average' THEN coalesce(a.sold_cost, 0) ELSE d.cost END
               )::numeric(38,6) AS cogs
    FROM (
        SELECT d.tenant_id, d.product_id, d.day, coalesce(c.method, b.method, 'standard') AS method,
               sum(d.sold_qty) AS units_sold, sum(d.returned_qty) AS units_returned,
               sum(coalesce(round(d.sold_qty * s.unit_cost, 6), 0) - d.returned_cost) AS cost
        FROM projections.cost_day d
        LEFT JOIN projections.cost_product c
            ON c.tenant_id = d.tenant_id AND c.product_id = d.product_id
        LEFT JOIN projections.cost_books b ON b.tenant_id = d.tenant_id
        LEFT JOIN LATERAL (
            SELECT s.unit_cost FROM projections.cost_standard s
            WHERE s.tenant_id = d.tenant_id AND s.product_id = d.product_id AND s.day <= d.day
            ORDER BY s.day DESC, s.effective_at DESC, s.position DESC LIMIT 1
        ) s ON coalesce(c.method, b.method, 'standard') = 'standard'
        WHERE d.tenant_id = {{tenant}}
          AND coalesce(c.method, b.method, 'standard') IN ('standard', 'average')
        GROUP BY d.tenant_id, d.product_id, d.day, c.method, b.method
    ) d
    LEFT JOIN projections.cost_average a
        ON a.tenant_id = d.tenant_id AND a.product_id = d.product_id AND a.day = d.day
    UNION ALL
    SELECT p.product_id, f.day, f.units_sold::numeric(30,6), f.units_returned::numeric(30,6),
           p.method, (f.cogs / 1000000)::numeric(38,6)
    FROM ({_PRODUCTS}) p
    CROSS JOIN LATERAL (
        WITH {_DAYS}, {_LAYERS}, {_POINTS}, removed AS (
            SELECT t.day, sum(t.cost) AS cost FROM turn t
            WHERE t.layer_position IS NOT NULL GROUP BY t.day
        ), by_itself AS (
            SELECT v.day, sum(v.value * v.weight) AS cost FROM valued v
            WHERE v.weight <> 0 GROUP BY v.day
        )
        SELECT o.day, o.units_sold, o.units_returned,
               o.cost - coalesce(r.cost, 0) + coalesce(s.cost, 0)
                   + lag(v.value, 1, 0::numeric) OVER (ORDER BY o.day) - v.value AS cogs
        FROM of_day o
        JOIN valued v ON v.day = o.day AND v.weight = 0
        LEFT JOIN removed r ON r.day = o.day
        LEFT JOIN by_itself s ON s.day = o.day
    ) f
    WHERE p.method = 'fifo'
"""

_VALUATION: Final = f"""
    SELECT p.product_id, p.method, l.kind, l.day, l.effective_at, l.position,
           (l.quantity / 1000000)::numeric(30,6) AS quantity,
           round(l.value / l.quantity, 6)::numeric(38,6) AS unit_cost,
           (l.value / 1000000)::numeric(38,6) AS value
    FROM ({_PRODUCTS}) p
    CROSS JOIN LATERAL (
        SELECT 'standard' AS kind, NULL::date AS day, NULL::timestamptz AS effective_at,
               NULL::bigint AS position, p.quantity, {
    _share(
        f'''coalesce((
            SELECT coalesce(s.unit_cost, 0) * 1000000 FROM projections.cost_standard s
            WHERE {_of("s")}
            ORDER BY s.day DESC, s.effective_at DESC, s.position DESC LIMIT 1
        ), 0)''',
        "p.quantity",
        "1000000",
    )
} AS value
        WHERE p.method = 'standard'
        UNION ALL
        SELECT 'average', NULL, NULL, NULL, p.quantity, (
            SELECT a.value * 1000000 FROM projections.cost_average a
            WHERE {_of("a")} ORDER BY a.day DESC LIMIT 1
        )
        WHERE p.method = 'average'
        UNION ALL
        SELECT f.* FROM (
            WITH {_DAYS}, {_LAYERS}, now AS (
                SELECT e.number, e.unit_cost, e.day, e.effective_at, e.position,
                       coalesce((SELECT sum(l.quantity) FROM layer l
                                 WHERE l.stretch = e.number), 0) - p.quantity AS gone
                FROM stretch e WHERE e.number = (SELECT max(x.number) FROM stretch x)
            )
            SELECT 'layer', l.day, l.effective_at, l.position, k.kept,
                   l.cost - {_share("l.cost", "l.quantity - k.kept", "l.quantity")}
            FROM now JOIN layer l ON l.stretch = now.number AND l.to_quantity > now.gone
            CROSS JOIN LATERAL (SELECT least(l.quantity, l.to_quantity - now.gone) AS kept) k
            WHERE p.quantity > 0
            UNION ALL
            SELECT 'revalued', now.day, now.effective_at, now.position, -now.gone,
                   {_share("now.unit_cost", "-now.gone", "1000000")}
            FROM now WHERE p.quantity > 0 AND now.gone < 0
            UNION ALL
            SELECT 'owed', g.day, g.effective_at, g.position, p.quantity,
                   CASE WHEN g.n IS NOT NULL
                   THEN -{_share("g.cost", "-p.quantity", "g.quantity")}
                   ELSE -{
    _share(
        "coalesce(now.unit_cost, "
        + _STANDARD_OWED.replace("{day}", "(SELECT max(z.day) FROM of_day z)")
        + ")",
        "-p.quantity",
        "1000000",
    )
} END
            FROM now LEFT JOIN LATERAL (
                SELECT * FROM layer l WHERE l.stretch = now.number ORDER BY l.n DESC LIMIT 1
            ) g ON true
            WHERE p.quantity < 0
        ) f
        WHERE p.method = 'fifo'
    ) l
    WHERE p.quantity <> 0
"""

_METHOD: Final = Column("method", "text", "How the product is valued: standard, average or fifo.")

VALUE: Final = (
    View(
        "valuation_layer",
        "What stock is worth at the position, goods on their way included, one row a layer: under "
        "FIFO one for each lot of goods of which some are left, else one a product.",
        (VALUATION,),
        (
            Column("product_id", "bigint", "The product, in dim_product."),
            _METHOD,
            Column("kind", "text", "layer (goods that came in together), revalued (goods from "
                   "before a revaluation), owed (sold before they came in), average or standard."),
            Column("day", "date", "The business day on which the layer came in or was revalued; "
                   "of what is owed, that of the goods it is priced by; else null."),
            Column("effective_at", "timestamp with time zone", "When that was; null likewise."),
            Column("position", "bigint", "The event that says so; null likewise."),
            Column("quantity", "numeric(30,6)", "Units left of the layer; below zero for owed."),
            Column("unit_cost", "numeric(38,6)", "What one of them costs, rounded to six digits."),
            Column("value", "numeric(38,6)", "What they are worth, in the books' currency; below "
                   "zero for owed."),
        ),
        _VALUATION,
    ),
    View(
        "cogs_by_day",
        "What was sold and what it did cost, one row a product and business day with movements. A "
        "cost without a sale corrects one: goods sold before they came in were dearer than "
        "thought, or a receipt was taken back.",
        (VALUATION,),
        (
            Column("product_id", "bigint", "The product, in dim_product."),
            Column("day", "date", "The business day, in the time zone of the movement's location."),
            Column("units_sold", "numeric(30,6)", "Units that went to customers."),
            Column("units_returned", "numeric(30,6)", "Units that came back from them."),
            _METHOD,
            Column("cogs", "numeric(38,6)", "Cost of goods sold less that of goods returned, in "
                   "the books' currency, exact: days add up to any period."),
        ),
        _COGS,
    ),
)  # fmt: skip
