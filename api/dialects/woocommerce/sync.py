"""Items handed in: one submission a request, one result an item.

What becomes of a request in which items fail is its rule. ``threshold``: where more than so many
percent of the items fail, nothing has an effect; at just so many, what is right has. With
``all-or-nothing`` one that fails is enough, and with ``independent`` none is.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from api.context import Call
from api.decoding import DECODE_FAULTS, read_body, require_body, require_json
from api.dialects.woocommerce.errors import told
from api.dialects.woocommerce.items import Read, read_item, read_items
from api.problems import Problem, of_decoding, of_refusal
from api.reads import trimmed
from api.reply import Reply, encode
from api.writes import committed, idempotency_of
from ledger.aliases import fold
from ledger.domain.decision import InvalidCommand, Refusal
from ledger.domain.location import LocationState
from ledger.domain.product import ProductState
from ledger.store import tenant_transaction
from ledger.submission import Item, Outcome, Rendered, Submission
from projections.listing_queries import parents_among
from schemas.http_woocommerce import (
    BulkSyncReply,
    BulkSyncRolledBack,
    InventoryItemResult,
    InventoryUpdateReply,
    Rollback,
    WordPressErrorData,
)

_HUNDRED: Final = 100


class Rule(NamedTuple):
    """What becomes of a request in which items fail; see the module."""

    rollback: Rollback
    percent: int

    def rolls_back(self, failed: int, total: int) -> bool:
        """Tell whether nothing has an effect where so many of the items fail."""
        if self.rollback == "independent":
            return False
        if self.rollback == "all-or-nothing":
            return failed > 0
        return failed * _HUNDRED > self.percent * total

    def told(self, failed: int, total: int) -> str:
        """Return why nothing had an effect."""
        limit = "one"
        if self.rollback == "threshold":
            limit = f"more than {self.percent} percent"
        return (
            f"{failed} of {total} items cannot be taken, and with {limit} nothing is applied; "
            f"correct them, or send rollback as independent."
        )


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    items: list[msgspec.Raw] | None = None
    rollback: Rollback | None = None
    rollback_percent: int | None = None


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Sent(NamedTuple):
    """The items of a request, each as it was read, and their rule."""

    items: list[Read]
    rule: Rule


async def body_of(call: Call) -> bytes:
    """Return a request's body, which must be JSON; raise Problem (400, 413, 415)."""
    require_json(call.headers)
    body = await read_body(call.receive, call.headers, call.house.settings.body_bytes_max)
    require_body(body)
    return body


def bulk_of(call: Call, body: bytes) -> Sent:
    """Return the items of a bulk request, or a list of them; raise Problem (400) for the whole."""
    settings = call.house.settings.woocommerce
    rule = Rule(settings.rollback, settings.rollback_percent)
    try:
        if body.lstrip()[:1] == b"[":
            raws = _decode_list(body)
        else:
            whole = _decode_body(body)
            if whole.items is None:
                raise Problem("missing_parameter", "Send the items as a list.", field="items")
            raws = whole.items
            rule = Rule(
                whole.rollback or rule.rollback,
                rule.percent if whole.rollback_percent is None else whole.rollback_percent,
            )
    except DECODE_FAULTS as fault:
        raise of_decoding(fault) from None
    if not 0 <= rule.percent <= _HUNDRED:
        raise Problem("invalid_field", "It must be from 0 to 100.", field="rollback_percent")
    if not raws:
        raise Problem("invalid_field", "Send at least one item.", field="items")
    if len(raws) > settings.items_max:
        raise Problem(
            "too_many_items",
            f"{len(raws)} items were sent and one request may have {settings.items_max}; split it "
            f"into smaller batches.",
            limit=settings.items_max,
            items=len(raws),
        )
    return Sent(read_items(raws), rule)


def one_of(body: bytes) -> Read:
    """Return the one item of a request; raise Problem (400) when it is wrong."""
    item = read_item(body)
    if item.problem is not None:
        raise item.problem
    return item


# --- handing in -------------------------------------------------------------------------


async def apply_many(call: Call, body: bytes, sent: Sent) -> Reply:
    """Hand in the items of a request and tell what became of each."""
    items = await _without_parents(call, sent.items)
    rule, total = sent.rule, len(items)
    failed_before = sum(item.command is None for item in items)
    commands = [Item(item.command) for item in items if item.command is not None]
    if not commands:
        rendered = _whole(items, [], rule)
        return committed(rendered.status, rendered.body, 0, False, call.family)

    def aborts(outcomes: Sequence[Outcome]) -> bool:
        refused = sum(outcome.refusal is not None for outcome in outcomes)
        return rule.rolls_back(failed_before + refused, total)

    return await _submit(
        call, body, commands, lambda outcomes: _whole(items, outcomes, rule), aborts
    )


async def apply_one(call: Call, body: bytes, item: Read) -> Reply:
    """Hand in one item; where it cannot be taken, the answer is an error."""
    (item,) = await _without_parents(call, [item])
    if item.problem is not None:
        raise item.problem
    assert item.command is not None

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        (outcome,) = outcomes
        if outcome.refusal is not None:
            reply = call.family.reply(problem_of(outcome.refusal))
            return Rendered(reply.status, reply.body)
        result = _taken(0, item, outcome)
        reply = InventoryUpdateReply(
            success=True,
            status=result.status,
            product_id=result.product_id or 0,
            sku=result.sku or "",
            location_id=result.location_id or 0,
            location_slug=result.location_slug or "",
            stock=result.stock,
        )
        return Rendered(200, encode(reply))

    return await _submit(call, body, [Item(item.command)], render)


