"""The ceiling: the same framework on the same HTTP server, with a handler that does nothing."""

from litestar import Litestar, post


@post("/empty")
async def empty() -> None:
    """Do nothing."""


app = Litestar([empty], openapi_config=None)
