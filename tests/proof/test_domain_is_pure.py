"""Invariant I10: domain code reads no clock, no random source and no database.

Import contracts keep libraries out; this looks at what is called, in every module of the
domain and of the vocabulary that it is made of.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*(ROOT / "ledger/domain").glob("*.py"), *(ROOT / "schemas").glob("*.py")])
ALLOWED_LIBRARIES = {"msgspec"}
ALLOWED_OF_OURS = ("ledger.domain", "ledger.aliases", "schemas")
IMPURE_MODULES = {
    "asyncio", "io", "locale", "logging", "multiprocessing", "os", "pathlib", "random",
    "secrets", "shutil", "socket", "subprocess", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
IMPURE_NAMES = {"open", "input", "print", "eval", "exec", "id", "float", "globals", "__import__"}
IMPURE_METHODS = {"now", "utcnow", "today", "fromtimestamp", "getenv", "uuid4"}


def test_there_is_a_domain_to_look_at() -> None:
    """The paths above are right."""
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_of_the_domain_is_pure(path: Path) -> None:
    """It imports the vocabulary, msgspec and pure parts of the standard library, and no more."""
    assert list(_impurities(path)) == []


def _impurities(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                modules = [alias.name for alias in names]
            case ast.ImportFrom(module=str() as module):
                modules = [module]
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_NAMES:
                yield f"line {node.lineno}: {name}()"
                continue
            case ast.Call(func=ast.Attribute(attr=name)) if name in IMPURE_METHODS:
                yield f"line {node.lineno}: .{name}()"
                continue
            case ast.Call(func=ast.Attribute(attr="astimezone"), args=[]):
                yield f"line {node.lineno}: .astimezone() of the machine's own zone"
                continue
            case ast.AsyncFunctionDef() | ast.Await() | ast.Global() | ast.Nonlocal():
                yield f"line {node.lineno}: {type(node).__name__}"
                continue
            case _:
                continue
        for module in modules:
            top = module.partition(".")[0]
            standard = top in sys.stdlib_module_names and top not in IMPURE_MODULES
            if not (standard or top in ALLOWED_LIBRARIES or module.startswith(ALLOWED_OF_OURS)):
                yield f"line {node.lineno}: import {module}"
