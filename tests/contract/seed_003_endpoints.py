"""The endpoints of seed 003 (003_261f802407a223b4.txt) as data: to whom, with what, proved where.

``python -m tests.contract.seed_003_page`` makes docs/reference/seed-003.md of it.
"""

from typing import Any, Final, Literal, NamedTuple

Access = Literal["public", "user", "manager", "admin", "admin user", "key read", "key write"]
HERE: Final = "tests/contract/test_seed_003"
SAID: Final[dict[Access, str]] = {
    "public": "anyone",
    "user": "any user; a key",
    "manager": "Admin / Manager; a key with write",
    "admin": "Admin; a key with write",
    "admin user": "Admin, signed in",
    "key read": "a key with read",
    "key write": "a key with write",
}


def proof_path(proof: str) -> str:
    """Return a test as pytest names it: one of test_seed_003*.py by its ending, another whole."""
    return proof if proof.startswith("tests/") else f"{HERE}{proof}"


class Of(NamedTuple):
    """An endpoint as the document has it.

    ``path`` names its parameters as the document does, ``:id``. ``access`` is who may call it:
    where the document says nothing, any user and a key. ``body`` is a body that is well-formed,
    of the document where it has one. ``proofs`` are tests, by their file's ending and name.
    """

    method: str
    path: str
    access: Access
    status: int
    proofs: tuple[str, ...]
    body: Any = None

    @property
    def name(self) -> str:
        """What it is called: its method and path."""
        return f"{self.method} {self.path}"

    @property
    def proof_paths(self) -> list[str]:
        """The tests as pytest names them."""
        return [proof_path(proof) for proof in self.proofs]


_READS = ".py::test_every_read_has_the_documents_fields_and_types"
_EXTERNAL = ".py::test_every_external_read_has_the_documents_fields_and_types"
_KEYS = ".py::test_keys_are_created_and_revoked_as_documented"
_MOVES = ".py::test_adjusting_and_transferring_answer_as_documented"
_THESE = "_endpoints.py::"
ANY = "tests/contract/test_openapi.py::test_every_answer_is_documented_and_none_is_a_server_error"
_REVISED = ".py::test_updating_and_deleting_a_product_answer_as_documented"
_PRODUCT = {"name": "Widget Pro 500", "sku": "WGT-500", "base_price": 49.99, "cost_price": 18.00}
_ITEMS = [{"product_id": 7, "quantity": 3, "unit_price": 49.99}]
_ORDER = {"customer_id": 42, "channel": "api", "items": _ITEMS}

