"""The books: how stock is valued, which periods are closed, and costs that move no goods."""

from collections.abc import Sequence
from typing import Final

from api.context import Call
from api.decoding import BodyDecoder
from api.endpoint import Routes, query
from api.problems import Problem
from api.query import MIN_POSITION
from api.reads import answer, money, path_id, reading
from api.reply import Reply
from api.tabular import Table
from api.writes import commit, json_body, made, rendered
from ledger.submission import Outcome, Rendered
from projections.books import books_of, chosen_method
from schemas.books import (
    AddLandedCost,
    ChooseValuation,
    ClosePeriod,
    ConfigureBooks,
    LandedCostAdded,
    ReopenPeriod,
    RevalueStock,
    StockRevalued,
)
from schemas.http_books import (
    BooksReply,
    LandedCostReply,
    PeriodReply,
    ProductValuationReply,
    RevaluationReply,
    ValuationChoice,
)
from schemas.http_common import MessageReply

routes = Routes("Books")

_BOOKS: Final = BodyDecoder(ConfigureBooks)
_CHOICE: Final = BodyDecoder(ValuationChoice)
_CLOSE: Final = BodyDecoder(ClosePeriod)
_REOPEN: Final = BodyDecoder(ReopenPeriod)
_LANDED: Final = BodyDecoder(AddLandedCost)
_REVALUATION: Final = BodyDecoder(RevalueStock)

_HAS_PRODUCT: Final = """
SELECT EXISTS (SELECT FROM projections.product WHERE tenant_id = $1 AND product_id = $2)
"""


@routes.add(
    "GET",
    "/api/books",
    "How the books are kept",
    parameters=(MIN_POSITION,),
    replies={200: BooksReply},
    table=Table(),
    problems=("not_yet",),
)
async def show_books(call: Call) -> Reply:
    """The method by which stock is valued, the zone of the books, and what is closed."""
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        books = await books_of(read.connection, read.tenant_id)
    reply = BooksReply(
        valuation_method=books.valuation_method,
        time_zone=books.time_zone,
        closed_through=books.closed_through,
        version=books.version,
    )
    return answer(reply, read.position, [(b"etag", b'"%d"' % books.version)])


@routes.add(
    "PUT",
    "/api/books",
    "Configure the books",
    role="admin",
    scope="write",
    body=ConfigureBooks,
    replies={200: MessageReply},
    problems=("invalid_command", "valuation_method_fixed"),
    commits=True,
    conditional=True,
)
async def configure_books(call: Call) -> Reply:
    """Say by which method stock is valued, and the books' zone; what is left out is the default.

    Another method applies to the whole history, so it is refused while a period is closed.
    """
    body = await json_body(call)
    command = _BOOKS.decode(body)
    return await commit(
        call,
        body,
        [command],
        lambda outcomes: rendered(200, MessageReply(message="Books updated")),
        conditional=True,
    )


@routes.add(
    "GET",
    "/api/books/products/{id}",
    "How a product is valued",
    parameters=(MIN_POSITION,),
    replies={200: ProductValuationReply},
    problems=("product_not_found", "not_yet"),
)
async def show_product_valuation(call: Call) -> Reply:
    """The method that is in force for one product."""
    product_id = path_id(call, code="product_not_found")
    values = query(call, (MIN_POSITION,))
    async with reading(call, values["min_position"]) as read:
        if not await read.connection.fetchval(_HAS_PRODUCT, read.tenant_id, product_id):
            raise Problem(
                "product_not_found", f"There is no product with the id {product_id}; check it."
            )
        books = await books_of(read.connection, read.tenant_id)
        chosen = await chosen_method(read.connection, read.tenant_id, product_id)
    reply = ProductValuationReply(
        product_id=product_id,
        valuation_method=chosen or books.valuation_method,
        chosen=chosen is not None,
    )
    return answer(reply, read.position)


