"""Seed 002 (002_17950f58119f04b3.txt), miPOS's webhook management: its examples, its sentences.

With the part of seed 001 that registers the webhook for stock.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.credentials import new_session
from api.dialects.mipos.bodies import plain_json
from ledger.store import tenant_transaction
from tests.support.api import Service
from tests.support.postgres import TestServer
from tests.support.tenants import lasting_service, new_tenant

MANAGE = "/api/v1/inventory/pos/webhook/manage"
CREATE = "/api/v1/integration/webhook/create"
UPDATE = "/api/v1/integration/webhook/update"
DELETE = "/api/v1/integration/webhook/delete"
LIST = "/api/v1/integration/webhooks"
ONE, TWO, THREE = (f"https://urlwebhook{number}.test" for number in (1, 2, 3))


class Pos:
    """A point of sale with an API key, which it sends as a bearer token."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def send(
        self, path: str, body: Any = None, *, token: str | None = None, **options: Any
    ) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {token or self.service.api_key}",
            **options.pop("headers", {}),
        }
        method = "GET" if path == LIST else "POST"
        if body is not None:
            options["json"] = body
        return await self.service.client.request(method, path, headers=headers, **options)

    async def urls(self) -> Any:
        return (await self.send(LIST)).json()

    async def endpoints(self) -> list[dict[str, Any]]:
        """Return the endpoints as the read model has them."""
        house, tenant_id = self.service.house, self.service.tenant_id
        async with tenant_transaction(house.pool, tenant_id) as connection:
            rows = await connection.fetch(
                "SELECT * FROM projections.webhook_endpoint WHERE tenant_id = $1"
                " ORDER BY endpoint_id",
                tenant_id,
            )
            secrets = await connection.fetch(
                "SELECT endpoint_id FROM webhook.secret WHERE tenant_id = $1", tenant_id
            )
        with_secret = {row["endpoint_id"] for row in secrets}
        return [{**dict(row), "has_secret": row["endpoint_id"] in with_secret} for row in rows]


