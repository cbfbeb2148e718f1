"""Each foreign API's way in for many items, against the native one for the same in the same run."""

import asyncio
from typing import Any, Final

from tests.bench.load import Lane
from tests.bench.measure import in_turn, load
from tests.bench.plan import BULK_CONNECTIONS, Bench
from tests.bench.rates import rate_of
from tests.bench.report import Figure
from tests.bench.servers import API_KEY, BULK, LOCATION, Installation, call
from tests.bench.traffic import BULK_COMMANDS

PRODUCTS: Final = 20_000
STORE: Final = "bench-store"
_SYNC: Final = f"/api/v1/inventory/pos/store/{STORE}/system/sync"
_STORES: Final = "/api/integrations/v1/stores"
_SYSTEM: Final = "/api/integrations/v1/inventory-system"


async def bulk_entries(bench: Bench) -> list[Figure]:
    """A thousand items a request over three connections, every API on one tenant."""
    ours = await bench.install("dialects")
    system = await asyncio.to_thread(_link, ours)
    # miPOS's own registers the items, so that each of them is known to every one.
    requests = PRODUCTS // BULK_COMMANDS
    first = _lane("mipos", _SYNC, connections=1, filled_in=system, requests=requests)
    registered = bench.counting("registering items", PRODUCTS, BULK_COMMANDS)
    await load(ours.server.port, API_KEY, [first], on_done=registered)
    await ours.settle()
    place = {"location": LOCATION}
    lanes = {
        "native": _lane("native", BULK, filled_in=place),
        "miPOS's sync": _lane("mipos", _SYNC, filled_in=system),
        "WooCommerce's bulk-sync": _lane(
            "woocommerce", "/wp-json/mulopimfwc/v1/inventory/bulk-sync", filled_in=place
        ),
        "Mihwar's order-lines": _lane("mihwar", "/api/integrations/v1/ingestion/order-lines"),
    }
    found = await in_turn(
        {name: rate_of(bench, ours.server, lane, BULK_COMMANDS) for name, lane in lanes.items()},
        bench.durations.rounds,
        bench.progress,
    )
    return [
        Figure(
            name=f"items through {name}, 1,000 a request",
            unit="/s",
            ours=found[name],
            against="the same figures through /api/ledger/commands",
            baseline=found["native"],
            limit=0.70,
        )
        for name in lanes
        if name != "native"
    ]


def _lane(
    shape: str,
    path: str,
    *,
    connections: int = BULK_CONNECTIONS,
    filled_in: dict[str, str] | None = None,
    requests: int | None = None,
) -> Lane:
    options: dict[str, Any] = {
        "path": path,
        "shape": shape,
        "products": PRODUCTS,
        "filled_in": filled_in,
        "requests": requests,
    }
    return Lane(name=shape, connections=connections, kind="figures", options=options)


def _link(ours: Installation) -> dict[str, str]:
    """Say that the bench's location is a store of miPOS's; return what its requests must name."""
    port = ours.server.port
    store = {"system": "mipos", "external_id": STORE, "warehouse_id": ours.location_id}
    call(port, "POST", _STORES, store)
    own = call(port, "GET", _SYSTEM)
    return {"system": own["inventory_system_id"], "owner": own["user_id_tps"]}
