"""The views for analysts that tell of stock: levels, days, movements, demand, and the events."""

from typing import Final

from projections.star_view import DEMAND, SALES, STAR, STOCK_BY_DAY, Column, View, listed

_ITEM: Final = (
    Column("product_id", "bigint", "The product, in dim_product."),
    Column("location_id", "bigint", "The location, in dim_location."),
)


def _balance(name: str, about: str) -> Column:
    return Column(name, "numeric(30,6)", about)


_LEVEL: Final = (
    *_ITEM,
    Column(
        "on_hand",
        "numeric(30,6)",
        "Units that are there: unrestricted and quarantine. Below zero, owed.",
    ),
    _balance("unrestricted", "Units on hand that may go out, reserved ones among them."),
    _balance("quarantine", "Units on hand that are held back."),
    _balance(
        "reserved",
        "Units claimed and not yet issued, by open holds: those of stock_reservation. A hold that "
        "has expired counts until it is released; what it takes is told by its expires_at.",
    ),
    Column("available", "numeric(30,6)", "unrestricted less reserved: units that may be promised."),
    _balance("in_transit", "Units on their way to this location."),
    _balance("supplier", "What suppliers gave, with the other sign: below zero for received."),
    _balance("customer", "Units that customers got, less those they returned."),
    _balance("adjustment", "What counts and adjustments took, less what they found."),
    _balance("loss", "Units that were lost or scrapped."),
    Column("movements", "bigint", "How many movements were recorded at this location."),
    Column("position", "bigint", "The last event that touched the level."),
)
_RESERVATION: Final = (
    *_ITEM,
    Column("reservation_id", "text", "The hold's name; an order's is order:ORDER_ITEM_ID."),
    Column("reserved", "numeric(18,6)", "Units that were claimed when it was made."),
    _balance("quantity_left", "Units of them that are neither issued nor released; above zero."),
    Column("expires_at", "timestamp with time zone", "When it lapses; null for never."),
    Column("created_at", "timestamp with time zone", "When it was recorded."),
    Column("position", "bigint", "The event that made it."),
)
_DAY: Final = (
    *_ITEM,
    Column("day", "date", "The business day, in the location's time zone."),
    _balance("received", "Units from suppliers, less what went back to them."),
    _balance("issued", "Units to customers, less what they returned; above zero for going out."),
    _balance("adjusted", "What adjustments, counts and scrap did: above zero for found."),
    _balance("transferred_in", "Units that arrived from other locations."),
    _balance("transferred_out", "Units that left for other locations; above zero."),
    _balance(
        "change",
        "received + transferred_in + adjusted - issued - transferred_out: on hand's change.",
    ),
    Column(
        "closing", "numeric(30,6)", "Units on hand at the end of the day: all changes up to it."
    ),
    Column("movements", "bigint", "How many movements took effect on the day."),
)
_MOVEMENT: Final = (
    Column("position", "bigint", "The event's position in the log; unique."),
    Column("product_id", "bigint", "The product, in dim_product."),
    Column("location_id", "bigint", "The location at which it was recorded, in dim_location."),
    Column("type", "text", "The event's type, such as StockReceived."),
    Column("from_account", "text", "The account that gave: supplier, unrestricted, quarantine, "
           "in_transit, customer, adjustment or loss."),
    Column("from_location_id", "bigint", "The location of that account."),
    Column("to_account", "text", "The account that got, one of the same seven."),
    Column("to_location_id", "bigint", "The location of that account."),
    Column("quantity", "numeric(18,6)", "Units moved, above zero."),
    _balance("from_balance", "What was left in the giving account when it was recorded."),
    _balance("to_balance", "What was in the getting account when it was recorded."),
    Column("effective_at", "timestamp with time zone", "When it happened in the world."),
    Column("recorded_at", "timestamp with time zone", "When the ledger recorded it."),
    Column("reverses", "bigint", "The position of the movement that it undoes; null for none."),
)  # fmt: skip
_SALES: Final = (
    *_ITEM,
    Column("day", "date", "The business day, in the location's time zone."),
    _balance("units_sold", "Units that went to customers, net of what was undone."),
    Column("revenue", "numeric(38,12)", "What those of them that had a price were sold for, in "
           "the books' currency, to the last digit."),
    _balance("unpriced_sold", "Units among units_sold whose issue said no price."),
    _balance("units_returned", "Units that customers brought back."),
    Column("refunded", "numeric(38,12)", "What those of them that had a price were given back for; "
           "above zero."),
    _balance("unpriced_returned", "Units among units_returned that came without a price."),
)  # fmt: skip
_DEMAND: Final = (
    Column("product_id", "bigint", "The product, in dim_product."),
    Column("day", "date", "The day."),
    Column(
        "quantity",
        "numeric(30,6)",
        "Units that customers wanted, as imported history told. A week's or a month's quantity is "
        "spread over its days in whole units of the product's scale, its first days having one "
        "more where that does not come out even.",
    ),
)
_EVENT: Final = (
    Column("position", "bigint", "Its place in the tenant's log: 1, 2, 3 and so on, no gap."),
    Column("stream", "text", "What it is about, such as stock-7-1 or order-1042."),
    Column("version", "bigint", "Its place in its stream, from 1."),
    Column("type", "text", "What happened, such as StockReceived; docs/reference/events.md."),
    Column("schema_version", "smallint", "The version of the type that data is in."),
    Column("effective_at", "timestamp with time zone", "When it happened in the world."),
    Column("recorded_at", "timestamp with time zone", "When the ledger recorded it."),
    Column("source", "text", "Through what it came: the API, an import, the command line."),
    Column("actor", "text", "Who asked for it, by id."),
    Column("correlation_id", "text", "The request that it came with."),
    Column("data", "json", "What it says, as it was stored. Decimals are strings; what is personal "
           "is sealed."),
)  # fmt: skip

