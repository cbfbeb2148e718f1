"""`stockledger import`: order lines, products, suppliers, customers, warehouses out of files."""

import asyncio
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import rich_click as click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table as Grid
from rich.text import Text

from api.imports import order_lines
from api.imports.catalogue import (
    Categories,
    CustomerTranslator,
    ProductTranslator,
    RecordTranslator,
    SupplierTranslator,
    WarehouseTranslator,
    known_headings,
)
from api.imports.listings import ListingTranslator
from api.imports.order_lines import NOT_GOODS, OrderLineOptions, OrderLineTranslator
from api.imports.refused import RefusedFile
from api.imports.runner import ImportFailed, ImportReport, ImportRunner
from api.imports.tables import Table, UnreadableFile
from api.imports.translation import Translator, choose_columns
from deploy.commands._import_demand import command as import_demand
from deploy.commands._tenants import tenant_named
from deploy.running import run
from deploy.settings import Settings, load_settings
from deploy.wiring import open_ledger

EXIT_INTERRUPTED: Final = 130
SHARE_MAX: Final = 1
FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what all imports take: how the file is written, whose ledger, where refusals go."""
    for option in reversed(
        [
            click.option(
                "--map",
                "mapping",
                metavar="FIELD=HEADING,…",
                help="Which column holds which field, where its heading is not a usual one.",
            ),
            click.option("--tenant", metavar="SLUG", help="Whose ledger; the first one's if not."),
            click.option(
                "--refused",
                type=click.Path(path_type=Path, dir_okay=False),
                help="Where refused lines are written. [FILE's name]-refused.csv, here, if not.",
            ),
            click.option("--sheet", help="A workbook's sheet; its first if not said."),
            click.option("--delimiter", default=",", show_default=True, help="Of a CSV's cells."),
            click.option("--encoding", default="utf-8-sig", show_default=True, help="Of a CSV."),
        ]
    ):
        command = option(command)
    return command


@click.group("import")
def command() -> None:
    """Take a file in, every line of it: as events, or refused with the reason.

    The same file again adds nothing; a run that was stopped goes on where it was.
    """


@command.command("order-lines")
@FILE
@common_options
@click.option(
    "--timezone",
    required=True,
    metavar="ZONE",
    help="The shop's zone, such as Europe/London, for dates that have none.",
)
@click.option("--location", default="MAIN", show_default=True, help="Where the goods move.")
@click.option(
    "--opening",
    type=click.Choice(["cover", "none"]),
    default="cover",
    show_default=True,
    help="Goods from before the file: cover receives just what keeps stock from going below"
    " zero; none refuses what is not there.",
)
@click.option(
    "--not-goods",
    default=",".join(NOT_GOODS),
    show_default=True,
    metavar="CODE,…",
    help="Codes that are charges and notes, in any case; * and ? are wildcards.",
)
@click.option(
    "--cancellation-prefix",
    default="C",
    show_default=True,
    help="What the numbers of cancelling invoices begin with; empty for none.",
)
@click.option("--date-format", metavar="FORMAT", help="As for strptime; ISO 8601 if not said.")
@click.option(
    "--cost-ratio",
    metavar="SHARE",
    help="What goods cost as a share of their first price, such as 0.55; unknown if not said.",
)
def import_order_lines(
    file: Path,
    mapping: str | None,
    timezone: str,
    location: str,
    opening: order_lines.OpeningPolicy,
    not_goods: str,
    cancellation_prefix: str,
    date_format: str | None,
    cost_ratio: str | None,
    **common: Any,
) -> None:
    """Sales lines: products, opening stock, issues, returns, corrections.

    Fields of --map: invoice, sku, description, quantity, date, price, customer.
    """

    def translator(table: Table) -> Translator:
        known, required = order_lines.KNOWN_HEADINGS, order_lines.REQUIRED
        return OrderLineTranslator(
            table,
            OrderLineOptions(
                columns=choose_columns(table, known, required, mapping),
                zone=_zone(timezone),
                location=_location(location),
                opening=opening,
                not_goods=tuple(code.strip() for code in not_goods.split(",") if code.strip()),
                cancellation_prefix=cancellation_prefix,
                date_format=date_format,
                cost_ratio=None if cost_ratio is None else _share(cost_ratio),
            ),
        )

    _import(file, translator, **common)


@command.command("products")
@FILE
@common_options
@click.option("--stock-column", metavar="HEADING", help="A column with what is on hand.")
@click.option("--location", default="MAIN", show_default=True, help="Where that is.")
@click.option(
    "--categories",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with the names of categories, where FILE has their category_id alone.",
)
def import_products(
    file: Path,
    mapping: str | None,
    stock_column: str | None,
    location: str,
    categories: Path | None,
    **common: Any,
) -> None:
    """Products, with what is on hand of them where the file says so.

    A category that is not there yet is defined; a supplier is named by its code, and must be
    there: import suppliers first, or leave them out with --map supplier=

    Fields of --map: sku, name, price, cost, description, barcode, vendor, supplier, category,
    unit, reorder, discontinued.
    """

    def translator(table: Table) -> Translator:
        known = known_headings(ProductTranslator.fields)
        named = None
        if categories is not None:
            delimiter, encoding = common["delimiter"], common["encoding"]
            named = Categories(Table(categories, delimiter=delimiter, encoding=encoding))
            known["category"] = ("category_id", *known["category"])
        return ProductTranslator(
            table,
            choose_columns(table, known, ProductTranslator.required, mapping),
            stock_column=stock_column,
            location=_location(location),
            categories=named,
        )

    _import(file, translator, **common)


@command.command("suppliers")
@FILE
@common_options
def import_suppliers(file: Path, mapping: str | None, **common: Any) -> None:
    """Suppliers. Fields of --map: name, code, email, phone, terms, lead_time."""

    def translator(table: Table) -> Translator:
        return SupplierTranslator(table, _columns(SupplierTranslator, table, mapping))

    _import(file, translator, **common)


@command.command("customers")
@FILE
@common_options
def import_customers(file: Path, mapping: str | None, **common: Any) -> None:
    """Customers, each with the address that goods are sent to.

    Fields of --map: name, code, email, phone, company, type, contact, address, address2, city,
    state, postcode, country.
    """

    def translator(table: Table) -> Translator:
        return CustomerTranslator(table, _columns(CustomerTranslator, table, mapping))

    _import(file, translator, **common)


@command.command("warehouses")
@FILE
@common_options
def import_warehouses(file: Path, mapping: str | None, **common: Any) -> None:
    """Warehouses.

    Fields of --map: code, name, address, city, state, postcode, country, timezone, default,
    limit.
    """

    def translator(table: Table) -> Translator:
        return WarehouseTranslator(table, _columns(WarehouseTranslator, table, mapping))

    _import(file, translator, **common)


@command.command("listings")
@FILE
@common_options
@click.option(
    "--run",
    "run_name",
    metavar="NAME",
    help="A name for this import, to take the same file in once more after others.",
)
def import_listings(file: Path, mapping: str | None, run_name: str | None, **common: Any) -> None:
    """What is where and how it is sold: stock, prices, backorders, disabled at locations.

    The file is one that GET /wp-json/mulopimfwc/v1/inventory/export?format=csv gives. Stock is
    an absolute figure, as of the import. A blank price is the product's own.

    Fields of --map: sku, location, stock, regular_price, sale_price, backorders, disabled.
    """

    def translator(table: Table) -> Translator:
        columns = _columns(ListingTranslator, table, mapping)
        return ListingTranslator(table, columns, run=run_name)

    _import(file, translator, **common)


command.add_command(import_demand)


# --- parts ------------------------------------------------------------------------------


def _columns(kind: type[RecordTranslator], table: Table, mapping: str | None) -> dict[str, str]:
    return choose_columns(table, known_headings(kind.fields), kind.required, mapping)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write one such as Europe/London") from error


def _share(text: str) -> Decimal:
    fault = f"--cost-ratio must be a share such as 0.55, above 0 and at most 1, not {text!r}"
    if not re.fullmatch(r"[0-9](\.[0-9]{1,6})?", text, re.ASCII):
        raise ValueError(fault)
    share = Decimal(text)
    if not 0 < share <= SHARE_MAX:
        raise ValueError(fault)
    return share


def _location(code: str) -> str:
    code = code.strip()
    if not 1 <= len(code) <= 50 or not code.isprintable():
        raise ValueError("--location must be a code of 1 to 50 characters")
    return code


class _Rate(ProgressColumn):
    """Lines a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} lines/s", style="cyan")


