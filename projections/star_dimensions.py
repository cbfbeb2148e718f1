"""The views for analysts that facts are told apart by: products, places, customers, suppliers."""

from typing import Final

from projections.star_view import STAR, Column, View, listed

_STATED: Final = (
    Column("created_at", "timestamp with time zone", "When it was first recorded."),
    Column("revised_at", "timestamp with time zone", "When it was last changed."),
    Column("position", "bigint", "The event that said it last."),
)

_CATEGORY: Final = (
    Column("category_id", "bigint", "The category's id."),
    Column("name", "text", "Its name."),
    Column("parent_id", "bigint", "The category that it is in; null for one at the top."),
    *_STATED,
)
_LOCATION: Final = (
    Column("location_id", "bigint", "The location's id: a warehouse or a store."),
    Column("name", "text", "Its name."),
    Column("code", "text", "Its code, which is unique."),
    Column("city", "text", "The city of its address."),
    Column("state", "text", "The state or region of its address."),
    Column("postcode", "text", "The postcode of its address."),
    Column("country", "text", "The country of its address."),
    Column("time_zone", "text", "The zone that its business days are in (IANA name)."),
    Column("is_default", "boolean", "Whether it is meant where none is named."),
    Column(
        "stock_limit",
        "numeric(18,6)",
        "How far available stock may fall here, in units: zero, or below it.",
    ),
    Column("is_active", "boolean", "Whether goods may still come and go."),
    *_STATED,
)
_SUPPLIER: Final = (
    Column("supplier_id", "bigint", "The supplier's id."),
    Column("name", "text", "Its name."),
    Column("code", "text", "Its code; null where it has none."),
    Column("payment_terms", "text", "The terms of payment, as they were put in."),
    Column("lead_time_days", "integer", "Days from order to receipt, as the supplier says."),
    *_STATED,
)
_CUSTOMER: Final = (
    Column("customer_id", "bigint", "The customer's id. Nothing here says who that is."),
    Column("customer_type", "text", "retail, wholesale or b2b."),
    Column("price_tier_id", "bigint", "The price tier that prices its orders; null for none."),
    *_STATED,
)
_PRODUCT: Final = (
    Column("product_id", "bigint", "The product's id: each variation is a product."),
    Column("sku", "text", "Its stock keeping unit as it is now; ids never change, SKUs may."),
    Column("name", "text", "Its name."),
    Column("barcode", "text", "Its barcode; null where it has none."),
    Column("vendor", "text", "Its brand or maker, as put in."),
    Column("category_id", "bigint", "Its category, in dim_category."),
    Column("category", "text", "The name of its category."),
    Column("supplier_id", "bigint", "Whom it is bought from, in dim_supplier."),
    Column("tracking_type", "text", "none, lot or serial: what its units are told apart by."),
    Column("unit", "text", "What one of it is: the unit of all its quantities."),
    Column("scale", "smallint", "How many digits behind the point its quantities may have."),
    Column("base_price", "numeric(18,6)", "List price of one unit, in the books' currency."),
    Column("cost_price", "numeric(18,6)", "What one unit is said to cost; null if not said."),
    Column("compare_at_price", "numeric(18,6)", "A former or recommended price of one unit."),
    Column("weight", "numeric(18,6)", "What one unit weighs, as put in."),
    Column("reorder_level", "numeric(18,6)", "Below so many units it is to be reordered."),
    Column("variant_of", "bigint", "The product that it is a variant of; null for none."),
    Column("taxable", "boolean", "Whether its sale is taxed."),
    Column("requires_shipping", "boolean", "Whether it has to be sent."),
    Column("backorders", "boolean", "Whether orders may take more than is available."),
    Column("is_active", "boolean", "Whether it is sold."),
    Column("is_discontinued", "boolean", "Whether it was taken out of the catalogue for good."),
    *_STATED,
)

DIMENSIONS: Final = (
    View(
        "dim_category",
        "Categories of products, one row each.",
        (STAR,),
        _CATEGORY,
        f"SELECT {listed(_CATEGORY, 'c')} FROM projections.star_category c"
        " WHERE c.tenant_id = {tenant}",
    ),
    View(
        "dim_customer",
        "Customers, one row each, without anything that says who they are.",
        (STAR,),
        _CUSTOMER,
        f"SELECT {listed(_CUSTOMER, 'c')} FROM projections.star_customer c"
        " WHERE c.tenant_id = {tenant}",
    ),
    View(
        "dim_location",
        "Locations where stock is kept, one row each.",
        (STAR,),
        _LOCATION,
        f"SELECT {listed(_LOCATION, 'l')} FROM projections.star_location l"
        " WHERE l.tenant_id = {tenant}",
    ),
    View(
        "dim_product",
        "Products, one row each, as they are said to be at the position. Discontinued ones stay.",
        (STAR,),
        _PRODUCT,
        "SELECT "
        + listed(_PRODUCT, "p").replace("p.category,", "c.name AS category,")
        + """
        FROM projections.star_product p
        LEFT JOIN projections.star_category c
            ON c.tenant_id = p.tenant_id AND c.category_id = p.category_id
        WHERE p.tenant_id = {tenant}
        """,
    ),
    View(
        "dim_supplier",
        "Suppliers, one row each.",
        (STAR,),
        _SUPPLIER,
        f"SELECT {listed(_SUPPLIER, 's')} FROM projections.star_supplier s"
        " WHERE s.tenant_id = {tenant}",
    ),
)