@routes.add(
    "PUT",
    "/api/books/products/{id}",
    "Choose a product's method",
    role="admin",
    scope="write",
    body=ValuationChoice,
    replies={200: MessageReply},
    problems=("product_not_found", "valuation_method_fixed"),
    commits=True,
    conditional=True,
)
async def choose_valuation(call: Call) -> Reply:
    """Value one product by a method of its own; null goes back to that of the books.

    If-Match takes the version of the books, whose method it would go by otherwise.
    """
    product_id = path_id(call, code="product_not_found")
    body = await json_body(call)
    choice = _CHOICE.decode(body)
    command = made(
        ChooseValuation, {"product_id": product_id, "valuation_method": choice.valuation_method}
    )
    return await commit(
        call,
        body,
        [command],
        lambda outcomes: rendered(200, MessageReply(message="Valuation method updated")),
        conditional=True,
    )


@routes.add(
    "POST",
    "/api/books/close",
    "Close a period",
    role="admin",
    scope="write",
    body=ClosePeriod,
    replies={200: PeriodReply},
    problems=("day_not_over", "closed_further"),
    commits=True,
    conditional=True,
)
async def close_period(call: Call) -> Reply:
    """Let nothing be recorded any more that is effective on a business day up to ``through``.

    The day has to be over, in the books' zone and in that of every active warehouse.
    """
    body = await json_body(call)
    command = _CLOSE.decode(body)
    message = f"The books are closed through {command.through.isoformat()}"
    reply = PeriodReply(message=message, closed_through=command.through)
    return await commit(
        call, body, [command], lambda outcomes: rendered(200, reply), conditional=True
    )


@routes.add(
    "POST",
    "/api/books/reopen",
    "Reopen a period",
    role="admin",
    scope="write",
    body=ReopenPeriod,
    replies={200: PeriodReply},
    problems=("not_closed_that_far",),
    commits=True,
    conditional=True,
)
async def reopen_period(call: Call) -> Reply:
    """Open the days after ``through`` again; null opens all."""
    body = await json_body(call)
    command = _REOPEN.decode(body)
    if command.through is None:
        message = "The books are open"
    else:
        message = f"The books are closed through {command.through.isoformat()}"
    reply = PeriodReply(message=message, closed_through=command.through)
    return await commit(
        call, body, [command], lambda outcomes: rendered(200, reply), conditional=True
    )


@routes.add(
    "POST",
    "/api/books/landed-costs",
    "Add a landed cost",
    role="manager",
    scope="write",
    body=AddLandedCost,
    replies={201: LandedCostReply},
    problems=(
        "movement_not_found",
        "not_a_receipt",
        "receipt_reversed",
        "cost_below_zero",
        "period_closed",
    ),
    commits=True,
)
async def add_landed_cost(call: Call) -> Reply:
    """Add freight, duty or the like to what the receipt at ``position`` cost, from its day on.

    What was sold of it since costs more as well. Refused when its day is closed.
    """
    body = await json_body(call)
    command = _LANDED.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, LandedCostAdded), "the one event that the command leads to"
        return rendered(
            201,
            LandedCostReply(
                position=recorded.position,
                receipt_position=event.position,
                product_id=event.product_id,
                warehouse_id=event.location_id,
                amount=money(event.amount),
            ),
        )

    return await commit(call, body, [command], render)


@routes.add(
    "POST",
    "/api/books/revaluations",
    "Revalue a product's stock",
    role="manager",
    scope="write",
    body=RevalueStock,
    replies={201: RevaluationReply},
    problems=("invalid_command", "product_not_found", "product_discontinued", "period_closed"),
    commits=True,
)
async def revalue_stock(call: Call) -> Reply:
    """Say what one of a product is worth from ``effective_at`` on: all of it, everywhere."""
    body = await json_body(call)
    command = _REVALUATION.decode(body)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        recorded = outcomes[0].events[0]
        event = recorded.event
        assert isinstance(event, StockRevalued), "the one event that the command leads to"
        return rendered(
            201,
            RevaluationReply(
                position=recorded.position,
                product_id=event.product_id,
                unit_cost=money(event.unit_cost),
                effective_at=recorded.effective_at,
            ),
        )

    return await commit(call, body, [command], render)