def _import(
    file: Path,
    make_translator: Callable[[Table], Translator],
    *,
    tenant: str | None,
    refused: Path | None,
    sheet: str | None,
    delimiter: str,
    encoding: str,
) -> None:
    """Run one import and tell of it."""
    settings = load_settings()
    console = Console(soft_wrap=True)
    target = refused or Path(f"{file.stem}-refused.csv")
    try:
        if len(delimiter) != 1:
            raise ValueError("--delimiter must be one character")
        table = Table(file, sheet=sheet, delimiter=delimiter, encoding=encoding)
        translator = make_translator(table)
        report = run(settings, _take_in(settings, tenant, table, translator, target, console))
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where it was.")
        sys.exit(EXIT_INTERRUPTED)
    except (UnreadableFile, ImportFailed, ValueError, LookupError) as error:
        raise click.ClickException(str(error)) from error
    _tell(console, file, report, target)


async def _take_in(
    settings: Settings,
    tenant: str | None,
    table: Table,
    translator: Translator,
    target: Path,
    console: Console,
) -> ImportReport:
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=console,
    )
    async with open_ledger(settings) as house:
        tenant_id = await tenant_named(house.pool, tenant)
        with progress, RefusedFile(target, table.columns) as refused:
            await _survey(translator, progress)
            task = progress.add_task("importing", total=translator.lines_total)

            def advance(report: ImportReport) -> None:
                progress.update(task, completed=report.lines)

            runner = ImportRunner(house.committer, house.pool, tenant_id)
            return await runner.run(table, translator, refused, advance)


async def _survey(translator: Translator, progress: Progress) -> None:
    task: TaskID = progress.add_task("reading", total=None)
    for count in translator.survey():
        progress.update(task, completed=count)
        await asyncio.sleep(0)
    progress.update(task, completed=translator.lines_total, total=translator.lines_total)


def _tell(console: Console, file: Path, report: ImportReport, target: Path) -> None:
    console.print(f"{file.name}, batch {report.batch_id}", markup=False, highlight=False)
    grid = Grid()
    grid.add_column("lines")
    grid.add_column("count", justify="right")
    grid.add_row("accepted", f"{report.accepted:,}")
    for reason, count in report.refused.most_common():
        grid.add_row(f"refused: {reason}", f"{count:,}")
    grid.add_section()
    grid.add_row("all", f"{report.lines:,}")
    console.print(grid)
    if report.was_complete:
        console.print("This file was taken in before; nothing was added.")
    else:
        if report.chunks_found:
            console.print(f"{report.chunks_found} chunks of an earlier run were there already.")
        events = ", ".join(f"{n:,} {kind}" for kind, n in report.appended.most_common())
        console.print(f"Events added: {events or 'none'}. The log is at {report.position:,}.")
    if report.refused:
        console.print(f"Refused lines, with their reasons: {target}")
