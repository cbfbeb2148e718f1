"""A shop with something of everything in its log, for tests that explain, replay and compare."""

from contextlib import suppress
from typing import Any

from deploy.commands.demo import Traded, trade
from deploy.wiring import House
from tests.support.api import Service

INGESTION = "/api/integrations/v1/ingestion/order-lines"


class _Enough(Exception):
    pass


async def busy_shop(house: House, service: Service, events_min: int = 450) -> int:
    """Let the made-up shop trade for some weeks, and then do what it does not; return the head."""

    def until(_step: Any, traded: Traded) -> None:
        if traded.appended.total() >= events_min:
            raise _Enough

    with suppress(_Enough):
        await trade(house, service.tenant_id, 3, 1, until)
    stocked = await service.get("/api/ledger/events?type=StockReceived&limit=1000")
    received = [
        event
        for event in stocked.json()["events"]
        if event["data"].get("source", "supplier") == "supplier"
        and not event["data"].get("lots")
        and not event["data"].get("serials")
    ]
    first, second = received[0], received[1]
    item = {name: first["data"][name] for name in ("product_id", "location_id")}
    other = {name: second["data"][name] for name in ("product_id", "location_id")}
    last = await tell(
        service,
        ("AdjustStock", {**item, "quantity": 12}),
        ("AdjustStock", {**item, "quantity": -12}),
        ("ReserveStock", {**item, "quantity": 2, "reservation_id": "audit", "owner": "A"}),
        ("ExtendReservation", {**item, "reservation_id": "audit", "expires_at": None}),
        ("QuarantineStock", {**item, "quantity": 1}),
        ("CountStock", {**other, "quantity": 40}),
        ("AdjustStock", {**other, "quantity": 3, "effective_at": second["effective_at"]}),
        ("ReleaseReservation", {**item, "reservation_id": "audit", "quantity": 1}),
        ("ReceiveStock", {**item, "quantity": 5, "unit_cost": "3.10"}),
        ("ConfigureBooks", {"valuation_method": "average", "time_zone": "Europe/London"}),
        ("ChooseValuation", {"product_id": other["product_id"], "valuation_method": "fifo"}),
        ("AddLandedCost", {"position": first["position"], "amount": "7.77"}),
        ("RevalueStock", {"product_id": item["product_id"], "unit_cost": "2.22"}),
        (
            "ShipTransfer",
            {
                "product_id": item["product_id"],
                "from_location_id": item["location_id"],
                "to_location_id": 2 if item["location_id"] == 1 else 1,
                "quantity": 1,
            },
        ),
        ("IssueStock", {**item, "quantity": 2, "unit_price": "9.99"}),
    )
    await tell(service, ("ReverseMovement", {"position": last}))
    skus = [row["sku"] for row in (await service.get("/api/products?limit=3")).json()["products"]]
    for number, day in enumerate(("2026-03-02", "2026-03-03")):
        lines = [{"sku": sku, "quantity": 3 + number, "orderDate": day} for sku in skus]
        sent = await service.post(
            INGESTION,
            {"lines": lines},
            key=service.api_key,
            headers={"Idempotency-Key": f"feed-{number}"},
        )
        assert sent.status_code in (200, 201), sent.text
    head = await service.get("/api/ledger/head")
    return head.json()["position"]


async def tell(service: Service, *commands: tuple[str, dict[str, Any]]) -> int:
    """Send commands that must all be accepted; return the last event's position."""
    body = {"commands": [{"type": kind, "data": data} for kind, data in commands]}
    answer = await service.post("/api/ledger/commands", body)
    assert answer.status_code == 200, answer.text
    return answer.json()["position"]
