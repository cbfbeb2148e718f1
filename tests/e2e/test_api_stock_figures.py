"""Figures of stock that other parts of the ledger make: what is incoming, and what it is worth."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from deploy.wiring import House, following
from tests.support.api import Service, running_service

ORDERS = "/api/suppliers/purchase-orders"


@pytest.fixture
async def service(house: House) -> AsyncIterator[Service]:
    """The service with what follows the log, and two warehouses."""
    async with running_service(house) as running, following(house):
        for name in ("North", "South"):
            made = await running.post("/api/warehouses", {"name": name, "code": name.upper()})
            assert made.status_code == 201, made.text
        yield running


async def do(service: Service, method: str, path: str, body: Any = None) -> int:
    """Write; return the position after it."""
    answer = await service.call(method, path, body)
    assert answer.status_code in (200, 201), answer.text
    return int(answer.headers["ledger-position"])


async def read(service: Service, path: str, position: int = 0) -> Any:
    """Read what is so at a position or later, its numbers exact."""
    joiner = "&" if "?" in path else "?"
    answer = await service.get(f"{path}{joiner}min_position={position}")
    assert answer.status_code == 200, answer.text
    return msgspec.json.Decoder(float_hook=Decimal).decode(answer.content)


# --- incoming ---------------------------------------------------------------------------


async def product(service: Service, sku: str, **more: Any) -> int:
    body = {"name": sku, "sku": sku, "base_price": "9", **more}
    made = await service.post("/api/products", body)
    assert made.status_code == 201, made.text
    return made.json()["id"]


async def incoming(service: Service) -> dict[tuple[int, int], Any]:
    """Return what is incoming of each level, by product and warehouse."""
    levels = (await read(service, "/api/inventory"))["inventory"]
    return {
        (level["product_id"], level["warehouse_id"]): level["incoming_quantity"] for level in levels
    }


async def order(service: Service, *lines: tuple[int, int], **more: Any) -> int:
    """Order so much of products at the first warehouse; return the purchase order's id."""
    items = [
        {"product_id": product_id, "quantity": quantity, "unit_cost": 2}
        for product_id, quantity in lines
    ]
    body = {"supplier_id": 1, "warehouse_id": 1, "items": items, **more}
    made = await service.post(ORDERS, body)
    assert made.status_code == 201, made.text
    return made.json()["id"]


async def arrives(service: Service, purchase_order: int, *received: tuple[int, int]) -> None:
    """Receive so much of lines, counted from 1."""
    items = [
        {"purchase_order_item_id": purchase_order * 1000 + line, "quantity_received": quantity}
        for line, quantity in received
    ]
    await do(service, "POST", f"{ORDERS}/{purchase_order}/receive", {"items": items})


async def test_incoming_is_what_sent_purchase_orders_are_still_short_of(service: Service) -> None:
    """Nothing of a draft; less with each receipt; nothing of what is closed or cancelled."""
    await do(service, "POST", "/api/suppliers", {"name": "Bolts"})
    nut, bolt = await product(service, "NUT"), await product(service, "BOLT")
    for each in (nut, bolt):
        for warehouse in (1, 2):
            body = {"product_id": each, "warehouse_id": warehouse, "quantity": 1}
            await do(service, "POST", "/api/inventory/receive", body)

    async def expect(at_north: int, of_bolts: int) -> None:
        assert await incoming(service) == {
            (nut, 1): at_north, (nut, 2): 0, (bolt, 1): of_bolts, (bolt, 2): 0
        }  # fmt: skip

    first = await order(service, (nut, 10), (bolt, 5), (nut, 3))
    await expect(0, 0)
    await do(service, "POST", f"{ORDERS}/{first}/send")
    await expect(13, 5)
    second = await order(service, (nut, 7))
    await do(service, "POST", f"{ORDERS}/{second}/send")
    await expect(20, 5)
    # In parts: of one line, then of both that are for one product.
    await arrives(service, first, (1, 4))
    await expect(16, 5)
    await arrives(service, first, (1, 6), (3, 1), (2, 5))
    await expect(9, 0)
    # What goes back to the supplier is not expected again.
    returned = {"items": [{"purchase_order_item_id": first * 1000 + 1, "quantity": 2}]}
    await do(service, "POST", f"{ORDERS}/{first}/return", returned)
    await expect(9, 0)
    # Closed with two outstanding; the other is cancelled before any of it came.
    await do(service, "POST", f"{ORDERS}/{first}/close")
    await expect(7, 0)
    await do(service, "POST", f"{ORDERS}/{second}/cancel")
    await expect(0, 0)


async def test_more_than_was_ordered_leaves_nothing_incoming(service: Service) -> None:
    """Within the tolerance; it is not taken off what other lines and orders are short of."""
    await do(service, "POST", "/api/suppliers", {"name": "Bolts"})
    nut = await product(service, "NUT")
    await do(service, "POST", "/api/inventory/receive",
             {"product_id": nut, "warehouse_id": 1, "quantity": 1})  # fmt: skip
    first = await order(service, (nut, 10), (nut, 4), tolerance_percent="20")
    second = await order(service, (nut, 6))
    for each in (first, second):
        await do(service, "POST", f"{ORDERS}/{each}/send")
    assert await incoming(service) == {(nut, 1): 20}
    await arrives(service, first, (1, 12))
    assert await incoming(service) == {(nut, 1): 10}
    over = {"items": [{"purchase_order_item_id": first * 1000 + 1, "quantity_received": 1}]}
    refused = await service.post(f"{ORDERS}/{first}/receive", over)
    assert (refused.status_code, refused.json()["code"]) == (409, "purchase_line_over_received")
    assert await incoming(service) == {(nut, 1): 10}
    await arrives(service, first, (2, 4))
    await arrives(service, second, (1, 6))
    (level,) = (await read(service, "/api/inventory"))["inventory"]
    assert (level["quantity"], level["incoming_quantity"]) == (23, 0)


