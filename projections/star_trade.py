"""The views for analysts that tell of trade: sales orders and purchase orders, and their lines."""

from typing import Final

from projections.star_view import STAR, Column, View, listed


def _quantity(name: str, about: str) -> Column:
    return Column(name, "numeric(18,6)", about)


def _time(name: str, about: str) -> Column:
    return Column(name, "timestamp with time zone", about)


_ORDER: Final = (
    Column("order_id", "bigint", "The order's id."),
    Column("order_number", "text", "The number that it goes by."),
    Column("customer_id", "bigint", "Who ordered, in dim_customer; null where not said."),
    Column("status", "text", "pending, paid, fulfilling, fulfilled, shipped or cancelled."),
    Column("channel", "text", "Where it came from: manual, api, pos or b2b."),
    Column("allocation", "text", "How locations were chosen: named, default, most_stock or split."),
    Column("location_id", "bigint", "The location it was placed at; null where it has none."),
    Column("total_amount", "numeric(30,12)", "What was ordered, quantity times price, in the "
           "books' currency, to the last digit."),
    Column("cancelled_amount", "numeric(30,12)", "What was cancelled of it since; above zero."),
    Column("item_count", "integer", "How many lines it has."),
    _time("ordered_at", "When it was placed, in the world."),
    _time("recorded_at", "When the ledger recorded it."),
    Column("version", "bigint", "How many events have happened to it."),
    Column("position", "bigint", "The last of them."),
)  # fmt: skip
_ORDER_LINE: Final = (
    Column("order_id", "bigint", "The order, in sales_order."),
    Column("order_item_id", "bigint", "The line's id: the order's, times 1000, and its number."),
    Column("product_id", "bigint", "The product, in dim_product."),
    _quantity("ordered", "Units ordered: open + reserved + fulfilled + cancelled."),
    _quantity("open", "Units that are backordered: nothing is claimed for them yet."),
    _quantity("reserved", "Units that are claimed and have not gone out."),
    _quantity("fulfilled", "Units that went out, returned ones among them."),
    _quantity("cancelled", "Units that were cancelled."),
    _quantity("returned", "Units that came back of those fulfilled."),
    _quantity("unit_price", "Price of one unit, in the books' currency."),
    Column(
        "price_source", "text", "What said the price: given by the client, tier, listing or list."
    ),
)
_FULFILMENT: Final = (
    Column("order_id", "bigint", "The order, in sales_order."),
    Column("fulfilment", "integer", "The number of the fulfilment in its order, from 1."),
    Column("is_cancelled", "boolean", "Whether it was taken back: the goods never left."),
    _time("fulfilled_at", "When the goods went out, in the world."),
    _time("recorded_at", "When the ledger recorded it."),
    Column("position", "bigint", "The event that says so."),
)
_FULFILMENT_LINE: Final = (
    Column("order_id", "bigint", "The order, in sales_order."),
    Column("fulfilment", "integer", "The fulfilment, in fulfilment."),
    Column("line", "bigint", "The number of the line in its fulfilment, from 0."),
    Column("order_item_id", "bigint", "The order's line, in sales_order_line."),
    Column("product_id", "bigint", "The product, in dim_product."),
    Column("location_id", "bigint", "Where the goods went out, in dim_location."),
    _quantity("quantity", "Units that went out, above zero."),
    Column("is_cancelled", "boolean", "Whether the fulfilment was taken back."),
    _time("fulfilled_at", "When the goods went out, in the world."),
)
_RETURN_LINE: Final = (
    Column("order_id", "bigint", "The order, in sales_order."),
    Column("return_number", "integer", "The number of the return in its order, from 1."),
    Column("line", "bigint", "The number of the line in its return, from 0."),
    Column("order_item_id", "bigint", "The order's line, in sales_order_line."),
    Column("product_id", "bigint", "The product, in dim_product."),
    Column("location_id", "bigint", "Where the goods came in, in dim_location."),
    _quantity("quantity", "Units that came back, above zero."),
    Column("fulfilment", "integer", "The fulfilment that they had gone out in."),
    Column("disposition", "text", "Where they went: quarantine or restock."),
    _time("returned_at", "When they came back, in the world."),
    _time("recorded_at", "When the ledger recorded it."),
    Column("position", "bigint", "The event that says so."),
)
_PURCHASE: Final = (
    Column("purchase_order_id", "bigint", "The purchase order's id."),
    Column("po_number", "text", "The number that it goes by."),
    Column("supplier_id", "bigint", "Whom it is ordered from, in dim_supplier."),
    Column("location_id", "bigint", "Where it is to come in, in dim_location."),
    Column("status", "text", "draft, sent, partial, received, closed or cancelled."),
    Column("total_amount", "numeric(30,12)", "What was ordered, quantity times cost, in the "
           "books' currency, to the last digit."),
    _quantity("tolerance_percent", "By how much more than ordered may come in, in percent."),
    Column("expected_date", "date", "When it is expected; null where not said."),
    _time("ordered_at", "When it was made, in the world."),
    _time("recorded_at", "When the ledger recorded it."),
    Column("version", "bigint", "How many events have happened to it."),
    Column("position", "bigint", "The last of them."),
)  # fmt: skip
_PURCHASE_LINE: Final = (
    Column("purchase_order_id", "bigint", "The purchase order, in purchase_order."),
    Column("line_id", "bigint", "The line's id."),
    Column("product_id", "bigint", "The product, in dim_product."),
    Column("location_id", "bigint", "Where it is to come in, in dim_location."),
    _quantity("ordered", "Units ordered."),
    Column("received", "numeric(30,6)", "Units that came in; may be more than were ordered."),
    Column("returned", "numeric(30,6)", "Units that went back to the supplier since."),
    _quantity("outstanding", "Units still to come: ordered less received, never below zero."),
    _quantity("incoming", "Units on their way: those outstanding of a sent or partial order."),
    _quantity("unit_cost", "Cost of one unit as ordered, in the books' currency."),
)
_RECEIPT_LINE: Final = (
    Column("purchase_order_id", "bigint", "The purchase order, in purchase_order."),
    Column("receipt", "integer", "The number of the receipt in its order, from 1."),
    Column("line", "bigint", "The number of the line in its receipt, from 0."),
    Column("line_id", "bigint", "The order's line, in purchase_order_line."),
    Column("product_id", "bigint", "The product, in dim_product."),
    _quantity("quantity", "Units that came in, above zero."),
    _quantity("unit_cost", "What one of them cost, in the books' currency."),
    _time("received_at", "When they came in, in the world."),
    _time("recorded_at", "When the ledger recorded it."),
    Column("position", "bigint", "The event that says so."),
)
_PURCHASE_RETURN_LINE: Final = (
    Column("purchase_order_id", "bigint", "The purchase order, in purchase_order."),
    Column("return_number", "integer", "The number of the return in its order, from 1."),
    Column("line", "bigint", "The number of the line in its return, from 0."),
    Column("line_id", "bigint", "The order's line, in purchase_order_line."),
    Column("product_id", "bigint", "The product, in dim_product."),
    _quantity("quantity", "Units that went back to the supplier, above zero."),
    _quantity("unit_cost", "What one of them cost, in the books' currency."),
    _time("returned_at", "When they went back, in the world."),
    _time("recorded_at", "When the ledger recorded it."),
    Column("position", "bigint", "The event that says so."),
)

