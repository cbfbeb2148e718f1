"""A process that competes for stock with others: ``python -m tests.proof.rival TASK``.

TASK is JSON: where the database is, and what its clients do. It prints ``ready``, waits for a
line of input, so that all processes begin together, and prints what its clients achieved.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from deploy.address import DatabaseAddress
from ledger.committer import Committer
from tests.proof.rig import Desk, Ledger, issue, receive


class Task(msgspec.Struct, frozen=True):
    """``clients`` clients do ``rounds`` rounds each on one SKU of a tenant.

    A round is one issue of one; with ``restock`` it is a receipt of one, now and then.
    """

    address: Mapping[str, Any]
    tenant_id: int
    clients: int
    rounds: int = 1
    restock: bool = False
    seed: int = 0


async def compete(task: Task, committer: Committer) -> Counter[str]:
    """Run the clients; count what was received and issued, and why what was not was refused."""
    desk = Desk(committer, task.tenant_id)
    tally: Counter[str] = Counter()

    async def client(number: int) -> None:
        dice = random.Random(f"{task.seed}.{number}")
        for round_number in range(task.rounds):
            restock = task.restock and dice.random() < 0.3
            command = receive(1) if restock else issue(1)
            key = f"{task.seed}.{number}.{round_number}"
            done = await desk.do(command, key=key)
            tally[done.refused or ("received" if restock else "issued")] += 1

    await asyncio.gather(*(client(number) for number in range(task.clients)))
    return tally


async def race(ledger: Ledger, tasks: Sequence[Task]) -> Counter[str]:
    """Run each task in a process of its own, all at once; return their tallies added up."""
    async with AsyncExitStack() as stack:
        rivals: list[asyncio.subprocess.Process] = []
        for task in tasks:
            rival = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.proof.rival",
                msgspec.json.encode(task).decode(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            stack.callback(_end, rival)
            rivals.append(rival)
        outputs = [rival.stdout for rival in rivals]
        for output in outputs:
            assert output is not None
            assert await output.readline() == b"ready\n"
        for rival in rivals:
            assert rival.stdin is not None
            rival.stdin.write(b"go\n")
        total: Counter[str] = Counter()
        for output in outputs:
            assert output is not None
            total.update(json.loads(await output.readline()))
        for rival in rivals:
            assert await rival.wait() == 0
        return total


def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()


async def _main(task: Task) -> None:
    ledger = Ledger(DatabaseAddress(task.address, {}, {}))
    async with ledger.committer() as committer:
        await Desk(committer, task.tenant_id).do(issue(10**6))  # Connected, and warm.
        print("ready", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await compete(task, committer)), flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main(msgspec.json.decode(sys.argv[1], type=Task)))
