"""``python -m tests.bench``: measure every figure, print the table, and write the page."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.bench import machine, micro, report
from tests.bench.measure import LoadFailed
from tests.bench.plan import FULL_SIZE, QUICK_SIZE, Bench
from tests.bench.servers import ServerFailed
from tests.bench.suites import SUITES

METHOD = """
The load generator is a process of its own beside the server and PostgreSQL; it speaks HTTP/1.1
over keep-alive connections in a closed loop, and ends the run on any answer but a success. What
is compared gets the same bytes from it. The empty and the plain handler are served by the same
framework on the same HTTP server with the same options. The plain handler (`tests/bench/plain.py`)
locks the row, checks it, inserts an event and updates the row, one transaction a request, on a
pool of 16; it has no authentication, keys or read models. Contestants take turns, back and forth,
and a figure is the ratio of their medians.
"""


def main() -> int:
    """Run as a program; the exit status is 1 when a figure falls short."""
    arguments = _arguments()
    console = Console()
    if arguments.only == ["micro"]:
        uvloop.run(micro.run(console, rounds=3 if arguments.quick else 30))
        return 0
    names = arguments.only or list(SUITES)
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="stockledger-bench-"))
    try:
        figures, described = uvloop.run(_measure(console, folder, names, arguments))
    except (LoadFailed, ServerFailed) as fault:
        console.print(f"[bold red]The bench has stopped:[/] {fault}", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    report.show(figures, console)
    for name, text in described.items():
        console.print(f"[dim]{name}: {text}[/]", highlight=False)
    if arguments.write:
        text = report.page(figures, described, METHOD, is_quick=arguments.quick)
        console.print(f"written to {report.write(text)}")
    return 1 if any(figure.verdict == "SHORT" for figure in figures) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and small, for development")
    parser.add_argument(
        "--only", action="append", choices=[*SUITES, "micro"], help="only this; may be repeated"
    )
    parser.add_argument("--http-server", choices=["granian", "uvicorn"], default="granian")
    parser.add_argument("--folder", help="work here, and leave it (default: a temporary folder)")
    parser.add_argument("--write", action="store_true", help="write docs/reference/performance.md")
    return parser.parse_args()


async def _measure(
    console: Console, folder: Path, names: Sequence[str], arguments: argparse.Namespace
) -> tuple[list[report.Figure], dict[str, str]]:
    size = QUICK_SIZE if arguments.quick else FULL_SIZE
    figures: list[report.Figure] = []
    async with AsyncExitStack() as stack:
        with _progress(console) as progress:
            task = progress.add_task("", total=None)
            suite = ""

            def tell(what: str) -> None:
                progress.update(task, description=f"[bold]{suite}[/] {what}")

            bench = Bench(folder, size, arguments.http_server, tell, stack)
            for suite in names:
                tell("starting")
                for figure in await SUITES[suite](bench):
                    figures.append(figure)
                    progress.console.print(
                        f"{figure.name}: {report.amount(figure.ours, figure.unit)}, "
                        f"{figure.ratio:.2f} of {figure.against} "
                        f"({report.amount(figure.baseline, figure.unit)}) {figure.verdict}",
                        highlight=False,
                    )
            described = await machine.describe((await bench.any()).database.administrator, folder)
            described["HTTP server"] = arguments.http_server
            tell("stopping the servers")
            await stack.aclose()
    return figures, described


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
    )


if __name__ == "__main__":
    sys.exit(main())
