"""Categories of products (seed 003, "Products")."""

from collections.abc import Sequence

import msgspec

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.query import MIN_POSITION
from api.reads import answer, path_id, reading
from api.reply import Reply
from api.writes import commit, json_body, made, rendered
from ledger.submission import Outcome, Rendered
from schemas.category import CategoryDefined, DefineCategory, ReviseCategory
from schemas.http_catalogue import CategoriesReply, CategoryCreatedReply, CategoryRow
from schemas.http_common import MessageReply

routes = Routes("Products")

_BODY = BodyDecoder(DefineCategory)

_LIST = """
SELECT c.category_id, c.name, c.parent_id, c.created_at, c.version,
       coalesce(p.product_count, 0) AS product_count
FROM projections.category c
LEFT JOIN (
    SELECT category_id, count(*) AS product_count FROM projections.product
    WHERE tenant_id = $1 AND category_id IS NOT NULL AND NOT is_discontinued
    GROUP BY category_id
) p ON p.category_id = c.category_id
WHERE c.tenant_id = $1
ORDER BY c.category_id
"""


@routes.add(
    "GET",
    "/api/products/categories",
    "List categories",
    parameters=(MIN_POSITION,),
    replies={200: CategoriesReply},
    problems=("not_yet",),
)
async def list_categories(call: Call) -> Reply:
    """All categories of the tenant, each with the one it stands under; product_count has the
    products in the category itself, as the products' category filter finds them."""
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        rows = await read.connection.fetch(_LIST, read.tenant_id)
    categories = [
        CategoryRow(
            id=row["category_id"],
            name=row["name"],
            parent_id=row["parent_id"],
            product_count=row["product_count"],
            created_at=row["created_at"],
            version=row["version"],
        )
        for row in rows
    ]
    return answer(CategoriesReply(categories=categories), read.position)


@routes.add(
    "POST",
    "/api/products/categories",
    "Create a category",
    role="manager",
    scope="write",
    body=DefineCategory,
    replies={201: CategoryCreatedReply},
    problems=("category_not_found", "category_name_taken", "category_too_deep"),
    commits=True,
)
async def create_category(call: Call) -> Reply:
    """Define a category, at the top or under another. Names are unique under one parent."""
    body = await json_body(call)
    command = _BODY.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, CategoryDefined)
        return rendered(
            201,
            CategoryCreatedReply(
                id=event.category_id,
                name=event.name,
                parent_id=event.parent_id,
                created_at=recorded.recorded_at,
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "PUT",
    "/api/products/categories/{id}",
    "Update a category",
    role="manager",
    scope="write",
    body=DefineCategory,
    replies={200: MessageReply},
    problems=(
        "category_not_found",
        "category_name_taken",
        "category_too_deep",
        "category_under_itself",
    ),
    commits=True,
    conditional=True,
)
async def update_category(call: Call) -> Reply:
    """Rename a category and put it under parent_id, or at the top without one, with all that
    stands under it; never under itself. If-Match takes its version in the list."""
    category_id = path_id(call, code="category_not_found")
    body = await json_body(call)
    fields = {**msgspec.structs.asdict(_BODY.decode(body)), "category_id": category_id}
    return await commit(
        call,
        body,
        [made(ReviseCategory, fields)],
        lambda outcomes: rendered(200, MessageReply(message="Category updated")),
        conditional=True,
    )
