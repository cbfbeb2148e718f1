"""How a command's coroutine is run: on uvloop, with logging set up."""

from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

from deploy.logging import configure_logging
from deploy.settings import Settings

Result = TypeVar("Result")


def run(settings: Settings, main: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's coroutine to its end and return what it returns."""
    configure_logging(settings)
    return uvloop.run(main)
