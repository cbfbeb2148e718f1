"""``python -m tests.contract.seed_003_page`` writes docs/reference/seed-003.md.

The page is the list of ``seed_003_endpoints`` with what was chosen where the document is silent.
"""

from pathlib import Path
from typing import Final

from tests.contract.seed_003_endpoints import (
    ANY,
    ENDPOINTS,
    HERE,
    SAID,
    SECTIONS,
    STATUSES,
    proof_path,
)

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "seed-003.md"

_MOVEMENTS = "../concepts/movements.md"
_ORDERS = "../concepts/orders.md"
_CUSTOMERS = "../concepts/customers.md"
_CATALOGUE = "../concepts/catalogue.md"
_PURCHASING = "../concepts/purchasing.md"
_TRACKING = "../concepts/lots-and-serials.md"
_REPORTS = "../concepts/reports.md"
# By method and path as in the list. The page of the concept says more.
CHOSEN: Final[dict[str, str]] = {
    "POST /api/auth/login": "Failed attempts are [limited](limits.md#access): then 429.",
    "GET /api/products": (
        "`search` finds text [anywhere](../concepts/catalogue.md#finding-and-exporting) in name"
        " and SKU, in any case; so does an export. SKUs are one in any case."
    ),
    "GET /api/products/:id": (
        "Variants are [products of their own](../concepts/catalogue.md#variants); an image's `id`"
        " goes by its place. `quantity` is on hand, quarantined goods included."
    ),
    "POST /api/products": (
        "Digits behind the point of its quantities: as its `scale` says, none unless said."
    ),
    "PUT /api/products/:id": (
        f"What is left out goes to its default; `unit` and `scale` [stay]({_CATALOGUE}#products)."
    ),
    "DELETE /api/products/:id": (
        f"Its [history stays]({_CATALOGUE}#products). Refused (409) while there is stock of it."
    ),
    "GET /api/products/categories": (
        f"`product_count` has the products [in it]({_CATALOGUE}#categories), not those below it."
        " `POST` and `PUT` beside it keep them."
    ),
    "GET /api/products/export": f"[All columns]({_CATALOGUE}#finding-and-exporting).",
    "GET /api/inventory": (
        f"`quantity` is what is [on hand]({_MOVEMENTS}), not what is free to sell: that is"
        " `available_quantity`. `low_stock` is at or below the reorder level."
    ),
    "GET /api/inventory/summary": (
        "Products low at one warehouse at least, and out of stock everywhere; value at"
        " `cost_price`. By another method it is in the [report](../concepts/reports.md#inventory)."
    ),
    "GET /api/inventory/alerts": "A row for each warehouse where it is so.",
    "GET /api/inventory/movements": (
        "`id` is the event's [position](../concepts/log.md). Besides the document's types there"
        " are `quarantine` and `reversal`."
    ),
    "POST /api/inventory/adjust": (
        f"Never [below the warehouse's limit]({_MOVEMENTS}), zero unless it says otherwise: 409."
    ),
    "POST /api/inventory/transfer": (
        f"Both ends in one commit; a journey in two steps has [routes of its own]({_MOVEMENTS})."
    ),
    "GET /api/orders": (
        "Newest first; `from` and `to` are days in"
        f" [the books' zone]({_ORDERS}#lists-and-statistics)."
    ),
    "GET /api/orders/:id": f"A line's [other figures]({_ORDERS}#a-lines-figures) are beside it.",
    "POST /api/orders": (
        f"Where it [reserves, and at which price]({_ORDERS}#placing), where the body does not"
        " say. What is not available is refused, unless the product takes backorders."
    ),
    "PATCH /api/orders/:id/status": (
        f"[Which transitions]({_ORDERS}#statuses) there are; `fulfilled` needs a manager."
    ),
    "POST /api/orders/:id/fulfill": f"Without `items` [all that is reserved]({_ORDERS}#going-out).",
    "GET /api/orders/stats": (
        f"The present month, or `period`; [cancelled orders apart]({_ORDERS}#lists-and-statistics)."
    ),
    "GET /api/orders/export": "The list's filters, all rows.",
    "GET /api/customers": (
        f"`total_spent` is what was [ordered and not cancelled]({_CUSTOMERS}#figures)."
    ),
    "GET /api/customers/:id": f"The same [figures]({_CUSTOMERS}#figures).",
    "POST /api/customers": (
        f"`retail` unless said. [Price tiers]({_CUSTOMERS}#price-tiers) have routes of their own."
    ),
    "POST /api/customers/:id/addresses": (
        f"The first of a type is its [default]({_CUSTOMERS}#addresses)."
    ),
    "GET /api/suppliers": f"`product_count` by [`supplier_id`]({_CATALOGUE}#suppliers).",
    "POST /api/suppliers": f"Its `code` is [unique]({_CATALOGUE}#suppliers).",
    "GET /api/suppliers/purchase-orders/all": (
        f"[Statuses]({_PURCHASING}#statuses), and what leads from one to another."
    ),
    "POST /api/suppliers/purchase-orders": (
        f"Items have `product_id`, `quantity` and [`unit_cost`]({_PURCHASING}#drafting)."
    ),
    "POST /api/suppliers/purchase-orders/:id/receive": (
        "`items` of `purchase_order_item_id` or `product_id`, and `quantity_received`; without"
        f" them [all that is outstanding]({_PURCHASING}#coming-in). A draft is sent by it."
    ),
    "GET /api/warehouses": "`total_value` is at `cost_price`.",
    "POST /api/warehouses": "The first one is the default, until another is made it.",
    "GET /api/batches": (f"`expiring_days` has the expired ones, too. [Lots]({_TRACKING})."),
    "GET /api/batches/expiring": (
        f"Today is [the books' zone's]({_TRACKING}#batches-and-serials-over-http)."
    ),
    "POST /api/batches": (
        f"A `quantity` is [received]({_TRACKING}#batches-and-serials-over-http) at the warehouse"
        " that is named, or at the default one."
    ),
    "GET /api/serials": f"[Move by move]({_TRACKING}#serial-numbers-move-by-move).",
    "POST /api/serials": (
        f"Creating one [receives the unit]({_TRACKING}#batches-and-serials-over-http)."
    ),
    "POST /api/serials/bulk": "All of them or none.",
    "GET /api/reports/dashboard": (
        f"What was [placed today]({_REPORTS}#dashboard), in the books' zone."
    ),
    "GET /api/reports/financial": (
        f"What [went out]({_REPORTS}#financial), by the warehouse's business days."
    ),
    "GET /api/reports/inventory": f"At the end of [`valuation_date`]({_REPORTS}#inventory).",
    "GET /api/reports/cogs": f"Net of [returns]({_REPORTS}#cost-of-goods-sold).",
    "GET /api/api-keys": "Keys and users are kept by signed-in admins, never by keys.",
    "POST /api/api-keys": "One with `expires_at: 2027-01-31` ends when that day does, in UTC.",
    "GET /api/external/products": "Active ones.",
    "POST /api/external/orders": f"Its channel is `api` unless said. [Placing]({_ORDERS}#placing).",
    "POST /api/external/inventory/sync": (
        "The array itself or within `inventory`. The last writer wins, unless an item has"
        " `expected_quantity`. An unknown SKU is skipped, and told of in `errors`."
    ),
}