async def _submit(
    call: Call,
    body: bytes,
    items: Sequence[Item],
    render: Callable[[Sequence[Outcome]], Rendered],
    aborts: Callable[[Sequence[Outcome]], bool] | None = None,
) -> Reply:
    caller = call.caller
    idempotency = idempotency_of(call, body)
    reply = await call.house.committer.submit(
        Submission(
            tenant_id=caller.tenant_id,
            items=items,
            meta=call.meta(None if idempotency is None else idempotency.key),
            atomic=False,
            aborts=aborts,
            render=render,
            idempotency=idempotency,
            credential=caller.credential,
        )
    )
    return committed(reply.status, reply.body, reply.position, reply.replayed, call.family)


async def _without_parents(call: Call, items: list[Read]) -> list[Read]:
    """Return items, a problem in place of those that set the stock of a product with variations.

    It is theirs, and what the outside system believes of the parent is the sum of them.
    """
    ids: set[int] = set()
    keys: set[str] = set()
    for item in items:
        if item.sets_stock:
            if item.named.product_id is not None:
                ids.add(item.named.product_id)
            elif item.named.sku is not None:
                keys.add(fold(item.named.sku))
    if not ids and not keys:
        return items
    caller = call.caller
    async with tenant_transaction(
        call.house.pool, caller.tenant_id, credential=caller.credential
    ) as connection:
        parents, their_keys = await parents_among(connection, caller.tenant_id, ids, keys)
    if not parents:
        return items
    return [
        item._replace(command=None, problem=_parent(item))
        if item.sets_stock
        and (item.named.product_id in parents or fold(item.named.sku or "") in their_keys)
        else item
        for item in items
    ]


def _parent(item: Read) -> Problem:
    product_id, sku, _, _ = item.named
    name = f"sku {sku!r}" if product_id is None else f"product_id {product_id}"
    return Problem(
        "parent_has_variations",
        f"The product with {name} has variations, and stock is theirs; set it for each variation "
        f"by its own id or SKU.",
    )


# --- results ----------------------------------------------------------------------------


def problem_of(refusal: Refusal) -> Problem:
    """Return the problem of a refused item, in the words of this API's fields."""
    if isinstance(refusal, InvalidCommand) and refusal.field in ("quantity", "stock"):
        return Problem("invalid_stock_value", f"It {refusal.fault}.")
    return of_refusal(refusal)


def _whole(items: Sequence[Read], outcomes: Sequence[Outcome], rule: Rule) -> Rendered:
    """Return the response: what became of each item, and of them all."""
    given = iter(outcomes)
    ended = [None if item.command is None else next(given) for item in items]
    failed = sum(outcome is None or outcome.refusal is not None for outcome in ended)
    rolled_back = rule.rolls_back(failed, len(items))
    results = [
        _result(index, item, outcome, rolled_back)
        for index, (item, outcome) in enumerate(zip(items, ended, strict=True))
    ]
    updated = 0 if rolled_back else len(items) - failed
    if not rolled_back:
        reply = BulkSyncReply(
            success=updated > 0, updated=updated, failed=failed, rolled_back=False, results=results
        )
        return Rendered(200, encode(reply))
    status, code, message, _ = told(Problem("rolled_back", rule.told(failed, len(items))))
    undone = BulkSyncRolledBack(
        code=code,
        message=message,
        data=WordPressErrorData(status=status),
        success=False,
        updated=0,
        failed=failed,
        rolled_back=True,
        results=results,
    )
    return Rendered(status, encode(undone))


def _result(
    index: int, item: Read, outcome: Outcome | None, rolled_back: bool
) -> InventoryItemResult:
    if outcome is None or outcome.refusal is not None:
        refusal = None if outcome is None else outcome.refusal
        problem = item.problem if refusal is None else problem_of(refusal)
        assert problem is not None
        error = told(problem)
        return InventoryItemResult(
            index=index,
            status="failed",
            **item.named._asdict(),
            code=error.code,
            message=error.message,
        )
    if rolled_back:
        return InventoryItemResult(index=index, status="rolled_back", **item.named._asdict())
    return _taken(index, item, outcome)


def _taken(index: int, item: Read, outcome: Outcome) -> InventoryItemResult:
    """Return the result of an item that took effect, from the states that it left."""
    states = outcome.states
    # The first stream is of the product at the location: stock-7-1, or listing-7-1.
    _, product_id, location_id = next(iter(states)).split("-")
    product: ProductState = states[f"product-{product_id}"]
    location: LocationState = states[f"location-{location_id}"]
    return InventoryItemResult(
        index=index,
        status="updated" if outcome.events else "unchanged",
        product_id=product.product_id,
        sku=product.sku,
        location_id=location.location_id,
        location_slug=location.code,
        stock=_on_hand(product, states.get(f"stock-{product_id}-{location_id}")),
    )


def _on_hand(product: ProductState, stock: Any) -> Decimal | None:
    if stock is None:
        return None
    on_hand: Decimal = stock.on_hand
    return trimmed(on_hand) if product.scale else on_hand
