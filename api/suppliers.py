"""Suppliers (seed 003, "Suppliers & Purchase Orders")."""

from collections.abc import Sequence
from typing import Any

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.products import cursor_id
from api.query import LIMIT, MIN_POSITION, PAGE, Parameter
from api.reads import answer, contains, next_cursor, path_id, reading
from api.reply import Reply
from api.writes import commit, json_body, made, rendered
from ledger.submission import Outcome, Rendered
from schemas.http_catalogue import (
    SupplierCreatedReply,
    SupplierReply,
    SupplierRow,
    SuppliersReply,
)
from schemas.http_common import MessageReply
from schemas.supplier import RegisterSupplier, ReviseSupplier, SupplierRegistered

routes = Routes("Suppliers")

_BODY = BodyDecoder(RegisterSupplier)

_LIST_PARAMETERS = (
    Parameter("search", "string", "Text within the name or the code, ignoring case", maximum=200),
    PAGE,
    LIMIT,
    Parameter("cursor", "string", "Continue behind next_cursor, in place of page", maximum=20),
    MIN_POSITION,
)

_WHERE = "s.tenant_id = $1 AND ($2::text IS NULL OR s.name ILIKE $2 OR s.code ILIKE $2)"

_PRODUCT_COUNT = """
    (SELECT count(*) FROM projections.product p
     WHERE p.tenant_id = $1 AND p.supplier_id = s.supplier_id AND NOT p.is_discontinued)
        AS product_count
"""

_LIST = f"""
SELECT s.*, {_PRODUCT_COUNT}
FROM projections.supplier s
WHERE {_WHERE} AND s.supplier_id > $3
ORDER BY s.supplier_id LIMIT $4 OFFSET $5
"""

_COUNT = f"SELECT count(*) FROM projections.supplier s WHERE {_WHERE}"

_ONE = f"""
SELECT s.*, {_PRODUCT_COUNT}
FROM projections.supplier s
WHERE s.tenant_id = $1 AND s.supplier_id = $2
"""


@routes.add(
    "GET",
    "/api/suppliers",
    "List suppliers",
    parameters=_LIST_PARAMETERS,
    replies={200: SuppliersReply},
    problems=("not_yet",),
)
async def list_suppliers(call: Call) -> Reply:
    """Suppliers of the tenant in the order of their ids, with how many products name each."""
    values = query(call, _LIST_PARAMETERS)
    page, limit, after = values["page"], values["limit"], cursor_id(values["cursor"])
    search = None if values["search"] is None else contains(values["search"])
    offset = 0 if after else (page - 1) * limit
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id, search, after, limit, offset)
        total = await read.connection.fetchval(_COUNT, read.tenant_id, search) or 0
    suppliers = [SupplierRow(**_fields(row)) for row in rows]
    last = str(suppliers[-1].id) if suppliers else ""
    reply = SuppliersReply(
        suppliers=suppliers,
        total=total,
        page=page,
        limit=limit,
        next_cursor=next_cursor(suppliers, limit, last),
    )
    return answer(reply, read.position)


def _fields(row: Any) -> dict[str, Any]:
    names = (
        "name",
        "code",
        "email",
        "phone",
        "payment_terms",
        "lead_time_days",
        "product_count",
        "created_at",
    )
    return {"id": row["supplier_id"], **{name: row[name] for name in names}}


@routes.add(
    "GET",
    "/api/suppliers/{id}",
    "Get a supplier",
    parameters=(MIN_POSITION,),
    replies={200: SupplierReply},
    problems=("supplier_not_found", "not_yet"),
)
async def get_supplier(call: Call) -> Reply:
    """One supplier. ETag is the version that If-Match takes."""
    supplier_id = path_id(call, code="supplier_not_found")
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        row = await read.connection.fetchrow(_ONE, read.tenant_id, supplier_id)
    if row is None:
        raise Problem("supplier_not_found", f"There is no supplier with id {supplier_id}.")
    reply = SupplierReply(**_fields(row), version=row["version"])
    return answer(reply, read.position, [(b"etag", b'"%d"' % reply.version)])


@routes.add(
    "POST",
    "/api/suppliers",
    "Create a supplier",
    role="manager",
    scope="write",
    body=RegisterSupplier,
    replies={201: SupplierCreatedReply},
    problems=("supplier_code_taken",),
    commits=True,
)
async def create_supplier(call: Call) -> Reply:
    """Register a supplier. Its id is counted per tenant."""
    body = await json_body(call)
    command = _BODY.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, SupplierRegistered)
        return rendered(
            201,
            SupplierCreatedReply(
                id=event.supplier_id,
                name=event.name,
                code=event.code,
                email=event.email,
                phone=event.phone,
                payment_terms=event.payment_terms,
                lead_time_days=event.lead_time_days,
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "PUT",
    "/api/suppliers/{id}",
    "Update a supplier",
    role="manager",
    scope="write",
    body=RegisterSupplier,
    replies={200: MessageReply},
    problems=("supplier_not_found", "supplier_code_taken"),
    commits=True,
    conditional=True,
)
async def update_supplier(call: Call) -> Reply:
    """Replace all that is said of a supplier; what the body leaves out goes to its default."""
    supplier_id = path_id(call, code="supplier_not_found")
    body = await json_body(call)
    fields = {**msgspec.structs.asdict(_BODY.decode(body)), "supplier_id": supplier_id}
    return await commit(
        call,
        body,
        [made(ReviseSupplier, fields)],
        lambda outcomes: rendered(200, MessageReply(message="Supplier updated")),
        conditional=True,
    )
