"""The commands that learn and judge. Like those of cli.py they import nothing heavy until one of them runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from pellucid.errors import ConfigError

learning = typer.Typer(rich_markup_mode=None)


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say in one sentence which extra is to be installed where one of its libraries is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"This needs {error.name}: run pip install '.[{extra}]' in Pellucid's folder.") from error
