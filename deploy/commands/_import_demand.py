"""``stockledger import demand``: a file of past demand, sent to the running service."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import rich_click as click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from api.credentials import new_session
from api.imports.demand import (
    KNOWN_HEADINGS,
    REQUIRED,
    DemandFile,
    DemandOptions,
    Refusal,
)
from api.imports.refused import RefusedFile
from api.imports.tables import Table, UnreadableFile
from api.imports.translation import choose_columns
from deploy.bootstrap import USER_ID
from deploy.commands._http_client import HttpClient, RequestRefused
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger
from schemas.demand import PeriodKind

PATH: Final = "/api/integrations/v1/ingestion/order-lines"
PAGE_LIMIT: Final = 200
EXIT_INTERRUPTED: Final = 130


class Ingested(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the service says of a batch."""

    import_batch_id: str
    lines: int
    accepted: int
    refused: int


class _RefusalRow(msgspec.Struct, frozen=True):
    line: int
    code: str
    detail: str


class _RefusalsPage(msgspec.Struct, frozen=True):
    refusals: list[_RefusalRow]
    total: int


@click.command("demand")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--period",
    type=click.Choice(["day", "week", "month"]),
    required=True,
    help="What a line's quantity is of: the day of its date, its week from Monday, its month.",
)
@click.option(
    "--map",
    "mapping",
    metavar="FIELD=HEADING,…",
    help="Which column holds which field, where its heading is not a usual one.",
)
@click.option(
    "--timezone",
    metavar="ZONE",
    help="Says which day a time with an offset is in; the default location's zone if not given.",
)
@click.option("--date-format", metavar="FORMAT", help="As for strptime; ISO 8601 if not said.")
@click.option("--source", metavar="NAME", help="The batch's name in the system it is from.")
@click.option("--url", metavar="URL", help="The running service; that of the settings if not said.")
@click.option(
    "--api-key",
    envvar="SL_API_KEY",
    metavar="KEY",
    help="Whose demand it is, and may write; --tenant's owner on this machine if not given.",
)
@click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not.")
@click.option(
    "--refused",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where refused lines are written. [FILE's name]-refused.csv, here, if not.",
)
@click.option("--sheet", help="A workbook's sheet; its first if not said.")
@click.option("--delimiter", default=",", show_default=True, help="Of a CSV's cells.")
@click.option("--encoding", default="utf-8-sig", show_default=True, help="Of a CSV.")
def command(
    file: Path,
    period: PeriodKind,
    mapping: str | None,
    timezone: str | None,
    date_format: str | None,
    source: str | None,
    url: str | None,
    api_key: str | None,
    tenant: str | None,
    refused: Path | None,
    sheet: str | None,
    delimiter: str,
    encoding: str,
) -> None:
    """Past demand, by day, week or month: it moves no stock.

    The lines are sent to the running service, which takes them in as POST
    /api/integrations/v1/ingestion/order-lines does. Fields of --map: sku, quantity, date.
    """
    settings = load_settings()
    console = Console(soft_wrap=True)
    target = refused or Path(f"{file.stem}-refused.csv")
    try:
        if len(delimiter) != 1:
            raise ValueError("--delimiter must be one character")
        table = Table(file, sheet=sheet, delimiter=delimiter, encoding=encoding)
        columns = choose_columns(table, KNOWN_HEADINGS, REQUIRED, mapping)
        demand = DemandFile(table, DemandOptions(columns, period, timezone, date_format, source))
        token = api_key or run(settings, _session(settings, tenant))
        client = HttpClient(url or _own_url(settings), token, threading.Event())
        try:
            ingested, replayed, codes = take_in(client, table, demand, target, console)
        finally:
            client.close()
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where it was.")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except (UnreadableFile, RequestRefused, ValueError, LookupError) as error:
        raise click.ClickException(str(error)) from error
    _tell(console, file, ingested, replayed=replayed, codes=codes, target=target)


def take_in(
    client: HttpClient, table: Table, demand: DemandFile, target: Path, console: Console
) -> tuple[Ingested, bool, Counter[str]]:
    """Send a file, and write what was refused of it; return what the service says of the batch.

    Also whether it was taken in before, and how many lines were refused for which reason. Raises
    RequestRefused when the service cannot be reached or will not have the request.
    """
    client.check("/api/tenant")
    progress = Progress(
        TextColumn("sending"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    with progress:
        task = progress.add_task("", total=None)

        def pieces() -> Iterator[bytes]:
            return demand.pieces(lambda count: progress.update(task, completed=count))

        answer = client.stream(PATH, pieces, "application/x-ndjson", demand.key)
    ingested = msgspec.json.decode(answer.body, type=Ingested)
    codes: Counter[str] = Counter()

    def refusals() -> Iterator[Refusal]:
        for page in range(1, -(-ingested.refused // PAGE_LIMIT) + 1):
            path = f"/api/import-batches/{ingested.import_batch_id}/refusals"
            reply = client.get(f"{path}?page={page}&limit={PAGE_LIMIT}")
            for row in msgspec.json.decode(reply.body, type=_RefusalsPage).refusals:
                codes[row.code] += 1
                yield Refusal(row.line, row.code, row.detail)

    with RefusedFile(target, table.columns) as file:
        demand.tell_refused(refusals(), file)
    return ingested, answer.replayed, codes


async def _session(settings: Settings, tenant: str | None) -> str:
    """Return a token of the tenant's owner, as only this machine's settings can make one."""
    async with open_ledger(settings) as house:
        return new_session(
            house.settings.jwt_secret,
            tenant_id=await tenant_named(house.pool, tenant),
            user_id=USER_ID,
            role="owner",
            name="Demand import",
            now=house.now(),
        )


def _own_url(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    return f"http://{host}:{settings.port}"


def _tell(
    console: Console,
    file: Path,
    ingested: Ingested,
    *,
    replayed: bool,
    codes: Counter[str],
    target: Path,
) -> None:
    batch = f"{file.name}, batch {ingested.import_batch_id}"
    console.print(batch, markup=False, highlight=False)
    grid = Grid()
    grid.add_column("lines")
    grid.add_column("count", justify="right")
    grid.add_row("accepted", f"{ingested.accepted:,}")
    for reason, count in codes.most_common():
        grid.add_row(f"refused: {reason}", f"{count:,}")
    grid.add_section()
    grid.add_row("all", f"{ingested.lines:,}")
    console.print(grid)
    if replayed:
        console.print("This file was taken in before; nothing was added.")
    if ingested.refused:
        console.print(f"Refused lines, with their reasons: {target}")
