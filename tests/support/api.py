"""The whole service in this process, spoken to over HTTP."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from litestar import Litestar

from api.app import create_app
from api.usage import UsageLog
from deploy.bootstrap import found_tenant
from deploy.wiring import House

OWNER_EMAIL = "owner@example.com"
OWNER_PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Service:
    """A running service with one tenant: its owner's token and its first key."""

    house: House
    usage: UsageLog
    client: httpx.AsyncClient
    tenant_id: int
    api_key: str
    token: str

    async def call(
        self, method: str, path: str, json: Any = None, *, key: str | None = None, **options: Any
    ) -> httpx.Response:
        """Send a request as the owner, or with an API key."""
        headers = dict(options.pop("headers", {}))
        if key is None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        else:
            headers.setdefault("X-API-Key", key)
        if json is not None:
            options["json"] = json
        return await self.client.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Read as the owner."""
        return await self.call("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Write as the owner."""
        return await self.call("POST", path, json, **options)

    async def stocked(self, quantity: int = 200, sku: str = "WGT-500") -> tuple[int, int]:
        """Make a product and a warehouse with stock; return their ids."""
        product = await self.post(
            "/api/products", {"name": "Widget Pro 500", "sku": sku, "base_price": "49.99"}
        )
        assert product.status_code == 201, product.text
        warehouse = await self.post("/api/warehouses", {"name": "Sydney", "code": f"W-{sku}"})
        assert warehouse.status_code == 201, warehouse.text
        ids = product.json()["id"], warehouse.json()["id"]
        if quantity:
            received = await self.post(
                "/api/inventory/receive",
                {"product_id": ids[0], "warehouse_id": ids[1], "quantity": quantity},
            )
            assert received.status_code == 200, received.text
        return ids


@asynccontextmanager
async def running_service(house: House) -> AsyncGenerator[Service]:
    """Serve a house with a new tenant, in process."""
    founded = await found_tenant(house, "Acme", email=OWNER_EMAIL, password=OWNER_PASSWORD)
    app = create_app(house)
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
    async with (
        _living(app),
        httpx.AsyncClient(transport=transport, base_url="http://service") as client,
    ):
        login = await client.post(
            "/api/auth/login", json={"email": OWNER_EMAIL, "password": OWNER_PASSWORD}
        )
        assert login.status_code == 200, login.text
        yield Service(
            house,
            app.state.usage,
            client,
            founded.tenant_id,
            founded.api_key,
            login.json()["token"],
        )


@asynccontextmanager
async def _living(app: Litestar) -> AsyncGenerator[None]:
    """Run an application's lifespan in a task of its own: a fixture is left in another task than
    it was entered in."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def live() -> None:
        async with app.lifespan():
            started.set()
            await stop.wait()

    living = asyncio.create_task(live())
    await started.wait()
    try:
        yield
    finally:
        stop.set()
        await living
