"""The application: all routes, the gate around them, and what runs beside them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from litestar import Litestar, Request
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.response import Response
from litestar.types import Receive, Scope, Send

from api import (
    api_keys,
    auth,
    batches,
    books,
    categories,
    customers,
    demand,
    erasure,
    explain,
    external,
    external_orders,
    import_batches,
    integration_keys,
    integration_links,
    inventory,
    known,
    ledger_commands,
    ledger_events,
    ledger_proofs,
    listings,
    operations,
    order_actions,
    orders,
    price_tiers,
    products,
    purchase_orders,
    rebuilds,
    reports,
    serials,
    stock,
    stock_commands,
    suppliers,
    table_exports,
    users,
    warehouses,
    webhook_deliveries,
    webhook_log,
    webhooks,
)
from api.auth import SignIn
from api.dialects import mihwar
from api.dialects.mipos import inventory as mipos_inventory
from api.dialects.mipos import webhooks as mipos_webhooks
from api.dialects.woocommerce import catalogue as woocommerce_catalogue
from api.dialects.woocommerce import inventory as woocommerce_inventory
from api.dialects.woocommerce import webhook as woocommerce_webhook
from api.endpoint import Endpoint, reply_to
from api.gate import Gate
from api.house import House
from api.metrics import QUEUED, observe_group
from api.metrics_together import MetricsTogether
from api.openapi import openapi_document
from api.problems import Family, Problem
from api.reply import Reply, encode
from api.usage import UsageLog

RESOURCES: Final = (
    auth,
    categories,
    products,
    warehouses,
    inventory,
    stock,
    stock_commands,
    orders,
    order_actions,
    price_tiers,
    customers,
    erasure,
    suppliers,
    purchase_orders,
    batches,
    serials,
    reports,
    demand,
    import_batches,
    books,
    api_keys,
    integration_keys,
    mihwar,
    users,
    external,
    external_orders,
    ledger_commands,
    ledger_events,
    explain,
    ledger_proofs,
    table_exports,
    known,
    rebuilds,
    operations,
    listings,
    woocommerce_inventory,
    woocommerce_catalogue,
    woocommerce_webhook,
    webhook_log,
    integration_links,
    mipos_inventory,
    mipos_webhooks,
    webhooks,
    webhook_deliveries,
)


def endpoints() -> list[Endpoint]:
    """Return the declarations of all routes."""
    return [endpoint for resource in RESOURCES for endpoint in resource.routes.endpoints]


def create_app(house: House, together: Path | None = None) -> Litestar:
    """Return the ASGI application that serves a house.

    ``together`` is the folder where the API processes of one service find each other, if there
    are several.
    """
    usage = UsageLog(house.pool)
    metrics = MetricsTogether(together)
    QUEUED.set_function(lambda: house.committer.queued_commands)

    @asynccontextmanager
    async def beside(_app: Litestar) -> AsyncGenerator[None]:
        await usage.start()
        try:
            async with metrics.told():
                yield
        finally:
            await usage.stop()

    app = Litestar(
        [handler for resource in RESOURCES for handler in resource.routes.handlers()],
        openapi_config=None,
        logging_config=None,
        exception_handlers={Exception: _answer, HTTPException: _answer},
        lifespan=[beside],
        state=State(
            {
                "sign_in": SignIn(),
                "usage": usage,
                "metrics": metrics,
                "openapi": _openapi(),
            }
        ),
    )
    # Outside Litestar's own handler, so that what no route takes passes the gate as well.
    direct = {key: serve for each in RESOURCES for key, serve in each.routes.direct.items()}
    app.asgi_handler = Gate(app.asgi_handler, house, usage, direct)
    if observe_group not in house.group_observers:
        house.group_observers.append(observe_group)
    return app


@cache
def _openapi() -> bytes:
    """Return the OpenAPI document, which is the same for every application of this release."""
    return encode(openapi_document(endpoints(), _version()))


class _Answer(Response[None]):
    """A Reply in the clothes of a Litestar response, as its exception handlers need."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(None)
        self.reply = reply

    def to_asgi_response(self, *_arguments: Any, **_options: Any) -> Any:
        """Return the reply itself."""
        reply = self.reply

        async def send_reply(scope: Scope, receive: Receive, send: Send) -> None:
            await reply(scope, receive, send)

        return send_reply


def _answer(request: Request[Any, Any, Any], fault: Exception) -> Response[None]:
    """Return the problem of what happened outside a handler: in the router, mostly."""
    family = _family_at(request.scope["path"])
    if not isinstance(fault, HTTPException):
        return _Answer(reply_to(fault, family))
    if fault.status_code == 404:
        problem = Problem("not_found", "There is no such resource; see /docs for those there are.")
    elif fault.status_code == 405:
        allowed = (fault.headers or {}).get("allow", "")
        problem = Problem(
            "method_not_allowed",
            f"This resource takes {allowed}.",
            headers=[(b"allow", allowed.encode("latin-1"))],
        )
    elif fault.status_code < 500:
        problem = Problem("invalid_parameter", f"{fault.detail}.")
    else:
        return _Answer(reply_to(fault, family))
    return _Answer(family.reply(problem))


def _family_at(path: str) -> Family:
    """Return the family of the routes that begin as a path does that none of them takes."""
    fitting = (r.routes.family for r in RESOURCES if path.startswith(r.routes.family.prefix))
    return max(fitting, key=lambda family: len(family.prefix))


def _version() -> str:
    try:
        return metadata.version("stockledger")
    except metadata.PackageNotFoundError:
        return "0"
