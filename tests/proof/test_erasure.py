"""Personal data is nowhere in plain text, before an erasure and after it, and everything holds."""

import asyncio
import base64
import re
import zlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as parquet

from deploy.commands import signing_keys, verify
from ledger.sealing import ERASED
from projections.relay_messages import stream_name
from tests.proof.crash import KEY, OWNER, PASSWORD, Service
from tests.support.commands import do
from tests.support.nats import connect, messages

# No text of ours or of PostgreSQL's has it in it, in whatever case or alphabet.
MARK = "Qvzyxwjkpf"
# What is not personal: where this is not found, nothing was looked into.
CONTROL = "Uqxfpwhbvk tea"
SPELLINGS = [
    each
    for text in (MARK, MARK.lower(), MARK.upper(), MARK.casefold())
    for each in (
        text.encode(),
        text.encode("utf-16-le"),
        text.encode().hex().encode(),
        # Whatever stands before it, one of three ways to write it has this in the middle.
        *(base64.b64encode(b"\0" * skip + text.encode())[skip + 1 : -4] for skip in range(3)),
    )
    if len(each) >= 8
]
PLAIN_FILES = {"customers.csv", "customers.refused.csv"}


def personal(number: int) -> dict[str, Any]:
    """Return all that may be said of a customer, unmistakable and hard to escape."""
    return {
        "name": f'{MARK} "Zoë" O\'Neill, {number}\u2028<&>',
        "email": f"{MARK}.{number}@example.com",
        "phone": f"+49 {MARK} {number}",
        "company": f"=SUM({MARK}) Søn\\AS {number}",
    }


def address(number: int) -> dict[str, Any]:
    """Return a whole address."""
    parts = ("line1", "line2", "city", "state", "postcode", "country", "name", "phone")
    return {part: f"{MARK} {part} {number} 東京" for part in parts}


