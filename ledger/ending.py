"""How a task that goes on for ever is ended."""

import asyncio
from typing import Final

CANCEL_AGAIN_S: Final = 10.0


async def end(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended; raise what it failed with, if it did.

    Where it goes on all the same it is cancelled again: a library may swallow a cancellation, as
    ``asyncio.wait_for`` does before Python 3.12 when what is waited for comes at that moment.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    if not task.cancelled():
        task.result()