_CASTS: Final = {
    "order_item_id": "bigint",
    "line_id": "bigint",
    "product_id": "bigint",
    "location_id": "bigint",
    "quantity": "numeric(18,6)",
    "unit_cost": "numeric(18,6)",
}


def _lines(table: str, columns: tuple[Column, ...], own: tuple[str, ...] = ()) -> str:
    """Return the query of a table's lines, which are kept as JSON: its numbers are text there.

    ``own`` are further columns of a line, each with its cast.
    """
    casts = _CASTS | dict(each.split(" ", 1) for each in own)
    picked: list[str] = []
    for column in columns:
        if column.name == "line":
            picked.append("l.number - 1 AS line")
        elif column.name in casts:
            picked.append(f"(l.line ->> '{column.name}')::{casts[column.name]} AS {column.name}")
        else:
            picked.append(f"h.{column.name}")
    return f"""
        SELECT {", ".join(picked)}
        FROM projections.{table} h
        CROSS JOIN LATERAL jsonb_array_elements(h.lines) WITH ORDINALITY AS l (line, number)
        WHERE h.tenant_id = {{tenant}}
    """


def _table(table: str, columns: tuple[Column, ...]) -> str:
    return (
        f"SELECT {listed(columns, 't')} FROM projections.{table} t WHERE t.tenant_id = {{tenant}}"
    )


_ON: Final = (STAR,)

TRADE: Final = (
    View(
        "sales_order", "Sales orders, one row each.", _ON, _ORDER,
        _table("star_sales_order", _ORDER),
    ),
    View(
        "sales_order_line", "Lines of sales orders, one row each.", _ON, _ORDER_LINE,
        _table("star_order_line", _ORDER_LINE),
    ),
    View(
        "fulfilment", "Fulfilments of sales orders, one row each.", _ON, _FULFILMENT,
        _table("star_order_fulfilment", _FULFILMENT),
    ),
    View(
        "fulfilment_line", "What went out in a fulfilment, one row a line and location.",
        _ON, _FULFILMENT_LINE, _lines("star_order_fulfilment", _FULFILMENT_LINE),
    ),
    View(
        "sales_return_line", "What customers brought back, one row a line and location.",
        _ON, _RETURN_LINE, _lines("star_order_return", _RETURN_LINE, ("fulfilment integer",)),
    ),
    View(
        "purchase_order", "Purchase orders, one row each.", _ON, _PURCHASE,
        _table("star_purchase_order", _PURCHASE),
    ),
    View(
        "purchase_order_line", "Lines of purchase orders, one row each.", _ON, _PURCHASE_LINE,
        _table("star_purchase_line", _PURCHASE_LINE),
    ),
    View(
        "purchase_receipt_line", "What came in of a purchase order, one row a line of a receipt.",
        _ON, _RECEIPT_LINE, _lines("star_purchase_receipt", _RECEIPT_LINE),
    ),
    View(
        "purchase_return_line", "What went back to a supplier, one row a line of a return.",
        _ON, _PURCHASE_RETURN_LINE, _lines("star_purchase_return", _PURCHASE_RETURN_LINE),
    ),
)  # fmt: skip
