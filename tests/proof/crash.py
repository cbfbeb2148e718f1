"""Kill the service and its servers under load, again and again; nothing may be lost or doubled.

``python -m tests.proof.crash --kills 50``. Clients write with idempotency keys over HTTP and keep
their own history of what was acknowledged. At the end every acknowledged command is in the log
exactly once, every one whose answer was lost is there once or not at all and, sent again with
its key, exactly once; ``stockledger verify`` finds everything as it should be; the stream that the
relay fills has the whole log, in order and each event once; and a webhook's receiver, which fails
half the time, has been told of every change of an order's status, in order for each order, or that
change is parked. None of its processes is left.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import httpx
import nats.errors
import psutil
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from projections.relay_messages import stream_name
from tests.proof.unreliable_receiver import UnreliableReceiver
from tests.support.nats import connect, messages

KEY = "crash-test-key-0123456789abcdef"
CLIENTS = 12
PRODUCTS = 5
READY_WITHIN_S = 60.0
GONE_WITHIN_S = 40.0
CALM_S = (0.3, 1.5)
COMMAND = (sys.executable, "-c", "from deploy.cli import main; main()")
RELAYED_WITHIN_S = 60.0
# All eight attempts at a message within a minute, instead of 28 hours.
RETRY_MINUTES = 1
SETTLED_WITHIN_S = 240.0
OWNER = "owner@example.com"
PASSWORD = "crash test password"
WEBHOOKS = "/api/integrations/v1/webhooks"
Victim = Literal[
    "service", "postmaster", "backend", "backend, gently", "relay", "NATS", "deliverer"
]
VICTIMS: tuple[Victim, ...] = get_args(Victim)


@dataclass
class Sent:
    """One command in a client's history: what it was told, and how often."""

    path: str
    body: dict[str, Any]
    told: Literal["nothing", "done", "refused"] = "nothing"
    position: int | None = None


@dataclass
class Report:
    """What was done, and what was found."""

    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    refused: int = 0
    unanswered: int = 0
    of_them_done: int = 0
    events: int = 0
    relayed: int = 0
    told: int = 0
    failed: int = 0
    parked: int = 0
    faults: list[str] = field(default_factory=list)


