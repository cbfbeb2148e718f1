"""Read the tables that `stockledger export tables` wrote, with DuckDB, pandas and polars.

    python docs/examples/read_files.py FOLDER

Files are opened by the manifest, which says which of them belong together, at which position. It
needs duckdb, pandas with pyarrow, and polars, and nothing of Stockledger's.
"""

import json
import sys
from pathlib import Path

import duckdb
import pandas
import polars

folder = Path(sys.argv[1])
manifest = json.loads((folder / "manifest.json").read_text())


def files(table: str) -> list[str]:
    """Return a table's files."""
    return [str(folder / file["path"]) for file in manifest["tables"][table]["files"]]


print(f"As of position {manifest['position']}")

stock = duckdb.execute(
    """
    SELECT sku, on_hand, available
    FROM read_parquet($stock) JOIN read_parquet($product) USING (product_id) ORDER BY sku
    """,
    {"stock": files("stock_level"), "product": files("dim_product")},
)
print("DuckDB:", stock.fetchall())

# As Arrow's own types decimals stay exact, also when they are added up.
frames = [pandas.read_parquet(file, dtype_backend="pyarrow") for file in files("movement")]
moved = pandas.concat(frames).groupby("type")["quantity"].sum()
print("pandas:", dict(moved))

sold = polars.scan_parquet(files("cogs_by_day")).select("units_sold", "cogs").sum().collect()
print("polars:", sold.rows())