@pytest.fixture(scope="module")
async def service(
    postgres: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    """One service for all of these tests, each of which has a tenant of its own."""
    async with lasting_service(postgres, tmp_path_factory.mktemp("seed-002")) as service:
        yield service


@pytest.fixture
async def pos(service: Service) -> Pos:
    return Pos(await new_tenant(service))


def done(response: httpx.Response, message: str) -> None:
    assert (response.status_code, response.json()) == (200, {"message": message, "data": None})


def refused(response: httpx.Response, *sentences: str) -> None:
    assert (response.status_code, response.json()) == (
        400, {"message": list(sentences), "data": None},
    )  # fmt: skip


def unfit(response: httpx.Response, fields: dict[str, list[str]]) -> None:
    assert (response.status_code, response.json()) == (422, fields)


# --- orders and menus -------------------------------------------------------------------


async def test_webhooks_are_created_listed_updated_and_removed(pos: Pos) -> None:
    """The documents' own addresses and sentences, none of which but one has a full stop."""
    assert await pos.urls() == []
    for url in (ONE, TWO):
        done(await pos.send(CREATE, {"url": url}), "Webhook successfully created")
    done(await pos.send(CREATE, {"type": "Menu", "url": THREE}), "Webhook successfully created")
    assert await pos.urls() == [{"url": ONE}, {"url": TWO}, {"url": THREE}]
    done(
        await pos.send(UPDATE, {"current_url": TWO, "new_url": "https://new.test/x"}),
        "Webhook successfully updated",
    )
    done(await pos.send(DELETE, {"url": ONE}), "Webhook successfully removed")
    assert await pos.urls() == [{"url": "https://new.test/x"}, {"url": THREE}]


async def test_types_are_kept_and_orders_are_told_of(pos: Pos) -> None:
    for body in ({"url": ONE}, {"url": TWO, "type": "ORDER"}, {"url": THREE, "type": "Menu"}):
        done(await pos.send(CREATE, body), "Webhook successfully created")
    rows = await pos.endpoints()
    assert [(row["kind"], row["topics"], row["format"]) for row in rows] == [
        ("ORDER", ["order.status_changed"], "standard"),
        ("ORDER", ["order.status_changed"], "standard"),
        ("Menu", [], "standard"),
    ]
    assert all(row["verified"] and row["has_secret"] for row in rows)
    unfit(
        await pos.send(CREATE, {"url": "https://x.test", "type": "Bill"}),
        {"type": ["The selected type is invalid."]},
    )


async def test_a_webhook_that_exists_is_not_created_again(pos: Pos) -> None:
    done(await pos.send(CREATE, {"url": ONE}), "Webhook successfully created")
    refused(await pos.send(CREATE, {"url": ONE}), "This webhook already exists")
    refused(await pos.send(CREATE, {"url": ONE, "type": "Menu"}), "This webhook already exists")


async def test_of_two_at_the_same_moment_one_is_created(pos: Pos) -> None:
    answers = await asyncio.gather(*(pos.send(CREATE, {"url": ONE}) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert len(await pos.endpoints()) == 1
    for answer in answers:
        if answer.status_code == 400:
            refused(answer, "This webhook already exists")


async def test_an_address_that_nothing_can_be_sent_to_is_not_set_up(pos: Pos) -> None:
    for url in ("http://pos.test/w", "https://127.0.0.1/w", "https://localhost/w"):
        response = await pos.send(CREATE, {"url": url})
        assert response.status_code == 400
        assert response.json()["message"][0] == "Unable to set up the webhook URL."
        done(await pos.send(CREATE, {"url": ONE}), "Webhook successfully created")
        response = await pos.send(UPDATE, {"current_url": ONE, "new_url": url})
        assert response.json()["message"][0] == "Unable to update the webhook URL."
        done(await pos.send(DELETE, {"url": ONE}), "Webhook successfully removed")
    unfit(await pos.send(CREATE, {"url": "no address"}), {"url": ["The url format is invalid."]})
    unfit(await pos.send(CREATE, {"url": 5}), {"url": ["The url must be a string."]})


async def test_a_webhook_that_does_not_exist_is_neither_updated_nor_removed(pos: Pos) -> None:
    refused(
        await pos.send(UPDATE, {"current_url": ONE, "new_url": TWO}),
        "This webhook does not exist",
    )
    refused(await pos.send(DELETE, {"url": ONE}), "This webhook does not exist")


async def test_a_webhook_is_not_updated_to_one_that_exists(pos: Pos) -> None:
    for url in (ONE, TWO):
        done(await pos.send(CREATE, {"url": url}), "Webhook successfully created")
    for url in (ONE, TWO):
        refused(
            await pos.send(UPDATE, {"current_url": ONE, "new_url": url}),
            "This new webhook already exists",
        )
    refused(
        await pos.send(UPDATE, {"current_url": THREE, "new_url": TWO}),
        "This webhook does not exist",
        "This new webhook already exists",
    )


async def test_another_apis_webhook_is_neither_updated_nor_removed_by_this_one(pos: Pos) -> None:
    done(await pos.send(MANAGE, {"type": "3", "url": ONE}), "Webhook successfully created.")
    refused(await pos.send(DELETE, {"url": ONE}), "Unable to remove the webhook URL.")
    refused(
        await pos.send(UPDATE, {"current_url": ONE, "new_url": TWO}),
        "Unable to update the webhook URL.",
    )
    assert [row["url"] for row in await pos.endpoints()] == [ONE]
    done(await pos.send(CREATE, {"url": ONE}), "Webhook successfully created")
    assert await pos.urls() == [{"url": ONE}]


async def test_fields_that_are_missing_are_a_bare_map(pos: Pos) -> None:
    url = {"url": ["The url field is required."]}
    for path in (CREATE, DELETE):
        for body in ({}, {"url": None}, {"url": ""}):
            unfit(await pos.send(path, body), url)
    both = {
        "current_url": ["The current url field is required."],
        "new_url": ["The new url field is required."],
    }
    unfit(await pos.send(UPDATE, {}), both)


async def test_an_update_may_be_json_with_comments(pos: Pos) -> None:
    done(await pos.send(CREATE, {"url": ONE}), "Webhook successfully created")
    body = f'{{\n// which\n"current_url": "{ONE}", /* and\n where to */ "new_url": "{TWO}",\n}}'
    jsonc = {"Content-Type": "application/jsonc"}
    done(await pos.send(UPDATE, content=body, headers=jsonc), "Webhook successfully updated")
    assert await pos.urls() == [{"url": TWO}]
    json = {"Content-Type": "application/json"}
    assert (await pos.send(UPDATE, content=body, headers=json)).status_code == 400
    assert (await pos.send(CREATE, content=body, headers=jsonc)).status_code == 415


@pytest.mark.parametrize(
    ("with_comments", "plain"),
    [
        (b'{"a": 1, // one\n "b": [1, 2,],}', b'{"a":1,"b":[1,2]}'),
        (b'{"a": "http://x /* no */ ,]"}', b'{"a":"http://x/*no*/,]"}'),
        (b'{"a": "\\"// no"}', b'{"a":"\\"//no"}'),
        (b'{"a": 1 /* , */ , /* } */ }', b'{"a":1}'),
        (b'{"a": "never ends // ', b'{"a":"neverends//'),
        (b'{"a": 1 /* never ends', b'{"a":1/*neverends'),
    ],
)
def test_comments_are_taken_from_between_texts_alone(with_comments: bytes, plain: bytes) -> None:
    assert plain_json(with_comments).replace(b" ", b"").replace(b"\n", b"") == plain


# --- the stock webhook ------------------------------------------------------------------


async def test_the_stock_webhook_is_registered_and_moved(pos: Pos) -> None:
    done(await pos.send(MANAGE, {"type": "3", "url": ONE}), "Webhook successfully created.")
    done(await pos.send(MANAGE, {"type": 3, "url": ONE}), "Webhook successfully created.")
    (row,) = await pos.endpoints()
    assert (row["url"], row["format"], row["kind"], row["topics"]) == (
        ONE, "mipos", "3", ["stock.changed"],
    )  # fmt: skip
    assert row["verified"]
    assert row["has_secret"]
    assert row["receiver_id"] == "1", "the point of sale is its API key"
    done(await pos.send(MANAGE, {"type": "3", "url": TWO}), "Webhook successfully created.")
    (row,) = await pos.endpoints()
    assert row["url"] == TWO
    assert await pos.urls() == [], "it is none of the orders' and menus'"


async def test_each_point_of_sale_has_a_stock_webhook_of_its_own(pos: Pos) -> None:
    done(await pos.send(MANAGE, {"type": "3", "url": ONE}), "Webhook successfully created.")
    made = await pos.service.post("/api/api-keys", {"name": "2", "permissions": ["write"]})
    other = made.json()["key"]
    done(
        await pos.send(MANAGE, {"type": "3", "url": TWO}, token=other),
        "Webhook successfully created.",
    )
    rows = await pos.endpoints()
    assert [(row["url"], row["receiver_id"]) for row in rows] == [(ONE, "1"), (TWO, "2")]


async def test_types_that_there_are_not_are_told(pos: Pos) -> None:
    for kind in ("1", 2, "44"):
        refused(await pos.send(MANAGE, {"type": kind, "url": ONE}), "Invalid type.")
    for kind in ("stock", True, 3.5, "-3"):
        unfit(
            await pos.send(MANAGE, {"type": kind, "url": ONE}),
            {"type": ["The selected type is invalid."]},
        )
    unfit(
        await pos.send(MANAGE, {}),
        {"type": ["The type field is required."], "url": ["The url field is required."]},
    )
    response = await pos.send(MANAGE, {"type": "3", "url": "http://pos.test"})
    unfit(response, {"url": ["The url must begin with https://."]})


# --- users, keys, repetition --------------------------------------------------------------


async def test_credentials_that_are_no_good_are_unauthorized(pos: Pos) -> None:
    for path in (CREATE, UPDATE, DELETE, LIST):
        for token in ("nonsense", "eyJ.eyJ.x"):
            response = await pos.send(path, None if path == LIST else {}, token=token)
            assert (response.status_code, response.json()) == (401, "Unauthorized.")


async def test_a_user_who_is_let_in_no_more_or_gone_is_told(pos: Pos) -> None:
    house, tenant_id = pos.service.house, pos.service.tenant_id
    async with tenant_transaction(house.pool, tenant_id) as connection:
        await connection.execute("UPDATE access.app_user SET is_active = false")
    ghost = new_session(
        str(house.settings.jwt_secret),
        tenant_id=tenant_id, user_id=99, role="owner", name="Ghost", now=datetime.now(UTC),
    )  # fmt: skip
    bodies: dict[str, Any] = {
        CREATE: {"url": ONE},
        UPDATE: {"current_url": ONE, "new_url": TWO},
        DELETE: {"url": ONE},
        LIST: None,
    }
    for path, body in bodies.items():
        refused(await pos.send(path, body, token=pos.service.token), "User not authenticated.")
        refused(await pos.send(path, body, token=ghost), "User not found.")


async def test_a_request_sent_again_with_its_key_is_answered_as_before(pos: Pos) -> None:
    for number, (path, body, message) in enumerate(
        (
            (CREATE, {"url": ONE}, "Webhook successfully created"),
            (UPDATE, {"current_url": ONE, "new_url": TWO}, "Webhook successfully updated"),
            (DELETE, {"url": TWO}, "Webhook successfully removed"),
            (MANAGE, {"type": "3", "url": ONE}, "Webhook successfully created."),
        )
    ):
        key = {"Idempotency-Key": f"k{number}"}
        done(await pos.send(path, body, headers=key), message)
        again = await pos.send(path, body, headers=key)
        done(again, message)
        assert again.headers["Idempotent-Replayed"] == "true"
        other = await pos.send(path, {**body, "url": THREE, "new_url": THREE}, headers=key)
        assert other.status_code == 422
        assert other.json()["data"] is None


async def test_no_answer_and_no_event_holds_a_secret(pos: Pos) -> None:
    answers = [
        await pos.send(CREATE, {"url": ONE}),
        await pos.send(MANAGE, {"type": "3", "url": TWO}),
        await pos.send(LIST),
        await pos.service.get("/api/ledger/events"),
    ]
    assert not [answer for answer in answers if "whsec_" in answer.text]
