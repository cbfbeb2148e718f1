"""Tenants of their own on one service: much quicker than a service for each test."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from api.credentials import new_session
from deploy.bootstrap import found_tenant
from deploy.settings import Settings
from deploy.wiring import house_at
from tests.support.api import Service, running_service
from tests.support.postgres import TestServer


@asynccontextmanager
async def lasting_service(postgres: TestServer, data_dir: Path) -> AsyncGenerator[Service]:
    """Serve a database of its own for as long as a module's tests take."""
    async with (
        postgres.fresh_database() as address,
        house_at(Settings(data_dir=data_dir), address) as house,
        running_service(house) as service,
    ):
        yield service


async def new_tenant(service: Service) -> Service:
    """Return the service as a new tenant's owner sees it."""
    name = f"T-{uuid4().hex[:12]}"
    password = "correct horse battery staple"
    founded = await found_tenant(
        service.house, name, email=f"{name}@example.com", password=password
    )
    token = new_session(
        str(service.house.settings.jwt_secret),
        tenant_id=founded.tenant_id,
        user_id=1,
        role="owner",
        name="Owner",
        now=datetime.now(UTC),
    )
    return replace(service, tenant_id=founded.tenant_id, api_key=founded.api_key, token=token)
