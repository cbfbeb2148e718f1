"""Orders and listings: whatever is listed how and wherever stock is, against a plain model."""

from decimal import Decimal
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.domain.decision import Refusal
from schemas.listing import ListProduct, SyncListing
from schemas.order import OrderLineEntry, OrderPlaced, PlaceOrder
from schemas.product import RegisterProduct
from schemas.stock import ReceiveStock
from tests.support.decisions import World, shop

PRODUCTS = (1, 2)
PLACES = (1, 2, 3)
BASE = {1: Decimal("2.50"), 2: Decimal(8)}
WAITS = {1: False, 2: True}


class Terms(NamedTuple):
    """What is said of a product at a location."""

    regular_price: int | None = None
    sale_price: int | None = None
    backorders: bool | None = None
    disabled: bool = False


prices = st.none() | st.integers(0, 9)
terms = st.builds(Terms, prices, prices, st.none() | st.booleans(), st.booleans())
shelves = st.fixed_dictionaries({(p, w): st.integers(0, 6) for p in PRODUCTS for w in PLACES})
said = st.dictionaries(st.tuples(st.sampled_from(PRODUCTS), st.sampled_from(PLACES)), terms)
orders = st.lists(st.tuples(st.sampled_from(PRODUCTS), st.integers(1, 8)), min_size=1, max_size=3)
rules = st.sampled_from(["default", "most_stock", "split"])


def model(
    shelf: dict[tuple[int, int], int],
    listings: dict[tuple[int, int], Terms],
    lines: list[tuple[int, int]],
    rule: str,
) -> list[tuple[dict[int, int], Decimal]] | str:
    """Return what each line is reserved where, and its price; or why there is no order."""

    def term(product: int, place: int) -> Terms:
        return listings.get((product, place), Terms())

    def serve(line_places: list[list[int]]) -> list[dict[int, int]]:
        free = dict(shelf)
        claims: list[dict[int, int]] = []
        for (product, wanted), places in zip(lines, line_places, strict=True):
            rest = sorted(places[1:], key=lambda place: -free[product, place])
            claim: dict[int, int] = {}
            for place in (*places[:1], *rest):
                taken = min(free[product, place], wanted - sum(claim.values()))
                if taken:
                    claim[place] = taken
                    free[product, place] -= taken
            claims.append(claim)
        return claims

    sold = [[w for w in PLACES if not term(product, w).disabled] for product, _ in lines]
    if rule == "split":
        line_places = sold
    else:
        candidates = [w for w in PLACES if all(w in places for places in sold)]
        if rule == "default":
            candidates = [w for w in candidates if w == PLACES[0]]
        if not candidates:
            return "product_disabled"

        def served(place: int) -> tuple[int, Decimal]:
            claims = serve([[place]] * len(lines))
            shares = [
                Decimal(sum(claim.values())) / wanted
                for claim, (_, wanted) in zip(claims, lines, strict=True)
            ]
            return sum(share == 1 for share in shares), sum(shares, Decimal(0)).quantize(
                Decimal("1e-20")
            )

        line_places = [[max(candidates, key=served)]] * len(lines)
    if not all(line_places):
        return "product_disabled"
    claims = serve(line_places)
    outcome: list[tuple[dict[int, int], Decimal]] = []
    for (product, wanted), places, claim in zip(lines, line_places, claims, strict=True):
        first = term(product, places[0])
        may_wait = WAITS[product] if first.backorders is None else first.backorders
        if sum(claim.values()) < wanted and not may_wait:
            return "insufficient_stock"
        told = (first.sale_price, first.regular_price)
        price = next((Decimal(each) for each in told if each is not None), BASE[product])
        outcome.append((claim, price))
    return outcome


@settings(max_examples=400)
@given(shelf=shelves, listings=said, lines=orders, rule=rules)
def test_an_order_is_served_and_priced_where_its_products_are_sold(
    shelf: dict[tuple[int, int], int],
    listings: dict[tuple[int, int], Terms],
    lines: list[tuple[int, int]],
    rule: Any,
) -> None:
    """Never where one is disabled, never short unless it may wait, always at that place's price."""
    world: World = shop(locations=len(PLACES))
    world.given(RegisterProduct(name="Mug", sku="MUG", base_price=BASE[2], backorders=WAITS[2]))
    for (product, place), quantity in shelf.items():
        if quantity:
            world.given(
                ReceiveStock(product_id=product, location_id=place, quantity=Decimal(quantity))
            )
    for (product, place), term in listings.items():
        regular, sale = (None if each is None else Decimal(each) for each in term[:2])
        world.given(
            ListProduct(
                product_id=product,
                location_id=place,
                regular_price=regular,
                sale_price=sale,
                backorders=term.backorders,
                disabled=term.disabled,
            )
        )

    entries = tuple(OrderLineEntry(product_id=p, quantity=Decimal(q)) for p, q in lines)
    outcome = world.do(PlaceOrder(lines=entries, allocation=rule))

    expected = model(shelf, listings, lines, rule)
    if isinstance(expected, str):
        assert isinstance(outcome, Refusal)
        assert outcome.CODE == expected
        return
    assert not isinstance(outcome, Refusal), outcome
    event = outcome[0].event
    assert isinstance(event, OrderPlaced)
    assert [
        ({claim.location_id: int(claim.quantity) for claim in line.claims}, line.unit_price)
        for line in event.lines
    ] == expected


syncs = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "stock": st.integers(0, 9).map(Decimal),
            "regular_price": st.none() | st.integers(0, 9).map(Decimal),
            "sale_price": st.none() | st.integers(0, 9).map(Decimal),
            "backorders": st.none() | st.booleans(),
            "disabled": st.booleans(),
        },
    ),
    max_size=8,
)


@settings(max_examples=200)
@given(syncs)
def test_the_last_that_was_said_of_each_field_holds(sent: list[dict[str, Any]]) -> None:
    """Folding partial statements is merging them; saying the whole again is nothing to do."""
    world = shop()
    merged: dict[str, Any] = {}
    for fields in sent:
        world.given(SyncListing(product_id=1, location_id=1, **fields))
        merged |= fields

    assert world.stock().on_hand == merged.pop("stock", 0)
    state = world.states.get("listing-1-1")
    kept = {name: getattr(state, name) for name in merged} if state else merged
    assert kept == merged
    assert world.do(SyncListing(product_id=1, location_id=1, **merged)) == []
    assert world.do(ListProduct(product_id=1, location_id=1, **merged)) == []