SECTIONS: Final[dict[str, tuple[Of, ...]]] = {
    "Authentication": (
        Of(
            "POST",
            "/api/auth/login",
            "public",
            200,
            (".py::test_signing_in_gives_a_token",),
            {"email": "admin@acme.com", "password": "your-password"},
        ),
    ),
    "Products": (
        Of(
            "GET",
            "/api/products",
            "user",
            200,
            (_READS, ".py::test_lists_are_paged_as_documented"),
        ),
        Of(
            "GET",
            "/api/products/:id",
            "user",
            200,
            (_READS, "_catalogue.py::test_a_product_is_shown_as_documented"),
        ),
        Of(
            "POST",
            "/api/products",
            "manager",
            201,
            (".py::test_creating_a_product_answers_as_documented",),
            _PRODUCT,
        ),
        Of(
            "PUT",
            "/api/products/:id",
            "manager",
            200,
            (_REVISED,),
            _PRODUCT,
        ),
        Of(
            "DELETE",
            "/api/products/:id",
            "admin",
            200,
            (_REVISED,),
        ),
        Of(
            "GET",
            "/api/products/categories",
            "user",
            200,
            ("_catalogue.py::test_categories_are_listed_as_documented",),
        ),
        Of(
            "GET",
            "/api/products/export",
            "user",
            200,
            ("_catalogue.py::test_products_are_exported_with_all_columns",),
        ),
    ),
    "Inventory": (
        Of(
            "GET",
            "/api/inventory",
            "user",
            200,
            (_READS,),
        ),
        Of("GET", "/api/inventory/summary", "user", 200, (_READS,)),
        Of("GET", "/api/inventory/alerts", "user", 200, (_READS,)),
        Of(
            "GET",
            "/api/inventory/movements",
            "user",
            200,
            (_READS,),
        ),
        Of(
            "POST",
            "/api/inventory/adjust",
            "manager",
            200,
            (_MOVES,),
            {"product_id": 7, "warehouse_id": 1, "quantity": 50},
        ),
        Of(
            "POST",
            "/api/inventory/transfer",
            "manager",
            200,
            (_MOVES,),
            {"product_id": 7, "from_warehouse_id": 1, "to_warehouse_id": 2, "quantity": 30},
        ),
    ),
    "Orders": (
        Of(
            "GET",
            "/api/orders",
            "user",
            200,
            ("_orders.py::test_the_list_and_one_order_have_the_documents_fields_and_types",),
        ),
        Of(
            "GET",
            "/api/orders/:id",
            "user",
            200,
            ("_orders.py::test_the_list_and_one_order_have_the_documents_fields_and_types",),
        ),
        Of(
            "POST",
            "/api/orders",
            "user",
            201,
            ("_orders.py::test_creating_an_order_answers_as_documented",),
            _ORDER,
        ),
        Of(
            "PATCH",
            "/api/orders/:id/status",
            "user",
            200,
            ("_orders.py::test_changing_the_status_answers_as_documented",),
            {"status": "shipped"},
        ),
        Of(
            "POST",
            "/api/orders/:id/fulfill",
            "manager",
            200,
            ("_orders.py::test_fulfilling_answers_as_documented",),
            {"items": [{"order_item_id": 1001, "quantity_fulfilled": 1}]},
        ),
        Of(
            "GET",
            "/api/orders/stats",
            "user",
            200,
            ("_orders.py::test_statistics_answer_as_documented",),
        ),
        Of(
            "GET",
            "/api/orders/export",
            "user",
            200,
            ("_orders.py::test_the_export_is_a_csv_attachment",),
        ),
    ),
    "Customers": (
        Of(
            "GET",
            "/api/customers",
            "user",
            200,
            ("_customers.py::test_customers_are_listed_as_documented",),
        ),
        Of(
            "GET",
            "/api/customers/:id",
            "user",
            200,
            ("_customers.py::test_a_customer_is_shown_as_documented",),
        ),
        Of(
            "POST",
            "/api/customers",
            "user",
            201,
            ("_customers.py::test_creating_a_customer_answers_as_documented",),
            {"name": "Acme Corp", "email": "procurement@acme.com", "customer_type": "b2b"},
        ),
        Of(
            "POST",
            "/api/customers/:id/addresses",
            "user",
            201,
            ("_customers.py::test_adding_an_address_answers_as_documented",),
            {
                "type": "shipping",
                "line1": "45 Pitt St",
                "city": "Sydney",
                "state": "NSW",
                "postcode": "2000",
                "country": "AU",
            },
        ),
    ),
    "Suppliers & Purchase Orders": (
        Of(
            "GET",
            "/api/suppliers",
            "user",
            200,
            ("_catalogue.py::test_suppliers_are_listed_as_documented",),
        ),
        Of(
            "POST",
            "/api/suppliers",
            "manager",
            201,
            ("_catalogue.py::test_creating_a_supplier_answers_as_documented",),
            {
                "name": "FastenersPro Pty Ltd",
                "email": "orders@fastenerspro.com.au",
                "payment_terms": "Net 30",
            },
        ),
        Of(
            "GET",
            "/api/suppliers/purchase-orders/all",
            "user",
            200,
            (
                "_purchasing.py::test_purchase_orders_are_listed_as_documented",
                "_purchasing.py::test_the_lists_filters_are_the_documents",
            ),
        ),
        Of(
            "POST",
            "/api/suppliers/purchase-orders",
            "manager",
            201,
            ("_purchasing.py::test_creating_a_purchase_order_answers_as_documented",),
            {
                "supplier_id": 3,
                "warehouse_id": 1,
                "items": [{"product_id": 7, "quantity": 100, "unit_cost": 18.00}],
            },
        ),
        Of(
            "POST",
            "/api/suppliers/purchase-orders/:id/receive",
            "manager",
            200,
            ("_purchasing.py::test_receiving_answers_as_documented_and_increments_inventory",),
            {},
        ),
    ),
    "Warehouses": (
        Of("GET", "/api/warehouses", "user", 200, (_READS,)),
        Of(
            "POST",
            "/api/warehouses",
            "admin",
            201,
            (f"{_THESE}test_creating_a_warehouse_answers_as_documented",),
            {"name": "Brisbane Warehouse", "code": "BNE", "city": "Rocklea", "state": "QLD"},
        ),
    ),
    "Batches / Lots": (
        Of(
            "GET",
            "/api/batches",
            "user",
            200,
            ("_tracking.py::test_batches_are_listed_as_documented",),
        ),
        Of(
            "GET",
            "/api/batches/expiring",
            "user",
            200,
            ("_tracking.py::test_expiring_batches_are_listed_as_documented",),
        ),
        Of(
            "POST",
            "/api/batches",
            "manager",
            201,
            ("_tracking.py::test_creating_a_batch_answers_as_documented",),
            {
                "product_id": 7,
                "batch_number": "BTH-2026-042",
                "expiry_date": "2028-03-01",
                "quantity": 500,
            },
        ),
    ),
    "Serial Numbers": (
        Of(
            "GET",
            "/api/serials",
            "user",
            200,
            ("_tracking.py::test_serial_numbers_are_filtered_as_documented",),
        ),
        Of(
            "POST",
            "/api/serials",
            "manager",
            201,
            ("_tracking.py::test_creating_a_serial_number_answers_as_documented",),
            {"product_id": 31, "warehouse_id": 1, "serial_number": "SN-20260506-0001"},
        ),
        Of(
            "POST",
            "/api/serials/bulk",
            "manager",
            201,
            ("_tracking.py::test_creating_serial_numbers_in_bulk_answers_as_documented",),
            {"product_id": 31, "warehouse_id": 1, "serials": ["SN-1", "SN-2"]},
        ),
    ),
    "Reports": (
        Of(
            "GET",
            "/api/reports/dashboard",
            "user",
            200,
            ("_reports.py::test_every_report_has_the_documents_fields_and_types",),
        ),
        Of(
            "GET",
            "/api/reports/financial",
            "user",
            200,
            ("_reports.py::test_every_report_has_the_documents_fields_and_types",),
        ),
        Of(
            "GET",
            "/api/reports/inventory",
            "user",
            200,
            ("_reports.py::test_every_report_has_the_documents_fields_and_types",),
        ),
        Of(
            "GET",
            "/api/reports/cogs",
            "user",
            200,
            ("_reports.py::test_every_report_has_the_documents_fields_and_types",),
        ),
    ),
    "API Keys": (
        Of("GET", "/api/api-keys", "admin user", 200, (_READS,)),
        Of(
            "POST",
            "/api/api-keys",
            "admin user",
            201,
            (_KEYS,),
            {"name": "Shopify Connector", "permissions": ["read", "write"]},
        ),
        Of("DELETE", "/api/api-keys/:id", "admin user", 200, (_KEYS,)),
        Of(
            "GET",
            "/api/api-keys/logs/all",
            "admin user",
            200,
            (f"{_THESE}test_the_use_of_a_key_is_logged_as_documented",),
        ),
    ),
    "External API": (
        Of("GET", "/api/external/products", "key read", 200, (_EXTERNAL,)),
        Of("GET", "/api/external/products/:sku", "key read", 200, (_EXTERNAL,)),
        Of("GET", "/api/external/inventory", "key read", 200, (_EXTERNAL,)),
        Of(
            "GET",
            "/api/external/orders",
            "key read",
            200,
            ("_orders.py::test_the_external_api_lists_and_creates_as_documented",),
        ),
        Of(
            "POST",
            "/api/external/orders",
            "key write",
            201,
            ("_orders.py::test_the_external_api_lists_and_creates_as_documented",),
            _ORDER,
        ),
        Of(
            "POST",
            "/api/external/inventory/sync",
            "key write",
            200,
            (".py::test_syncing_answers_as_documented",),
            {"inventory": [{"sku": "WGT-500", "warehouse_id": 1, "quantity": 5}]},
        ),
        Of(
            "GET",
            "/api/external/customers",
            "key read",
            200,
            ("_customers.py::test_customers_are_listed_to_keys_as_documented",),
        ),
    ),
}