class Service:
    """A ``stockledger serve`` of our own, on a free port, with its own data.

    Only one that is ``outward`` relays and sends webhooks; the others start the sooner.
    """

    def __init__(self, folder: Path, *, outward: bool = False) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "service.log"
        self.nats_folder = folder / "data" / "nats"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("STOCKLEDGER_")},
            "STOCKLEDGER_DATA_DIR": str(folder / "data"),
            "STOCKLEDGER_PORT": str(self.port),
            "STOCKLEDGER_BOOTSTRAP_API_KEY": KEY,
            "STOCKLEDGER_BOOTSTRAP_OWNER_EMAIL": OWNER,
            "STOCKLEDGER_BOOTSTRAP_OWNER_PASSWORD": PASSWORD,
            "STOCKLEDGER_RELAY": str(outward).lower(),
            "STOCKLEDGER_WEBHOOKS": str(outward).lower(),
            "STOCKLEDGER_WEBHOOK_HTTP_ALLOWED": "true",
            "STOCKLEDGER_WEBHOOK_PRIVATE_ALLOWED": "true",
            "STOCKLEDGER_WEBHOOK_RETRY_MINUTES": str(RETRY_MINUTES),
            "STOCKLEDGER_LOG_LEVEL": "warning",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path[1:]]),
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it takes requests."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *COMMAND, "serve", env=self.environment, stdout=log, stderr=log
            )
        await self.ready()

    async def ready(self) -> None:
        """Wait until it is ready; raise TimeoutError, with its log, when it does not get so."""
        assert self.process is not None
        try:
            async with asyncio.timeout(READY_WITHIN_S), httpx.AsyncClient() as client:
                while True:
                    if self.process.returncode is not None:
                        raise TimeoutError
                    with suppress(httpx.HTTPError):
                        answer = await client.get(f"{self.url}/health/ready", timeout=2)
                        if answer.status_code == 200:
                            return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TimeoutError(f"not ready again:\n{self.log.read_text()[-3000:]}") from None

    async def strike(self, victim: Victim, dice: random.Random) -> None:
        """Kill somebody, and start again what does not start again by itself."""
        assert self.process is not None
        if victim == "service":
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
            await self.start()
            return
        if victim in ("relay", "NATS", "deliverer"):
            with suppress(psutil.NoSuchProcess, FileNotFoundError):
                self._follower(victim).kill()
            return
        postmaster, backends = self._postgres()
        if victim == "postmaster" or not backends:
            targets, number = [postmaster], signal.SIGKILL
        else:
            targets = [dice.choice(backends)]
            number = signal.SIGKILL if victim == "backend" else signal.SIGTERM
        for target in targets:
            with suppress(psutil.NoSuchProcess):
                target.send_signal(number)
        await asyncio.sleep(0.05)
        await self.ready()

    def _follower(self, victim: Victim) -> psutil.Process:
        """Return the process that relays or that delivers, or the server that is relayed to."""
        assert self.process is not None
        if victim == "NATS":
            return psutil.Process(int((self.nats_folder / "nats.pid").read_text()))
        work = "deliver" if victim == "deliverer" else "relay"
        for child in psutil.Process(self.process.pid).children():
            if child.cmdline()[-2:] == ["deploy.workers", work]:
                return child
        raise psutil.NoSuchProcess(0, work)

    def _postgres(self) -> tuple[psutil.Process, list[psutil.Process]]:
        """Return the database's first process, and those that serve connections."""
        assert self.process is not None
        processes: list[psutil.Process] = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.name() == "postgres":
                    processes.append(process)
        postmaster = processes[0]
        backends: list[psutil.Process] = []
        for process in processes[1:]:
            with suppress(psutil.NoSuchProcess):
                if "stockledger_app" in " ".join(process.cmdline()):
                    backends.append(process)
        return postmaster, backends

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run another ``stockledger`` command on the same data."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    def last_errors(self) -> str:
        """Return the last errors of the service's log, for whoever looks for the fault."""
        lines = self.log.read_text().splitlines()
        return "\n".join([line for line in lines if '"level": "error"' in line][-5:])

    async def stop(self) -> None:
        """Stop it as Ctrl-C would."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(self.process.wait(), 60)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()


class Load:
    """Clients that write without a pause, and remember what they were told."""

    def __init__(self, service: Service, seed: int) -> None:
        self.history: dict[str, Sent] = {}
        self.wrong: list[str] = []
        self._seed = seed
        self._running = True
        self._client = httpx.AsyncClient(
            base_url=service.url,
            headers={"X-API-Key": KEY},
            timeout=10,
            limits=httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS),
        )
        self._tasks: list[asyncio.Task[None]] = []
        # Without a key, which would stand in for the owner's token.
        self._owners_client = httpx.AsyncClient(base_url=service.url, timeout=30)

    async def shop(self) -> None:
        """Make a warehouse and products, with a little stock."""
        await self._must("/api/warehouses", {"name": "Main", "code": "MAIN"})
        for number in range(1, PRODUCTS + 1):
            product = {"name": f"P{number}", "sku": f"P{number}", "base_price": "1"}
            await self._must("/api/products", product)

    async def _must(self, path: str, body: dict[str, Any]) -> None:
        answer = await self._client.post(path, json=body)
        assert answer.status_code == 201, answer.text

    async def subscribe(self, receiver: UnreliableReceiver) -> None:
        """Have a receiver told of every change of an order's status."""
        login = {"email": OWNER, "password": PASSWORD}
        answer = await self._client.post("/api/auth/login", json=login)
        assert answer.status_code == 200, answer.text
        self._owners_client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        endpoint = {"url": receiver.url, "topics": ["order.status_changed"]}
        made = await self._as_owner("POST", WEBHOOKS, endpoint)
        receiver.secret = made["secret"]
        await self._as_owner("POST", f"{WEBHOOKS}/{made['id']}/verify", {})

    async def _as_owner(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._owners_client.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def deliveries(self, state: str) -> list[dict[str, Any]]:
        """Return the deliveries to the receiver that are in a state, as they are shown."""
        found: list[dict[str, Any]] = []
        while True:
            page = len(found) // 200 + 1
            path = f"{WEBHOOKS}/1/deliveries?state={state}&limit=200&page={page}"
            listed = (await self._as_owner("GET", path))["deliveries"]
            found += listed
            if len(listed) < 200:
                return found

    def start(self) -> None:
        """Start the clients."""
        self._tasks = [asyncio.create_task(self._write(n)) for n in range(CLIENTS)]
        self._tasks.append(asyncio.create_task(self._order()))

    async def stop(self) -> None:
        """Let the clients finish what they are at."""
        self._running = False
        await asyncio.gather(*self._tasks)

    async def _write(self, number: int) -> None:
        dice = random.Random(f"{self._seed}.{number}")
        count = 0
        while self._running:
            count += 1
            body = {
                "product_id": dice.randint(1, PRODUCTS),
                "warehouse_id": 1,
                "quantity": dice.choice([1, 2, 3, -1, -2, -4]),
                "reason": "crash test",
            }
            key = f"{number}.{count}"
            self.history[key] = Sent("/api/inventory/adjust", body)
            await self.send(key)
            if self.history[key].told == "nothing":
                # While nobody answers, no more than must be sent again in the end.
                await asyncio.sleep(0.2)

    async def _order(self) -> None:
        """Place orders, pay some of them, and cancel them; what becomes of each, the log tells."""
        dice = random.Random(f"{self._seed}.orders")
        while self._running:
            item = {"product_id": dice.randint(1, PRODUCTS), "quantity": 1, "unit_price": "1"}
            order = {"warehouse_id": 1, "channel": "api", "items": [item]}
            with suppress(httpx.HTTPError):
                placed = await self._client.post("/api/orders", json=order)
                if placed.status_code == 201:
                    path = f"/api/orders/{placed.json()['id']}/status"
                    for status in dice.choice([["cancelled"], ["paid", "cancelled"]]):
                        await self._client.patch(path, json={"status": status})
            await asyncio.sleep(0.1)

    async def send(self, key: str) -> None:
        """Send a command of the history, and note what is answered."""
        sent = self.history[key]
        try:
            answer = await self._client.post(
                sent.path, json=sent.body, headers={"Idempotency-Key": key}
            )
        except httpx.HTTPError:
            return
        if answer.status_code in (200, 201):
            sent.told, sent.position = "done", int(answer.headers["Ledger-Position"])
        elif answer.status_code == 409:
            sent.told = "refused"
        elif answer.status_code != 503:
            self.wrong.append(f"{key} was answered {answer.status_code}: {answer.text}")

    async def effects(self) -> dict[str, list[int]]:
        """Return the positions of the events of each key, from the log over HTTP."""
        found: dict[str, list[int]] = {}
        after: int | None = 0
        while after is not None:
            answer = await self._client.get(
                "/api/ledger/events", params={"after": after, "limit": 1000}
            )
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for event in page["events"]:
                key = event["meta"].get("idempotency_key")
                if key is not None:
                    found.setdefault(key, []).append(event["position"])
            after = page["next_after"]
        return found

    async def lines(self) -> list[bytes]:
        """Return the log's events, as they are shown, one after the other."""
        answer = await self._client.get(
            "/api/ledger/events", headers={"Accept": "application/x-ndjson"}, timeout=60
        )
        assert answer.status_code == 200, answer.text
        return answer.content.splitlines()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
        await self._owners_client.aclose()


async def crash(
    kills: int,
    *,
    seed: int = 1,
    failing: float = 0.5,
    on_kill: Callable[[Victim], object] = lambda victim: None,
) -> Report:
    """Run the whole of it; the report's ``faults`` say what was wrong, if anything.

    ``failing`` is how often the webhooks' receiver fails.
    """
    dice = random.Random(seed)
    receiver = UnreliableReceiver(seed, failing)
    folder = Path(tempfile.mkdtemp(prefix="stockledger-crash-"))
    service = Service(folder, outward=True)
    report = Report()
    beside = AsyncExitStack()
    try:
        await service.start()
        load = Load(service, seed)
        await load.shop()
        await beside.enter_async_context(receiver.running())
        await load.subscribe(receiver)
        load.start()
        for number in range(kills):
            await asyncio.sleep(dice.uniform(*CALM_S))
            victim = VICTIMS[number % len(VICTIMS)]
            await service.strike(victim, dice)
            report.kills[victim] += 1
            on_kill(victim)
        await asyncio.sleep(1)
        await load.stop()
        await _judge(service, load, report)
        await _judge_relay(service, load, report)
        await _judge_webhooks(load, receiver, report)
        await load.close()
        report.faults += load.wrong
        if load.wrong:
            report.faults.append(service.last_errors())
        status, output = await service.run("verify")
        if status != 0:
            report.faults.append(f"verify ended with {status}:\n{output}")
    finally:
        await beside.aclose()
        await service.stop()
        report.faults += [f"{command} goes on" for command in await _left_over(service)]
        shutil.rmtree(folder, ignore_errors=True)
    return report


async def _left_over(service: Service) -> list[str]:
    """Return what still runs of the services that were, killed ones too, after a while."""
    data_dir = service.environment["STOCKLEDGER_DATA_DIR"]
    left: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(GONE_WITHIN_S):
            while left := [
                " ".join(process.info["cmdline"] or ())[:200]
                for process in psutil.process_iter(["cmdline", "environ"])
                if (process.info["environ"] or {}).get("STOCKLEDGER_DATA_DIR") == data_dir
            ]:
                await asyncio.sleep(0.2)
    return left


async def _judge(service: Service, load: Load, report: Report) -> None:
    """Hold the clients' histories against the log, then settle what they do not know."""
    await service.ready()
    effects = await load.effects()
    unknown = [key for key, sent in load.history.items() if sent.told == "nothing"]
    for key, sent in load.history.items():
        positions = effects.get(key, [])
        if sent.told == "done" and positions != [sent.position]:
            report.faults.append(f"{key} was acknowledged at {sent.position}: {positions}")
        if sent.told == "refused" and positions:
            report.faults.append(f"{key} was refused and is at {positions}")
        if len(positions) > 1:
            report.faults.append(f"{key} took effect at {positions}")
    report.unanswered = len(unknown)
    report.of_them_done = sum(key in effects for key in unknown)
    for key in unknown:
        before = effects.get(key)
        for _ in range(100):
            await load.send(key)
            if load.history[key].told != "nothing":
                break
            await asyncio.sleep(0.1)
        sent = load.history[key]
        if before is not None and (sent.told, sent.position) != ("done", before[0]):
            report.faults.append(f"{key} was at {before}, but its retry was told {sent}")
    effects = await load.effects()
    for key, sent in load.history.items():
        expected = [sent.position] if sent.told == "done" else []
        if effects.get(key, []) != expected:
            report.faults.append(f"{key} should be at {expected}: {effects.get(key)}")
    told = Counter(sent.told for sent in load.history.values())
    report.acknowledged, report.refused = told["done"], told["refused"]
    report.events = sum(map(len, effects.values()))


async def _judge_relay(service: Service, load: Load, report: Report) -> None:
    """Hold the stream against the log, once the relay has had the time to catch up."""
    logged = await load.lines()
    url = (service.nats_folder / "reader-url").read_text().strip()
    relayed: list[Any] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(RELAYED_WITHIN_S):
            while len(relayed) < len(logged):
                await asyncio.sleep(0.2)
                with suppress(OSError, nats.errors.Error):
                    client = await connect(url)
                    relayed = await messages(client, stream_name(1))
                    await client.close()
    if [message.data for message in relayed] != logged:
        report.faults.append(
            f"the stream has {len(relayed)} events and the log {len(logged)}, or others"
        )
    report.relayed = len(relayed)


async def _judge_webhooks(load: Load, receiver: UnreliableReceiver, report: Report) -> None:
    """Hold what the receiver was told against the log, once nothing waits any more."""
    expected = await _order_events(load)
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while await load.deliveries("waiting") or len(await load.deliveries("delivered")) + len(
                await load.deliveries("parked")
            ) < len(expected):
                await asyncio.sleep(0.5)
    parked = {each["position"] for each in await load.deliveries("parked")}
    told = [message.data["position"] for message in receiver.taken]
    # A parked one may have arrived: its answer was lost, and so were all those after it.
    if sorted({*told, *parked}) != sorted(expected):
        report.faults.append(
            f"{len(expected)} changes of orders: {len(told)} told, {len(parked)} parked"
        )
    last: dict[int, int] = {}
    for message in receiver.taken:
        order, position = message.data["order_id"], message.data["position"]
        if last.get(order, 0) > position:
            report.faults.append(f"order {order}: {position} was told after {last[order]}")
        last[order] = position
    report.faults += receiver.wrong
    report.told, report.parked, report.failed = len(told), len(parked), receiver.failed


async def _order_events(load: Load) -> list[int]:
    """Return the positions at which an order's status changed."""
    positions: list[int] = []
    for line in await load.lines():
        event = json.loads(line)
        if event["type"] in ("OrderPlaced", "OrderPaid", "OrderCancelled"):
            positions.append(event["position"])
    return positions


def main() -> int:
    """Run from the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    console = Console()
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("killing", total=arguments.kills)

        def show(victim: Victim) -> None:
            bar.update(task, advance=1, description=f"killed the {victim}")

        report = asyncio.run(crash(arguments.kills, seed=arguments.seed, on_kill=show))
    table = Table(title=f"Crash test, seed {arguments.seed}", title_justify="left")
    table.add_column("What")
    table.add_column("How many", justify="right")
    for victim, times in report.kills.items():
        table.add_row(f"killed: {victim}", str(times))
    table.add_row("commands acknowledged", f"{report.acknowledged:,}")
    table.add_row("commands refused", f"{report.refused:,}")
    table.add_row("commands without an answer at first", f"{report.unanswered:,}")
    table.add_row("of them done already when sent again", f"{report.of_them_done:,}")
    table.add_row("events relayed", f"{report.relayed:,}")
    table.add_row("webhooks told", f"{report.told:,}")
    table.add_row("webhooks failed by the receiver", f"{report.failed:,}")
    table.add_row("webhooks parked", f"{report.parked:,}")
    table.add_row("faults", str(len(report.faults)))
    console.print(table)
    for fault in report.faults[:20]:
        console.print(fault, style="bold red")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
