"""The ``pellucid engines`` commands. Heavy imports happen inside commands, like in app.py."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.api_key_option import ApiKeyFile, ServerKey, warn_of_visible_key

engines_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Url = Annotated[str, typer.Argument(help="Address of the engine, for example http://10.0.0.5:8000.")]


@engines_app.command("list", epilog="Example: pellucid engines list --server http://192.168.0.7:8437")
def list_engines(
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="URL of the server; by default the URL in the settings.")
    ] = None,
    api_key: ServerKey = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """List the remote engines that compute the running server's models, with their state."""
    from pellucid.cli import manage_engines
    from pellucid.config import load_settings

    settings = load_settings(api_key=api_key, api_key_file=api_key_file)
    warn_of_visible_key(api_key)
    url = (server or settings.url).rstrip("/")
    manage_engines.show_all(
        url, settings.key if api_key is not None or api_key_file is not None else settings.key_for(url)
    )


@engines_app.command("add", epilog="Example: pellucid engines add http://10.0.0.5:8000")
def add_engine(url: Url) -> None:
    """Add an engine to the file of engines, and wait for the running server's check."""
    from pellucid.cli import manage_engines

    manage_engines.add(url)


@engines_app.command("remove", epilog="Example: pellucid engines remove http://10.0.0.5:8000")
def remove_engine(url: Url) -> None:
    """Remove an engine from the file of engines; running answers finish."""
    from pellucid.cli import manage_engines

    manage_engines.remove(url)