FACTS: Final = (
    View(
        "stock_level",
        "Stock at the position, one row a product and location: the balances of its seven "
        "accounts, which add up to zero over all locations, and what is reserved.",
        (STAR,),
        _LEVEL,
        "SELECT "
        + listed(_LEVEL, "l")
        .replace("l.on_hand", "(l.unrestricted + l.quarantine)::numeric(30,6) AS on_hand")
        .replace("l.available", "(l.unrestricted - l.reserved)::numeric(30,6) AS available")
        + " FROM projections.star_stock_level l WHERE l.tenant_id = {tenant}",
    ),
    View(
        "stock_reservation",
        "Open holds on stock, one row each.",
        (STAR,),
        _RESERVATION,
        f"SELECT {listed(_RESERVATION, 'r')} FROM projections.star_reservation r"
        " WHERE r.tenant_id = {tenant}",
    ),
    View(
        "stock_by_day",
        "Stock by business day, one row a product, location and day with movements. On a day "
        "without a row the closing is that of the last day before it.",
        (STOCK_BY_DAY,),
        _DAY,
        "SELECT "
        + listed(_DAY, "d").replace(
            "d.closing",
            "(sum(d.change) OVER (PARTITION BY d.product_id, d.location_id ORDER BY d.day)"
            ")::numeric(30,6) AS closing",
        )
        + " FROM projections.stock_by_day d WHERE d.tenant_id = {tenant}",
    ),
    View(
        "movement",
        "Movements, one row each: so many units from one account to another.",
        (),
        _MOVEMENT,
        f"SELECT {listed(_MOVEMENT, 'm')} FROM projections.movement m"
        " WHERE m.tenant_id = {tenant} AND m.position <= {position}",
    ),
    View(
        "sales_by_day",
        "Sales by business day, one row a product, location and day, net of what was undone.",
        (SALES,),
        _SALES,
        "SELECT "
        + listed(_SALES, "d")
        .replace("d.revenue", "d.revenue::numeric(38,12)")
        .replace("d.refunded", "d.refunded::numeric(38,12)")
        + " FROM projections.sales_day d WHERE d.tenant_id = {tenant}",
    ),
    View(
        "demand_by_day",
        "Demand by day, one row a product and day that history was imported for.",
        (DEMAND, STAR),
        _DEMAND,
        """
        SELECT told.product_id, told.starts_on + n.number AS day,
               (sum(
                   div(told.units, told.days)
                   + CASE WHEN n.number < mod(told.units, told.days) THEN 1 ELSE 0 END
               ) / told.one)::numeric(30,6) AS quantity
        FROM (
            SELECT d.product_id, d.starts_on, 10::numeric ^ p.scale AS one,
                   CASE d.period WHEN 'day' THEN 1 WHEN 'week' THEN 7
                       ELSE extract(day FROM d.starts_on + interval '1 month - 1 day')::integer
                   END AS days,
                   sum(d.quantity) * (10::numeric ^ p.scale) AS units
            FROM projections.demand d
            JOIN projections.star_product p
                ON p.tenant_id = d.tenant_id AND p.product_id = d.product_id
            WHERE d.tenant_id = {tenant}
            GROUP BY d.product_id, d.starts_on, d.period, p.scale
        ) told
        CROSS JOIN LATERAL generate_series(0, told.days - 1) AS n (number)
        GROUP BY told.product_id, told.starts_on + n.number, told.one
        HAVING sum(
            div(told.units, told.days)
            + CASE WHEN n.number < mod(told.units, told.days) THEN 1 ELSE 0 END
        ) <> 0
        """,
    ),
    View(
        "event",
        "The log itself, one row an event, up to the position.",
        (),
        _EVENT,
        "SELECT "
        + listed(_EVENT, "e")
        .replace("e.source", "e.meta ->> 'source' AS source")
        .replace("e.actor", "e.meta ->> 'actor' AS actor")
        .replace("e.correlation_id", "e.meta ->> 'correlation_id' AS correlation_id")
        + " FROM ledger.event e WHERE e.tenant_id = {tenant} AND e.position <= {position}",
    ),
)
