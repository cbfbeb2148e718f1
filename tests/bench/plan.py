"""What a run of the bench shares: how long and how large, its folder, its installations."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from tests.bench.measure import FULL, QUICK, Durations, Progress
from tests.bench.servers import Installation, Server, bench_server, installation, plain_server

SPREAD_PRODUCTS = 1_000
BULK_PRODUCTS = 20_000
CONNECTIONS = 64
BULK_CONNECTIONS = 3


class Size(NamedTuple):
    """How much is measured, and for how long each time."""

    durations: Durations
    few_events: int
    many_events: int
    few_products: int
    many_products: int


FULL_SIZE = Size(FULL, 50_000, 5_000_000, 10_000, 1_000_000)
QUICK_SIZE = Size(QUICK, 10_000, 200_000, 2_000, 40_000)


class Bench:
    """A run. What several figures need is started when the first of them asks for it."""

    def __init__(
        self, folder: Path, size: Size, http_server: str, progress: Progress, stack: AsyncExitStack
    ) -> None:
        self.folder = folder
        self.size = size
        self.durations = size.durations
        self.http_server = http_server
        self.progress = progress
        self._stack = stack
        self._main: Installation | None = None
        self._large: Installation | None = None
        self._plain: Server | None = None

    def counting(self, what: str, whole: int, each: int = 1) -> Callable[[int], None]:
        """Return a progress callback that shows how much of a whole is done."""

        def on_done(done: int) -> None:
            self.progress(f"{what}: {min(done * each, whole):,} of {whole:,}")

        return on_done

    async def install(self, name: str, *, workers: int = 1, outward: bool = False) -> Installation:
        """Start a service on a fresh folder; it runs to the end of the bench."""
        self.progress(f"starting the service '{name}'")
        return await self._stack.enter_async_context(
            installation(
                self.folder / name, workers=workers, http_server=self.http_server, outward=outward
            )
        )

    async def main(self) -> Installation:
        """Return the installation that most figures are measured on: 20,000 SKUs with stock."""
        if self._main is None:
            self._main = await self.install("main")
            await self.grow(self._main, BULK_PRODUCTS)
            await self._main.settle()
        return self._main

    async def any(self) -> Installation:
        """Return an installation that runs already, if one does."""
        return self._main or self._large or await self.main()

    async def large(self) -> Installation:
        """Return the installation that grows large; each figure grows it to what it needs."""
        if self._large is None:
            self._large = await self.install("large")
        return self._large

    async def ceiling(self) -> Server:
        """Return a new server with the empty handler."""
        return await self._stack.enter_async_context(
            bench_server("tests.bench.ceiling:app", self.folder, self.http_server)
        )

    async def plain(self) -> Server:
        """Return the plain handler's server, on the main installation's database server."""
        if self._plain is None:
            ours = await self.main()
            self.progress("starting the plain handler")
            self._plain = await self._stack.enter_async_context(
                plain_server(
                    ours.database,
                    self.folder,
                    self.http_server,
                    products=BULK_PRODUCTS,
                    location_id=ours.location_id,
                )
            )
        return self._plain

    async def grow(self, where: Installation, products: int) -> None:
        """Register and stock products until there are so many."""
        more = products - where.products
        if more > 0:
            await where.grow(products, self.counting("registering and stocking", more, 1000))