class Shop:
    """A client of a running service, which remembers what it must see again."""

    def __init__(self, client: httpx.AsyncClient, owner: dict[str, str]) -> None:
        self.client = client
        self.owner = owner

    async def call(
        self, method: str, path: str, body: Any = None, status: int | None = None, **more: Any
    ) -> httpx.Response:
        """Ask as the owner."""
        headers = {**self.owner, **more.pop("headers", {})}
        answer = await self.client.request(method, path, json=body, headers=headers, **more)
        if status is not None:
            assert answer.status_code == status, f"{method} {path}: {answer.text}"
        return answer

    async def post(self, path: str, body: Any, status: int = 201, *, key: str | None = None) -> Any:
        """Write, and return what is answered."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return (await self.call("POST", path, body, status, headers=headers)).json()

    async def get(self, path: str, status: int = 200, **more: Any) -> Any:
        """Read."""
        return (await self.call("GET", path, None, status, **more)).json()


@asynccontextmanager
async def open_shop(service: Service) -> AsyncGenerator[Shop]:
    """Start the service and sign its owner in."""
    await service.start()
    try:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            login = await client.post(
                "/api/auth/login", json={"email": OWNER, "password": PASSWORD}
            )
            yield Shop(client, {"Authorization": f"Bearer {login.json()['token']}"})
    finally:
        await service.stop()


def order(number: int, **more: Any) -> dict[str, Any]:
    """Return an order with all that may be personal in one."""
    return {
        "items": [{"product_id": 1, "quantity": 2}],
        "shipping_address": address(number),
        "notes": f"{MARK} is deaf, ring twice {number}",
        **more,
    }


async def every_way_in(shop: Shop) -> None:
    """Say personal things in every way there is, rightly and wrongly, once and again."""
    post = shop.post
    await post("/api/products", {"name": CONTROL, "sku": "TEA", "base_price": "2.50"})
    await post("/api/warehouses", {"name": "Main", "code": "MAIN"})
    stock = {"product_id": 1, "warehouse_id": 1, "quantity": 500, "unit_cost": "1"}
    await post("/api/inventory/receive", stock, 200)

    # Customers, over their own routes: 1 and 2.
    once = {"headers": {"Idempotency-Key": "first"}}
    entry = {"type": "shipping", **address(1)}
    body = {**personal(1), "code": "ONE", "addresses": [entry]}
    first = await post("/api/customers", body, key="first")
    assert first["name"] == personal(1)["name"]
    again = await shop.call("POST", "/api/customers", body, 201, **once)
    assert (again.headers["idempotent-replayed"], again.json()) == ("true", first)
    spaced = {"content-type": "application/json", **once["headers"]}
    reordered = httpx.Request("POST", "/", json=dict(reversed(body.items()))).content
    same = await shop.client.post(
        "/api/customers", content=b"  " + reordered, headers={**shop.owner, **spaced}
    )
    assert same.json() == first, "the same JSON is the same request"
    other = await shop.call("POST", "/api/customers", personal(3), 422, **once)
    assert other.json()["differing"] == ["body"], other.text
    revised = {**personal(1), "code": "ONE", "phone": f"{MARK} 7"}
    await shop.call("PUT", "/api/customers/1", revised, 200)
    await post("/api/customers/1/addresses", {"type": "billing", **address(1)})
    await post("/api/customers", personal(2))

    # Refused: taken in another case, not an address, not well-formed, unknown fields, too long.
    taken = {**personal(4), "email": personal(1)["email"].upper()}
    assert (await post("/api/customers", taken, 409))["customer_id"] == 1
    for wrong in (
        {**personal(4), "email": f"{MARK} at example.com"},
        {**personal(4), "nickname": MARK},
        {**personal(4), "name": MARK * 100},
        {**personal(4), "customer_type": MARK},
        {**personal(4), "price_tier_id": MARK},
    ):
        await post("/api/customers", wrong, 400)
    broken = f'{{"name": "{MARK}", '.encode()
    headers = {**shop.owner, "content-type": "application/json"}
    assert (
        await shop.client.post("/api/customers", content=broken, headers=headers)
    ).status_code == 400
    await shop.call("PUT", "/api/customers/99", personal(4), 404)

    # In bulk: 3 and 4, as JSON and as lines.
    commands = [
        {
            "type": "RegisterCustomer",
            "data": {**personal(3), "addresses": [{"type": "shipping", "address": address(3)}]},
            "idempotency_key": "bulk-3",
        },
        {
            "type": "AddCustomerAddress",
            "data": {"customer_id": 1, "type": "billing", "address": address(1)},
        },
        {"type": "ReviseCustomer", "data": {"customer_id": 2, **personal(2), "company": MARK}},
        {
            "type": "PlaceOrder",
            "data": {
                "lines": [{"sku": "TEA", "quantity": "1"}],
                "customer_id": 2,
                "shipping_address": address(2),
                "notes": f"{MARK} in bulk",
            },
            "idempotency_key": "bulk-order",
        },
    ]
    path = "/api/ledger/commands"
    for _ in range(2):
        told = await post(path, {"mode": "atomic", "commands": commands}, 200, key="bulk")
        assert told["accepted"] == 4, told
    lines = [
        {"type": "RegisterCustomer", "data": personal(5)},
        {"type": "RegisterCustomer", "data": {**personal(6), "email": personal(1)["email"]}},
        {"type": "RegisterCustomer", "data": {**personal(6), "email": MARK}},
        {"type": "RegisterCustomer", "data": {"name": 7, "phone": MARK}},
        {"type": "RegisterCustomer", "data": {**personal(6), "sealed": {"subject": "0" * 32}}},
        commands[0],
    ]
    content = "\n".join(httpx.Request("POST", "/", json=line).content.decode() for line in lines)
    headers["content-type"] = "application/x-ndjson"
    told = (
        await shop.client.post(f"{path}?mode=independent", content=content, headers=headers)
    ).json()
    assert (told["accepted"], told["refused"]) == (2, 4), told
    assert told["results"][-1]["replayed"] is True

    # Orders: of a customer, of nobody, by a key; and what is done with them.
    for number, path in ((1, "/api/orders"), (2, "/api/orders"), (1, "/api/external/orders")):
        headers = {"X-API-Key": KEY, "Idempotency-Key": f"{path}{number}"}
        for _ in range(2):
            placed = await shop.client.post(
                path, json=order(number, customer_id=number), headers=headers
            )
            assert placed.status_code == 201, placed.text
    nobodys = await post("/api/orders", order(9))
    # The answer to a long one is kept compressed.
    await post("/api/orders", order(9, items=[{"product_id": 1, "quantity": 1}] * 12), key="long")
    await post(
        "/api/orders", order(1, customer_id=1, items=[{"product_id": 1, "quantity": 9999}]), 409
    )
    await post("/api/orders", order(1, customer_id=77), 404)
    await post("/api/orders", order(1, shipping_address={"street": MARK}), 400)
    ours = await shop.get("/api/orders?customer_id=1")
    remarks = {"notes": f"{MARK} called"}
    for row in ours["orders"]:
        path = f"/api/orders/{row['id']}"
        await shop.call("PATCH", f"{path}/status", {"status": "paid", **remarks}, 200)
    fulfilled, cancelled = (row["id"] for row in ours["orders"])
    done = await post(f"/api/orders/{fulfilled}/fulfill", remarks, 200)
    assert done["order_status"] == "fulfilled"
    item = {"order_item_id": fulfilled * 1000 + 1, "quantity": 1}
    back = {"items": [item], "reason": f"{MARK} disliked it", **remarks}
    await post(f"/api/orders/{fulfilled}/returns", back)
    await post(f"/api/orders/{cancelled}/cancel", {"reason": f"{MARK} has moved", **remarks}, 200)
    await shop.call(
        "PATCH", f"/api/orders/{nobodys['id']}/status", {"status": "paid", **remarks}, 200
    )


async def what_is_shown(shop: Shop) -> dict[str, Any]:
    """Return all that tells of customer 1, and of the others, as it is read."""
    shown: dict[str, Any] = {
        "customer": await shop.get("/api/customers/1"),
        "list": await shop.get("/api/customers"),
        "external": await shop.get("/api/external/customers", headers={"X-API-Key": KEY}),
        "orders": await shop.get("/api/orders?customer_id=1"),
        "csv": (await shop.call("GET", "/api/orders/export", None, 200)).text,
        "table": (await shop.call("GET", "/api/customers?format=csv", None, 200)).text,
        "found": [
            (await shop.get("/api/customers", params={"search": text}))["total"]
            for text in (MARK.upper(), "zoë", personal(1)["email"], "SØN\\as 1", "nobody")
        ],
    }
    # A key's requests are logged, but not what they ask for.
    found = await shop.client.get(
        "/api/customers", params={"search": personal(2)["email"]}, headers={"X-API-Key": KEY}
    )
    assert found.json()["total"] == 1
    shown["order"] = await shop.get(f"/api/orders/{shown['orders']['orders'][0]['id']}")
    return shown


def read_all(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Give every file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in PLAIN_FILES:
            yield path, path.read_bytes()


def assert_nowhere(folder: Path) -> None:
    """Look for the mark in every byte below a folder."""
    looked_into = False
    for path, content in read_all(folder):
        looked_into = looked_into or CONTROL.encode() in content
        for spelling in SPELLINGS:
            place = content.find(spelling)
            assert place < 0, f"{path}: {content[max(0, place - 80) : place + 80]!r}"
    assert looked_into, "the database was not looked into"


async def assert_not_within(service: Service, position: int) -> None:
    """Look for the mark in what files hold compressed: rows, responses, messages."""
    tables = (
        "SELECT format('SELECT coalesce(string_agg(t::text, E''\\n''), '''') FROM %I.%I t;', "
        "schemaname, tablename) FROM pg_tables "
        "WHERE schemaname IN ('ledger', 'projections', 'access', 'webhook', 'proof') "
        "AND has_table_privilege(format('%I.%I', schemaname, tablename), 'SELECT') \\gexec"
    )
    code, rows = await service.run("psql", "-t", "-A", "-f", str(_script(service, tables)))
    assert code == 0, rows
    assert rows.count("sealed:1:") > 100
    assert CONTROL in rows, "the rows were not looked into"
    assert MARK.lower() not in rows.lower()
    unpacked: list[bytes] = []
    for match in re.finditer(r"\\x(789c|7801|78da)[0-9a-f]+", rows):
        # A hash may begin like that as well.
        with suppress(zlib.error):
            unpacked.append(zlib.decompress(bytes.fromhex(match[0][2:])))
    assert unpacked, "no compressed response was looked into"
    assert MARK.lower().encode() not in b"".join(unpacked).lower()
    async with asyncio.timeout(30):
        client = await connect((service.nats_folder / "reader-url").read_text().strip())
        try:
            relayed: list[Any] = []
            while len(relayed) < position:
                await asyncio.sleep(0.1)
                relayed = await messages(client, stream_name(1))
        finally:
            await client.close()
    carried = b"\n".join(message.data for message in relayed)
    assert carried.count(b"sealed:1:") > 50
    assert MARK.lower().encode() not in carried.lower()


def _script(service: Service, text: str) -> Path:
    path = service.log.with_name("look.sql")
    path.write_text(text)
    return path


async def figures(shop: Shop) -> dict[str, Any]:
    """Return what must be the same after an erasure: stock, amounts, statuses, and why."""
    orders = (await shop.get("/api/orders?limit=200"))["orders"]
    whole = [await shop.get(f"/api/orders/{row['id']}") for row in orders]
    named = ("customer_name", "shipping_address", "notes", "returns")
    return {
        "inventory": await shop.get("/api/inventory"),
        "orders": [
            {name: value for name, value in row.items() if name not in named} for row in whole
        ],
        "spent": [
            (row["id"], row["total_orders"], row["total_spent"])
            for row in (await shop.get("/api/customers?limit=200"))["customers"]
        ],
        "explained": (await shop.get("/api/ledger/explain?sku=TEA&location=MAIN"))["on_hand"],
    }


async def test_no_personal_text_is_anywhere_and_erasing_leaves_everything_else(
    tmp_path: Path,
) -> None:
    """Every way in, then every byte that was written; then the same after an erasure."""
    service = Service(tmp_path, outward=True)
    async with open_shop(service) as shop:
        await every_way_in(shop)
        csv = tmp_path / "customers.csv"
        csv.write_text(
            "name,email,phone,line1\n"
            f"{MARK} Imported,{MARK}.7@example.com,{MARK} 1,{MARK} Street\n"
            f"{MARK} Refused,{MARK}.7@example.com,{MARK} 2,{MARK} Street\n"
            f"{MARK} Wrong,{MARK},{MARK} 2,{'x' * 201}{MARK}\n"
        )
        code, said = await service.run(
            "import",
            "customers",
            str(csv),
            "--refused",
            str(csv.with_name("customers.refused.csv")),
        )
        assert code == 0, said
        before = await what_is_shown(shop)
        position = (await shop.get("/api/ledger/head"))["position"]
        await assert_not_within(service, position)
    assert before["customer"]["name"] == personal(1)["name"]
    assert before["found"] == [5, 4, 1, 1, 0], before["found"]
    assert before["order"]["shipping_address"] == address(1)
    assert f"'{personal(1)['company']}" in before["table"], "formulas are neutralised when opened"
    assert_nowhere(tmp_path)

    async with open_shop(service) as shop:
        same = await figures(shop)
        await shop.post("/api/customers/2/erase", {}, 409)
        code, said = await service.run("erase", "customer", "2", "--yes")
        assert (code, "has open orders" in said) == (1, True), said
        for _ in range(2):
            erased = await shop.post("/api/customers/1/erase", {"reason": "asked"}, 200, key="e")
            assert erased == {"id": 1, "message": "Customer erased", "plain_events": 0}
        assert (await shop.get("/api/ledger/head"))["position"] == position + 1
        assert await figures(shop) == same
        await assert_erased(shop, before)

        code, said = await service.run("erasure-keys", "rotate")
        assert (code, "1 old master keys are destroyed" in said) == (0, True), said
        others = (await shop.get("/api/customers"))["customers"][1:]
        assert others == before["list"]["customers"][1:], "what is left can still be read"
        code, said = await service.run("erase", "customer", "3", "--yes", "--reason", "asked")
        assert (code, "is erased" in said) == (0, True), said
        assert (await shop.get("/api/customers/3"))["name"] == ERASED
        assert await figures(shop) == same

        log, rows, receipt = tmp_path / "log.ndjson", tmp_path / "log", tmp_path / "receipt.json"
        size = await signed(shop)
        for form, out in (("ndjson", log), ("parquet", rows)):
            code, said = await service.run("export", "log", "--format", form, "--out", str(out))
            assert code == 0, said
        data_dir = Path(service.environment["STOCKLEDGER_DATA_DIR"])
        code, said = do(signing_keys.command, "list", data_dir=data_dir)
        key = said.split()[0]
        registered = await shop.get("/api/ledger/events?type=CustomerRegistered&limit=1")
        (event,) = registered["events"]
        assert event["data"]["name"].startswith("sealed:1:"), "the log is shown as it is"
        path = f"/api/ledger/events/{event['position']}/receipt"
        receipt.write_bytes((await shop.call("GET", path, None, 200)).content)
        code, said = await service.run("verify")
        assert code == 0, said
        await assert_not_within(service, size)
    for file in (log, rows, receipt):
        code, said = do(verify.command, str(file), "--key", key)
        assert code == 0, said
    assert f"{size} events" in said or file is receipt
    lines = log.read_bytes()
    assert lines.count(b"sealed:1:") > 50
    cells = b"".join(repr(parquet.read_table(part).to_pylist()).encode() for part in parts(rows))
    assert cells.count(b"sealed:1:") > 50
    assert MARK.lower().encode() not in cells.lower()
    assert_nowhere(tmp_path)


def parts(folder: Path) -> list[Path]:
    """Return the files of a Parquet export."""
    return sorted(path for path in folder.rglob("*.parquet") if "_checkpoints" not in path.parts)


async def signed(shop: Shop) -> int:
    """Wait until all of the log is signed; return how long it is."""
    async with asyncio.timeout(20):
        while True:
            head = (await shop.get("/api/ledger/head"))["position"]
            listed = await shop.call("GET", "/api/ledger/checkpoint")
            if listed.status_code == 200 and f"\n{head}\n" in listed.text.replace("\\n", "\n"):
                return head
            await asyncio.sleep(0.1)


async def assert_erased(shop: Shop, before: dict[str, Any]) -> None:
    """Customer 1 reads as erased wherever he is, and nothing more is recorded of him."""
    now = await what_is_shown(shop)
    customer = now["customer"]
    assert [customer[name] for name in ("name", "email", "phone", "company")] == [ERASED] * 4
    assert customer["erased_at"] is not None
    assert {row["line1"] for row in customer["addresses"]} == {ERASED}
    assert (customer["id"], customer["code"], customer["total_spent"]) == (
        1,
        "ONE",
        before["customer"]["total_spent"],
    )
    assert now["list"]["customers"][0]["name"] == ERASED
    assert now["list"]["customers"][1:] == before["list"]["customers"][1:]
    assert now["external"]["customers"][0]["email"] == ERASED
    assert {row["customer_name"] for row in now["orders"]["orders"]} == {ERASED}
    order = await shop.get(f"/api/orders/{now['orders']['orders'][0]['id']}")
    assert set(order["shipping_address"].values()) == {ERASED}
    told = [await shop.get(f"/api/orders/{row['id']}") for row in now["orders"]["orders"]]
    assert {order["notes"] for order in told} == {ERASED}
    assert {back["reason"] for order in told for back in order["returns"]} == {ERASED}
    assert now["csv"].count(ERASED) == 2
    assert now["table"].count(ERASED) == 4
    assert now["found"] == [4, 3, 0, 0, 0], "he is not found by what was said of him"

    # What was answered before is answered again, but for what is gone.
    once = {"headers": {"Idempotency-Key": "first"}}
    body = {**personal(1), "code": "ONE", "addresses": [{"type": "shipping", **address(1)}]}
    again = await shop.call("POST", "/api/customers", body, 201, **once)
    assert (again.headers["idempotent-replayed"], again.json()["name"]) == ("true", ERASED)
    for refused in (
        await shop.call("PUT", "/api/customers/1", personal(1), 409),
        await shop.call("POST", "/api/customers/1/addresses", {"type": "billing"}, 409),
        await shop.call("POST", "/api/orders", order_of(1), 409),
    ):
        assert refused.json()["code"] == "customer_erased"
    assert (await shop.post("/api/customers/1/erase", {}, 200))["message"] == "Customer erased"


def order_of(customer_id: int) -> dict[str, Any]:
    """Return an order of a customer."""
    return order(1, customer_id=customer_id)
