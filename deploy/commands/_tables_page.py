"""The reference page of the views for analysts, as the database's comments tell of them."""

from collections.abc import Sequence
from itertools import groupby

from deploy.commands._pages import MADE, page
from projections.star_views import VIEWS, Described


def tables_page(described: Sequence[Described] | None = None) -> str:
    """Return ``tables.md``: of what was read from a database, else of what one is given."""
    if described is None:
        described = [
            Described(view.name, view.about, *column) for view in VIEWS for column in view.columns
        ]
    lines = [
        "# Tables",
        "",
        MADE,
        "The views of the schema `analysis`, which analysts read with SQL and which are exported",
        "to files: see [for analysts](../guides/analyst.md). The same texts are comments in the",
        "database (`\\d+` in psql). All views show one position of the log,",
        "`SELECT analysis.position()`, in one transaction. Ids join: a column is named alike",
        "wherever it is. Quantities are in the product's unit, and money is in the currency that",
        "the books are kept in; both are exact decimals, and times have their zone.",
    ]
    for view, columns in groupby(described, key=lambda column: (column.view, column.view_about)):
        name, about = view
        lines += [
            "",
            f"## {name}",
            "",
            about or "",
            "",
            "| column | type | what it is |",
            "|---|---|---|",
        ]
        lines += [f"| `{each.name}` | {each.type} | {each.about} |" for each in columns]
    return page(lines)
