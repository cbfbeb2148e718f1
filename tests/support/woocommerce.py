"""The shop of the WooCommerce tests: products, variations and locations, and its two secrets."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from api.credentials import new_session
from deploy.bootstrap import found_tenant
from deploy.settings import Settings
from deploy.wiring import house_at
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer

BASE = "/wp-json/mulopimfwc/v1"
_NUMBERS = count(1)


@dataclass(frozen=True)
class Shop:
    """A running service as a WordPress client sees it.

    Products: 1 TEA, 2 SHIRT with the variations 3 SHIRT-S and 4 SHIRT-L. Locations: 1 main, 2
    north, both without stock.
    """

    service: Service
    secret: str

    async def send(
        self, path: str, body: Any = None, *, method: str = "POST", **headers: str
    ) -> httpx.Response:
        """Send a request with the API key; bytes go as they are."""
        sent = {"X-API-Key": self.service.api_key} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        options: dict[str, Any] = {}
        if isinstance(body, bytes):
            options["content"] = body
            sent.setdefault("Content-Type", "application/json")
        elif body is not None:
            options["json"] = body
        return await self.service.client.request(method, BASE + path, headers=sent, **options)

    async def get(self, path: str) -> Any:
        """Read as the client; the answer must be 200."""
        response = await self.send(path, method="GET")
        assert response.status_code == 200, response.text
        return response.json()

    async def push(self, body: Any, secret: str | None = None, **headers: str) -> httpx.Response:
        """Send to the inbound webhook, with its secret."""
        sent = {"X-Webhook-Secret": self.secret if secret is None else secret, **headers}
        options: dict[str, Any] = (
            {"content": body, "headers": {"Content-Type": "application/json", **sent}}
            if isinstance(body, bytes)
            else {"json": body, "headers": sent}
        )
        return await self.service.client.post(BASE + "/webhook/inventory-update", **options)

    async def stock(self, product_id: int, location_id: int = 1) -> Any:
        """Return what is on hand, as the native API says; None where there was never any."""
        response = await self.service.get(f"/api/inventory?product_id={product_id}&limit=200")
        assert response.status_code == 200, response.text
        rows = response.json()["inventory"]
        return next((r["quantity"] for r in rows if r["warehouse_id"] == location_id), None)

    async def listing(self, product_id: int, location_id: int = 1) -> Any:
        """Return how a product is sold at a location; None where nothing was said."""
        response = await self.service.get(f"/api/listings/{product_id}/{location_id}")
        return response.json() if response.status_code == 200 else None


@asynccontextmanager
async def serving(postgres: TestServer, folder: Path) -> AsyncGenerator[Service]:
    """Serve a database of its own, in process, for the tests of a module."""
    async with (
        postgres.fresh_database() as address,
        house_at(Settings(data_dir=folder), address) as house,
        running_service(house) as service,
    ):
        yield service


async def new_shop(service: Service) -> Shop:
    """Make a tenant with the shop in it; that is quicker than a database."""
    house = service.house
    number = next(_NUMBERS)
    founded = await found_tenant(house, f"Shop {number}", email=f"owner-{number}@shop.example")
    token = new_session(
        house.settings.jwt_secret,
        tenant_id=founded.tenant_id,
        user_id=1,
        role="owner",
        name="Owner",
        now=house.now(),
    )
    own = replace(service, tenant_id=founded.tenant_id, api_key=founded.api_key, token=token)
    await furnish(own)
    made = await own.post("/api/api-keys", {"name": "Webhook secret", "permissions": ["webhook"]})
    assert made.status_code == 201, made.text
    return Shop(own, made.json()["key"])


async def furnish(service: Service) -> None:
    """Make the products and the locations."""
    products: tuple[dict[str, Any], ...] = (
        {"name": "Tea", "sku": "TEA", "base_price": "2.50", "scale": 3},
        {"name": "Shirt", "sku": "SHIRT", "base_price": "20.00"},
        {"name": "Shirt S", "sku": "SHIRT-S", "base_price": "20.00", "variant_of": 2}
        | {"options": [{"name": "Size", "value": "S"}]},
        {"name": "Shirt L", "sku": "SHIRT-L", "base_price": "21.00", "variant_of": 2}
        | {"options": [{"name": "Size", "value": "L"}]},
    )
    for product in products:
        response = await service.post("/api/products", product)
        assert response.status_code == 201, response.text
    for name in ("Main", "North"):
        response = await service.post("/api/warehouses", {"name": name, "code": name.lower()})
        assert response.status_code == 201, response.text
