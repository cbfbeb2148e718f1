"""What the documentation shows is what happens: its examples are run, its links are followed.

A fenced block of the language ``console`` is a terminal: a line that begins with ``$`` is a
command, lines right below it that are indented by six spaces belong to it, and what follows is
what it prints. All blocks of a page are run in their order by one shell, against a service that
was just set up.
In what is shown, ``…`` stands for anything within a line, and alone on a line for any lines;
times, and long hexadecimal names, need not be the same.
"""

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
# Pages in a row are read, and run, one after the other on one installation.
JOURNEYS = (
    ("README.md", "docs/guides/operating.md"),
    ("docs/start.md", "docs/guides/mihwar.md"),
    ("docs/guides/relay.md", "docs/guides/webhooks.md"),
    ("docs/guides/auditor.md",),
    ("docs/guides/analyst.md",),
    (
        "docs/guides/integrator.md",
        "docs/guides/importing.md",
        "docs/guides/mipos.md",
        "docs/guides/woocommerce.md",
    ),
)
KEY = "documentation-example-key-0001"
PASSWORD = "correct horse battery"
START_TIMEOUT_S = 90
SHELL_TIMEOUT_S = 180
_INDENT = " " * 6
_MARK = "----- stockledger documentation -----"

_FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
# A whole word, since many a short number is hexadecimal too.
_VARYING = (
    re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?"),
    re.compile(r"\b[0-9a-f]{16,}\b(-[0-9a-f]+)?"),
)


class Example(NamedTuple):
    """A command and the lines that it is shown to print."""

    command: str
    shown: list[str]


def examples(page: Path) -> list[Example]:
    """Return a page's examples in their order."""
    found: list[Example] = []
    for block in _FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith(_INDENT) and found and not found[-1].shown:
                found[-1] = Example(f"{found[-1].command}\n{line}", [])
            elif line.startswith("$ "):
                found.append(Example(line[2:], []))
            else:
                assert found, f"{page}: a block begins with what no command has printed: {line}"
                found[-1].shown.append(line)
    return found


def plain(text: str) -> str:
    """Return a line without what may vary, and without spaces that make no difference."""
    for pattern in _VARYING:
        text = pattern.sub("…", text)
    return " ".join(text.split())


def is_shown(shown: list[str], printed: list[str]) -> bool:
    """Say whether lines that were printed are those that are shown."""
    pattern = ""
    for line in [plain(line) for line in shown if line.strip()]:
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
    text = "".join(f"{plain(line)}\n" for line in printed if line.strip())
    return re.fullmatch(pattern, text) is not None


# --- the service and the shell -----------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that looks like a checkout, with a database that was set up but never used."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "docs").symlink_to(ROOT / "docs")
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    program = programs / "stockledger"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deploy.cli "$@"\n')
    program.chmod(0o755)
    interpreter = programs / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    interpreter.chmod(0o755)
    subprocess.run(
        [program, "migrate"],
        cwd=folder,
        env=environment(folder / "template"),
        check=True,
        capture_output=True,
        timeout=START_TIMEOUT_S,
    )
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def environment(data_dir: Path, port: int = 0) -> dict[str, str]:
    """Return the environment of a fresh installation whose secrets are known."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("STOCKLEDGER_")}
    return {
        **own,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(":"),
        "COLUMNS": "100",
        "STOCKLEDGER_DATA_DIR": str(data_dir),
        "STOCKLEDGER_PORT": str(port),
        "STOCKLEDGER_BOOTSTRAP_OWNER_PASSWORD": PASSWORD,
        "STOCKLEDGER_BOOTSTRAP_API_KEY": KEY,
    }


@contextmanager
def service(home: Path, name: str) -> Generator[Mapping[str, str]]:
    """Run a service of its own; give the environment of a shell that talks to it."""
    data_dir = home / name
    # With its owners: as root, the database's files belong to another user.
    subprocess.run(["cp", "-a", str(home / "template"), str(data_dir)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = environment(data_dir, port)
    log = data_dir.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [home / ".venv" / "bin" / "stockledger", "serve"],
            cwd=home,
            env=settings,
            stdout=output,
            stderr=output,
        )
    try:
        base = f"http://127.0.0.1:{port}"
        wait_until_ready(process, base, log)
        yield {**settings, "BASE": base, "KEY": KEY, "PASSWORD": PASSWORD}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        shutil.rmtree(data_dir, ignore_errors=True)


def wait_until_ready(process: "subprocess.Popen[bytes]", base: str, log: Path) -> None:
    """Wait until the service takes requests; fail with its log when it does not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{base}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the service did not start:\n{log.read_text(encoding='utf-8')}")


def run(commands: list[str], env: Mapping[str, str], cwd: Path) -> list[list[str]]:
    """Run commands in one shell; return the lines that each printed."""
    script = f"\necho '{_MARK}'\n".join(commands)
    done = subprocess.run(
        ["bash"],
        input=script,
        env=dict(env),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SHELL_TIMEOUT_S,
        check=False,
    )
    printed = [part.splitlines() for part in done.stdout.split(f"{_MARK}\n")]
    assert len(printed) == len(commands), f"the shell ended early:\n{done.stdout[-2000:]}"
    return printed


# --- tests ------------------------------------------------------------------------------


@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey[0])
def test_the_examples_print_what_is_shown(journey: tuple[str, ...], home: Path) -> None:
    """Every command of the pages, in order, from a fresh installation on."""
    wrong: list[str] = []
    with service(home, Path(journey[0]).stem.lower()) as env:
        for page in journey:
            wanted = examples(ROOT / page)
            printed = run([example.command for example in wanted], env, home)
            wrong += [
                f"{page}: $ {example.command}\n--- shown\n"
                + "\n".join(example.shown)
                + "\n--- printed\n"
                + "\n".join(lines)
                for example, lines in zip(wanted, printed, strict=True)
                if not is_shown(example.shown, lines)
            ]
    assert not wrong, "\n\n".join(wrong)


def pages() -> list[Path]:
    """Return every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_page_whose_examples_are_marked_is_run() -> None:
    """No page has a ``console`` block that nobody runs."""
    marked = {
        str(page.relative_to(ROOT))
        for page in pages()
        if "```console" in page.read_text(encoding="utf-8")
    }
    assert marked == {page for journey in JOURNEYS for page in journey}


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    """To a file that is there, and to a heading that is in it."""
    broken: list[str] = []
    for page in pages():
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """Return the names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_test_that_is_named_exists() -> None:
    """Where a page says which test proves something, that test is there."""
    for page in pages():
        for path, name in _TEST.findall(page.read_text(encoding="utf-8")):
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            names = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name in names, f"{page.relative_to(ROOT)}: {path} has no {name}"


def test_pages_are_found_by_their_index() -> None:
    """docs/index.md names every page but those of decisions, which it links to as a folder."""
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    listed = [page.relative_to(docs) for page in sorted(docs.rglob("*.md"))]
    missing = [
        str(page)
        for page in listed
        if page.parent.name != "adr" and page.name != "index.md" and str(page) not in index
    ]
    assert missing == []