def page() -> str:
    """Return the page that lists each endpoint with its proofs."""
    lines = [
        "# Seed 003, endpoint by endpoint",
        "",
        "Made by `python -m tests.contract.seed_003_page`; a test holds it to the service.",
        "",
        f"The {len(ENDPOINTS)} endpoints of the inventory API that this service takes over, with",
        "the tests that prove of each that it answers as the document's example does: the same",
        "fields with values of the same types. The service may answer more fields, and takes more.",
        "That each is served under its method and path, to whom the document says, is checked by",
        f"`{HERE}_endpoints.py::test_the_application_serves_it_to_whom_the_document_says`;",
        "that requests of every kind, right and wrong, get an answer that is described, by",
        f"`{ANY}`.",
        "",
        "The base URL is the service's, with `/api` behind it. A token is good for 8 hours, as",
        "there. The prefix of API keys is not the document's but `sl_live_`; a client must not",
        "look into a key. Where the document names no role, any user may, and any key that may",
        "read or write; a higher role may all that a lower one may. All routes take a token and a",
        "key alike, but for those under `/api/external`, which take keys alone, and those of keys",
        "and users, which take a token alone.",
        "",
        "Money is text with two decimals or more and quantities are numbers, as there; both are",
        "exact, and are taken as text and as numbers. What else all routes have in common (paging,",
        "`Idempotency-Key`, `If-Match`, `Ledger-Position`) is in [HTTP](http.md).",
    ]
    for section, endpoints in SECTIONS.items():
        lines += [
            "",
            f"## {section}",
            "",
            "| endpoint | for whom | answers | proved by | where the document is silent |",
            "|---|---|---|---|---|",
        ]
        for each in endpoints:
            proofs = ", ".join(f"`{path}`" for path in each.proof_paths)
            lines.append(
                f"| `{each.method} {each.path}` | {SAID[each.access]} | {each.status} | {proofs} "
                f"| {CHOSEN.get(each.name, '')} |"
            )
    lines += [
        "",
        "## Statuses",
        "",
        "An error is a JSON object with `error`, as there, and with what makes it an RFC 9457",
        "problem besides: see [errors](errors.md).",
        "",
        "| status | there | here | proved by |",
        "|---|---|---|---|",
    ]
    for status in STATUSES:
        proofs = ", ".join(f"`{proof_path(proof)}`" for proof in status.proofs)
        lines.append(f"| {status.status} | {status.meaning} | {status.here} | {proofs} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
