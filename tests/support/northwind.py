"""A small company in Northwind's files, for tests that need no real input."""

from pathlib import Path

FILES = {
    "categories": """\
category_id,category_name,description
1,Beverages,Soft drinks
2,Condiments,Sauces
""",
    "suppliers": """\
supplier_id,company_name,phone
1,Exotic Liquids,(171) 555-2222
2,Grandma Kelly's,(313) 555-5735
""",
    "products": """\
product_id,product_name,supplier_id,category_id,quantity_per_unit,unit_price,units_in_stock,\
units_on_order,reorder_level,discontinued
1,Chai,1,1,10 boxes,18,39,0,10,0
2,Chang,1,1,24 bottles,19,17,40,25,0
3,Spread,2,2,12 jars,25,0,0,25,1
""",
    "customers": """\
customer_id,company_name,contact_name,address,city,region,postal_code,country,phone
ALFKI,Alfreds Futterkiste,Maria Anders,Obere Str. 57,Berlin,,12209,Germany,030-0074321
BERGS,Berglunds snabbköp,Christina Berglund,Berguvsvägen 8,Luleå,,S-958 22,Sweden,0921-12 34 65
""",
    "orders": """\
order_id,customer_id,order_date,shipped_date,ship_name,ship_address,ship_city,ship_region,\
ship_postal_code,ship_country
10248,ALFKI,1996-07-30,1996-08-02,Alfreds,Obere Str. 57,Berlin,,12209,Germany
10249,BERGS,1996-07-31,1996-07-31,Berglunds,Berguvsvägen 8,Luleå,,S-958 22,Sweden
10250,ALFKI,1996-08-10,1996-08-14,Alfreds,Obere Str. 57,Berlin,,12209,Germany
10251,BERGS,1996-08-13,,Berglunds,Berguvsvägen 8,Luleå,,S-958 22,Sweden
10252,BERGS,1996-08-14,,Berglunds,Berguvsvägen 8,Luleå,,S-958 22,Sweden
""",
    "order_details": """\
order_id,product_id,unit_price,quantity,discount
10248,1,14.4,12,0
10248,3,20,5,0.05
10249,2,15.2,9,0
10249,1,14.4,1,0.25
10250,1,18,40,0.15
10251,3,25,7,0
10252,2,19,2,0
""",
}


def write_northwind(folder: Path, **changed: str) -> Path:
    """Write the files into a new folder, with some of them as given; return the folder."""
    folder.mkdir()
    for name, content in {**FILES, **changed}.items():
        (folder / f"{name}.csv").write_text(content, encoding="utf-8")
    return folder
