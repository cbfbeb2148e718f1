"""What telling others takes away from the writes beside it: the relay, and webhooks."""

import asyncio
from urllib.request import Request, urlopen

import msgspec

from tests.bench.measure import in_turn
from tests.bench.plan import CONNECTIONS, SPREAD_PRODUCTS, Bench
from tests.bench.rates import rate_of
from tests.bench.report import Figure
from tests.bench.servers import OWNER_EMAIL, OWNER_PASSWORD, Installation
from tests.bench.webhooks import receiver

_WEBHOOKS = "/api/integrations/v1/webhooks"


async def beside_writes(bench: Bench) -> list[Figure]:
    """Single commands a second with everything told to NATS and to a webhook, and to nobody."""
    silent = await bench.install("silent")
    outward = await bench.install("outward", outward=True)
    for place in (silent, outward):
        await bench.grow(place, SPREAD_PRODUCTS)
    async with receiver() as port:
        await asyncio.to_thread(_subscribe, outward, port)
        for place in (silent, outward):
            await place.settle()
        found = await in_turn(
            {
                name: rate_of(bench, place.server, place.adjust(name, CONNECTIONS, SPREAD_PRODUCTS))
                for name, place in (("told to nobody", silent), ("told", outward))
            },
            bench.durations.rounds,
            bench.progress,
        )
    return [
        Figure(
            name="single commands with relay and webhooks on",
            unit="/s",
            ours=found["told"],
            against="with them off",
            baseline=found["told to nobody"],
            limit=0.85,
            note=f"{CONNECTIONS} connections; NATS, the relay, the deliverer and a webhook's "
            "receiver, which gets every change of stock, are on the same two processors",
        )
    ]


def _subscribe(place: Installation, port: int) -> None:
    """Have every change of stock sent to a receiver on this machine."""
    login = _post(
        place, "/api/auth/login", {"email": OWNER_EMAIL, "password": OWNER_PASSWORD}, None
    )
    token = login["token"]
    endpoint = {"url": f"http://127.0.0.1:{port}/", "topics": ["stock.changed"]}
    made = _post(place, _WEBHOOKS, endpoint, token)
    _post(place, f"{_WEBHOOKS}/{made['id']}/verify", {}, token)


def _post(place: Installation, path: str, body: object, token: str | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = Request(
        f"http://127.0.0.1:{place.server.port}{path}",
        method="POST",
        data=msgspec.json.encode(body),
        headers=headers,
    )
    with urlopen(request, timeout=30) as answer:
        return msgspec.json.decode(answer.read())
