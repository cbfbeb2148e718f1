"""A consumer of the relay: keeps a stock table in SQLite, made from the stream alone.

    python docs/examples/relay_consumer.py "$(cat .stockledger/nats/reader-url)" --database stock.db

It reads a tenant's stream through a durable pull consumer. What is to be copied from it:

- The position is stored with the rows, in one transaction, and only then acknowledged. So it may
  be killed at any moment: what comes again is known by its position and passed over.
- Whenever it connects, it looks where the server would go on. If that is not right behind its own
  position, the durable consumer is made anew there. So it is after a crash, when a batch was
  delivered and not acknowledged (it would come again later, behind newer ones), and after either
  side was restored.
- A position that is missing after that stops it: the stream no longer holds its beginning.

It needs nats-py and nothing of Stockledger's.
"""

import argparse
import asyncio
import contextlib
import json
import sqlite3
import sys
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import nats
import nats.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

BATCH = 500
WAIT_S = 1.0
RETRY_S = 0.5
# What may be under way before it is acknowledged: more than one batch, or it would wait for itself.
ACK_PENDING_MAX = 4 * BATCH

# A movement: this much from one account to another, each at a location. An account is a product's
# at a location: unrestricted, quarantine, in_transit, supplier, customer, adjustment or loss.
Movement = tuple[Decimal, tuple[str, int], tuple[str, int]]


class Gap(Exception):
    """The stream does not go on where the table ends."""


def movement(kind: str, data: dict[str, Any]) -> Movement | None:
    """Return what an event moves, or None when it moves nothing.

    docs/reference/events.md tells it of each; fields that have their default are left out.
    """
    here: int = data.get("location_id", 0)
    quantity = Decimal(data.get("quantity", 0))
    match kind:
        case "StockReceived":
            return quantity, (data.get("source", "supplier"), here), ("unrestricted", here)
        case "StockIssued":
            return quantity, ("unrestricted", here), (data.get("destination", "customer"), here)
        case "StockAdjusted" | "CountVarianceRevised":
            return quantity, ("adjustment", here), ("unrestricted", here)
        case "StockCounted":
            return Decimal(data["variance"]), ("adjustment", here), ("unrestricted", here)
        case "TransferShipped":
            return quantity, ("unrestricted", here), ("in_transit", data["to_location_id"])
        case "TransferReceived":
            return quantity, ("in_transit", here), ("unrestricted", here)
        case "TransferLost":
            return quantity, ("in_transit", here), ("loss", here)
        case "StockQuarantined":
            return quantity, ("unrestricted", here), ("quarantine", here)
        case "QuarantineReleased":
            restocked = data.get("disposition", "restock") == "restock"
            return quantity, ("quarantine", here), ("unrestricted" if restocked else "loss", here)
        case "MovementReversed":
            source = data["from_account"], data["from_location_id"]
            return quantity, source, (data["to_account"], data["to_location_id"])
        case _:
            return None


class StockTable:
    """The table, and the position up to which it is made."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS progress (position INTEGER NOT NULL);
            -- Quantities are decimals, as text: SQLite's own numbers are not exact.
            CREATE TABLE IF NOT EXISTS stock (
                product_id INTEGER, location_id INTEGER, account TEXT, quantity TEXT NOT NULL,
                PRIMARY KEY (product_id, location_id, account)
            ) WITHOUT ROWID;
            """
        )
        row = self._database.execute("SELECT position FROM progress").fetchone()
        if row is None:
            self._database.execute("INSERT INTO progress VALUES (0)")
        self.position: int = 0 if row is None else row[0]

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def apply(self, events: list[dict[str, Any]]) -> None:
        """Take events in, all or none; those that it has already are passed over."""
        position = self.position
        with self._transaction():
            for event in events:
                if event["position"] <= position:
                    continue
                if event["position"] != position + 1:
                    raise Gap(f"position {position + 1} is missing; {event['position']} has come")
                position = event["position"]
                self._move(event["type"], event["data"])
            self._database.execute("UPDATE progress SET position = ?", (position,))
        self.position = position

    def _move(self, kind: str, data: dict[str, Any]) -> None:
        moved = movement(kind, data)
        if moved is None:
            return
        quantity, source, target = moved
        for (account, location_id), change in ((source, -quantity), (target, quantity)):
            key = (data["product_id"], location_id, account)
            row = self._database.execute(
                "SELECT quantity FROM stock WHERE (product_id, location_id, account) = (?, ?, ?)",
                key,
            ).fetchone()
            balance = change + (Decimal(row[0]) if row else 0)
            self._database.execute("REPLACE INTO stock VALUES (?, ?, ?, ?)", (*key, str(balance)))

    def rows(self) -> list[tuple[int, int, str, Decimal]]:
        """Return every balance that is not zero: product, location, account, quantity."""
        found = self._database.execute("SELECT * FROM stock ORDER BY 1, 2, 3")
        return [(p, where, account, Decimal(q)) for p, where, account, q in found if Decimal(q)]


async def consume(url: str, tenant: int, durable: str, table: StockTable, until: int) -> None:
    """Follow the stream, up to ``until`` where that is above zero; come back from every failure.

    Raises Gap when what is to come next is not in the stream.
    """
    gap_at = -1
    while not 0 < until <= table.position:
        try:
            await _follow(url, tenant, durable, table, until)
        except Gap:
            if gap_at == table.position:
                raise
            gap_at = table.position
        except (nats.errors.Error, OSError, TimeoutError) as error:
            print(f"{type(error).__name__}: {error}; trying again", file=sys.stderr)
            await asyncio.sleep(RETRY_S)


async def _follow(url: str, tenant: int, durable: str, table: StockTable, until: int) -> None:
    stream = f"STOCKLEDGER-{tenant}"
    client = await nats.connect(url, allow_reconnect=False, name=durable)
    try:
        jetstream = client.jetstream()
        with contextlib.suppress(NotFoundError):
            known = await jetstream.consumer_info(stream, durable)
            if known.delivered is None or known.delivered.stream_seq != table.position:
                await jetstream.delete_consumer(stream, durable)
        subscription = await jetstream.pull_subscribe(
            f"stockledger.{tenant}.>",
            durable=durable,
            stream=stream,
            config=ConsumerConfig(
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=table.position + 1,
                ack_policy=AckPolicy.ALL,
                max_ack_pending=ACK_PENDING_MAX,
                ack_wait=10,
            ),
        )
        while not 0 < until <= table.position:
            try:
                messages = await subscription.fetch(BATCH, timeout=WAIT_S)
            except TimeoutError:
                if client.is_closed:
                    return
                continue
            # The body is the event as /api/ledger/events shows it.
            table.apply([json.loads(message.data) for message in messages])
            await messages[-1].ack()
        await client.flush()
    finally:
        await client.close()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="such as nats://reader:password@127.0.0.1:4222")
    parser.add_argument("--tenant", type=int, default=1)
    parser.add_argument("--database", default="stock.db", help="the SQLite file")
    parser.add_argument(
        "--durable", default="stock-table", help="the consumer's name at the server"
    )
    parser.add_argument("--until", type=int, default=0, help="end at this position, and show")
    given = parser.parse_args()
    table = StockTable(given.database)
    asyncio.run(consume(given.url, given.tenant, given.durable, table, given.until))
    for product_id, location_id, account, quantity in table.rows():
        print(f"product {product_id}, location {location_id}: {quantity} {account}")


if __name__ == "__main__":
    main()