# --- value ------------------------------------------------------------------------------


async def values(service: Service, position: int) -> tuple[Any, dict[int, Any]]:
    """Return what all stock is worth by the summary, and by warehouse."""
    summary = await read(service, "/api/inventory/summary", position)
    warehouses = (await read(service, "/api/warehouses", position))["warehouses"]
    by_warehouse = {each["id"]: Decimal(each["total_value"]) for each in warehouses}
    return summary["total_stock_value"], by_warehouse


async def bought_and_sold(service: Service) -> int:
    """Receive ten at 1.00 and ten at 2.00 elsewhere, sell four of these; return the position."""
    nut = await product(service, "NUT", cost_price="5")
    for warehouse, cost in ((1, "1.00"), (2, "2.00")):
        body = {"product_id": nut, "warehouse_id": warehouse, "quantity": 10, "unit_cost": cost}
        await do(service, "POST", "/api/inventory/receive", body)
    body = {"type": "IssueStock", "data": {"product_id": nut, "location_id": 2, "quantity": "4"}}
    return await do(service, "POST", "/api/ledger/commands", {"commands": [body]})


@pytest.mark.parametrize(
    ("method", "total", "north", "south"),
    [
        # At cost price, which nobody paid.
        ("standard", "80", "50", "30"),
        # The four that were sold are the oldest, wherever they lay: 6 at 1.00 and 10 at 2.00.
        ("fifo", "26", "16.25", "9.75"),
        # Sixteen at 1.50.
        ("average", "24", "15", "9"),
    ],
)
async def test_warehouses_and_summary_value_stock_by_the_books_method(
    service: Service, method: str, total: str, north: str, south: str
) -> None:
    """And a method that is chosen for the product alone says the same."""
    position = await bought_and_sold(service)
    position = await do(service, "PUT", "/api/books", {"valuation_method": method})
    expected = Decimal(total), {1: Decimal(north), 2: Decimal(south)}
    assert await values(service, position) == expected
    position = await do(service, "PUT", "/api/books", {"valuation_method": "standard"})
    chosen = {"type": "ChooseValuation", "data": {"product_id": 1, "valuation_method": method}}
    position = await do(service, "POST", "/api/ledger/commands", {"commands": [chosen]})
    assert await values(service, position) == expected


@pytest.mark.parametrize("method", ["fifo", "average"])
async def test_what_is_on_its_way_is_in_no_warehouse_and_not_on_hand(
    service: Service, method: str
) -> None:
    """It has a value in the inventory report; what is sold out is worth nothing."""
    await bought_and_sold(service)
    position = await do(service, "PUT", "/api/books", {"valuation_method": method})
    whole, by_warehouse = await values(service, position)
    shipped = {"product_id": 1, "from_location_id": 1, "to_location_id": 2, "quantity": "2"}
    ship = {"type": "ShipTransfer", "data": shipped}
    position = await do(service, "POST", "/api/ledger/commands", {"commands": [ship]})
    on_its_way = whole * 2 / 16
    value, now = await values(service, position)
    assert value == whole - on_its_way == sum(now.values())
    assert now == {1: by_warehouse[1] - on_its_way, 2: by_warehouse[2]}
    report = await read(service, "/api/reports/inventory", position)
    assert report["total_value"] == whole
    assert [item["total_value"] for item in report["items"] if item["in_transit"]] == [on_its_way]
    commands = [
        {"type": "IssueStock", "data": {"product_id": 1, "location_id": place, "quantity": left}}
        for place, left in ((1, "8"), (2, "6"))
    ]
    position = await do(service, "POST", "/api/ledger/commands", {"commands": commands})
    assert await values(service, position) == (0, {1: 0, 2: 0})


@pytest.mark.parametrize("method", ["fifo", "average"])
async def test_cents_of_warehouses_add_up_to_the_summary(service: Service, method: str) -> None:
    """Three products whose places cannot be valued in whole cents each: none is lost."""
    for number, (quantities, cost) in enumerate(
        [((1, 2), "0.333333"), ((5, 5), "0.005"), ((1, 6), "1.4287")]
    ):
        made = await product(service, f"P{number}")
        for warehouse, quantity in enumerate(quantities, start=1):
            body = {
                "product_id": made,
                "warehouse_id": warehouse,
                "quantity": quantity,
                "unit_cost": cost,
            }
            await do(service, "POST", "/api/inventory/receive", body)
    position = await do(service, "PUT", "/api/books", {"valuation_method": method})
    value, by_warehouse = await values(service, position)
    # 0.999999, 0.05 and 10.0009, each rounded as a whole.
    assert value == Decimal("11.05")
    assert sum(by_warehouse.values()) == value
    report = await read(service, "/api/reports/inventory", position)
    assert report["total_value"] == value == sum(item["total_value"] for item in report["items"])
