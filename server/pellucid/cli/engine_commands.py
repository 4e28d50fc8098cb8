"""The ``pellucid engines`` commands. Heavy imports happen inside commands, as in app.py."""

from __future__ import annotations

from typing import Annotated

import typer

engines_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Url = Annotated[str, typer.Argument(help="Address of the engine, such as http://10.0.0.5:8000.")]


@engines_app.command("list", epilog="Example: pellucid engines list")
def list_engines() -> None:
    """List the engines elsewhere that compute the running server's models, with their state."""
    from pellucid.cli import manage_engines

    manage_engines.show_all()


@engines_app.command("add", epilog="Example: pellucid engines add http://10.0.0.5:8000")
def add_engine(url: Url) -> None:
    """Add an engine to the file of engines, and wait until the running server has checked it."""
    from pellucid.cli import manage_engines

    manage_engines.add(url)


@engines_app.command("remove", epilog="Example: pellucid engines remove http://10.0.0.5:8000")
def remove_engine(url: Url) -> None:
    """Remove an engine from the file of engines; the running server lets its answers finish."""
    from pellucid.cli import manage_engines

    manage_engines.remove(url)
