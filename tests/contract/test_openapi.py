"""What the OpenAPI document says is so: schemathesis calls every operation with what fits the
schemas and what does not, and looks at every answer."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis import checks as general
from schemathesis.specs.openapi import checks

from api.app import endpoints
from api.openapi import openapi_document
from tests.support.postgres import TestServer
from tests.support.served import Served, served

SEED = 20_261_121
SETTINGS = settings(
    max_examples=6,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
_conformance: Any = checks
_general: Any = general
CHECKS: list[Any] = [
    _general.not_a_server_error,
    _conformance.status_code_conformance,
    _conformance.content_type_conformance,
    _conformance.response_headers_conformance,
    _conformance.response_schema_conformance,
]

# Never ends by itself, so a client that waits for the whole answer would wait for ever.
LIVE = "/api/ledger/events/stream"


@pytest.fixture(scope="module")
def service(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with one tenant, on a port."""
    with served(postgres, tmp_path_factory.mktemp("served")) as service:
        _stock(service)
        yield service


@pytest.fixture(scope="module")
def schema(service: Served) -> Any:
    """The whole document, read once: that takes longer than calling an operation."""
    read: Any = schemathesis.openapi.from_dict(openapi_document(endpoints(), "test"))
    read.config.update(base_url=service.url)
    return read


def _stock(service: Served) -> None:
    """Make product 1 and warehouses 1 and 2, with some of it in the first."""
    with httpx.Client(
        base_url=service.url, headers={"X-API-Key": service.founded.api_key}
    ) as client:
        for path, body in (
            ("/api/products", {"name": "Widget", "sku": "WGT-500", "base_price": 1, "scale": 6}),
            ("/api/warehouses", {"name": "Sydney", "code": "SYD"}),
            ("/api/warehouses", {"name": "Melbourne", "code": "MEL"}),
            (
                "/api/inventory/receive",
                {"sku": "WGT-500", "warehouse": "SYD", "quantity": 10**9},
            ),
        ):
            assert client.post(path, json=body).is_success


def _operations() -> list[tuple[str, str]]:
    return [
        (endpoint.method, endpoint.path.replace(":path}", "}"))
        for endpoint in endpoints()
        if endpoint.path != LIVE
    ]


@pytest.mark.parametrize(("method", "path"), _operations())
def test_every_answer_is_documented_and_none_is_a_server_error(
    service: Served, schema: Any, method: str, path: str
) -> None:
    """Valid and invalid requests alike get a documented status and a body as documented."""
    operation = schema[path][method]
    headers = _headers(service, method, path)

    def exercise(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and path.startswith("/api/inventory/"):
            _name_what_is_there(case)
        # It would wait for two seconds each time, and has a test of its own.
        case.query.pop("min_position", None)
        # Its own key must not be revoked under way.
        assume(not (method == "DELETE" and case.path_parameters.get("id") in (1, "1")))
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)

    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        strategy: Any = operation.as_strategy(generation_mode=mode)
        test = seed(SEED)(SETTINGS(given(strategy)(exercise)))
        # Where nothing is asked for, there is nothing that would not fit.
        with suppress(Unsatisfiable):
            test()


def _name_what_is_there(case: Any) -> None:
    """Put the product and the warehouses that there are into a stock command's body."""
    given_body: Any = case.body
    if not isinstance(given_body, dict) or "reverse" in case.path:
        return
    body = cast(dict[str, Any], given_body)
    for name in list(body):
        names_a_place = name.endswith(("warehouse", "location", "_id"))
        if name != "reservation_id" and (name == "sku" or names_a_place):
            del body[name]
    body["product_id"] = 1
    if "transfer" in case.path and "receive" not in case.path:
        body |= {"from_warehouse_id": 1, "to_warehouse_id": 2}
    else:
        body["warehouse_id"] = 1
    body.pop("unit", None)


def _headers(service: Served, method: str, path: str) -> dict[str, str]:
    """Return the credentials that an operation takes: a key, or the owner's token."""
    (endpoint,) = (
        endpoint
        for endpoint in endpoints()
        if (endpoint.method, endpoint.path.replace(":path}", "}")) == (method, path)
    )
    if endpoint.is_public or endpoint.scope is not None:
        return {"X-API-Key": service.founded.api_key}
    return {"Authorization": f"Bearer {service.token}"}