ENDPOINTS: Final = tuple(endpoint for section in SECTIONS.values() for endpoint in section)


class Status(NamedTuple):
    """A status of the document's table, what it stands for here, and the tests of it."""

    status: int
    meaning: str
    here: str
    proofs: tuple[str, ...]


STATUSES: Final = (
    Status(200, "Success", "as there", (_READS,)),
    Status(201, "Created", "as there", (".py::test_creating_a_product_answers_as_documented",)),
    Status(400, "Bad request", "as there, naming the field; besides, 413, 415 and 422",
           (f"{_THESE}test_a_body_that_is_wrong_is_a_400_that_says_so",)),
    Status(401, "Unauthorized", "as there",
           (f"{_THESE}test_without_valid_credentials_nothing_is_served",)),
    Status(402, "Subscription expired", "never: there are no subscriptions here",
           (f"{_THESE}test_nothing_is_ever_answered_402",)),
    Status(403, "Forbidden", "as there",
           (f"{_THESE}test_a_role_or_a_permission_too_low_is_a_403",)),
    Status(404, "Not found", "as there; also what belongs to another tenant",
           (f"{_THESE}test_what_is_not_there_is_a_404",)),
    Status(409, "Conflict", "as there, and every other refusal of the ledger",
           (f"{_THESE}test_what_is_taken_is_a_409",)),
    Status(500, "Internal server error", "a fault of the service; none is known", (ANY,)),
)  # fmt: skip
