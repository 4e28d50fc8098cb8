"""The work of ``pellucid engines``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from pellucid.client.http_client import Client
from pellucid.config import Settings, load_settings
from pellucid.errors import ConfigError, NotFoundError, UnavailableError
from pellucid.fleet.membership import CHECK_SECONDS, engine_in, engine_url, read_engines, read_list
from pellucid.system import atomic_files
from pellucid.terminal.plain_tables import plain_console, plain_table

PATIENCE_SECONDS = 5 * CHECK_SECONDS
"""Time for the server to see a change of the file. The check of an engine that compiles its kernels
takes longer.
"""

Engine = Mapping[str, Any]


def show_all(url: str, key: str | None) -> None:
    engines = _ask(url, key)
    if engines is None:
        raise UnavailableError(f"No server answers at {url}: start one with pellucid serve --engine URL.")
    if not engines:
        typer.echo(
            f"The server at {url} has no engines: it computes its models itself, or its list of engines is empty."
        )
        return
    table = plain_table(("engine", "state", "vLLM", "models", "running", "waiting", "lost"), whole_names=True)
    for one in engines:
        counts = (str(one[name]) for name in ("running", "waiting", "lost"))
        table.add_row(one["id"], one["state"], one["version"], ", ".join(one["models"]), *counts)
    plain_console().print(table)
    for one in engines:
        if one.get("problem"):
            typer.echo(f"{one['id']}: {one['problem']}")
        for model, reason in one.get("adapter_problems", {}).items():
            typer.echo(f"{one['id']} does not serve {model}: {reason}")


def add(url: str) -> None:
    """Add an engine to the file, and report the running server's state of the engine.

    Raises ConfigError.
    """
    settings, url = load_settings(), engine_url(url)
    file = _file(settings)
    if url in read_engines(file):
        typer.echo(f"{url} is in {file} already.")
    else:
        text = read_list(file)
        _write(file, f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{url}\n")
        typer.echo(f"{url} was added to {file}.")
    engines = _wait(settings, lambda engines: any(one["id"] == url and one["state"] == "ready" for one in engines))
    if engines is None:
        typer.echo("No server is running; the next one will use it.")
        return
    found = next((one for one in engines if one["id"] == url), None)
    if found is None:
        typer.echo(f"The server at {settings.url} does not read this file: start it with --engines-file {file}.")
    elif found["state"] == "ready":
        typer.echo("The server uses it.")
    else:
        typer.echo(f"The server does not use it yet. {found.get('problem') or ''}".rstrip())


def remove(url: str) -> None:
    settings, url = load_settings(), engine_url(url)
    file = _file(settings)
    if url not in read_engines(file):
        raise NotFoundError(f"{url} is not in {file}: engines that were given by --engine stay until the server exits.")
    lines = read_list(file).splitlines(keepends=True)
    kept = [line for line in lines if engine_in(line) != url]
    _write(file, "".join(kept))
    typer.echo(f"{url} was removed from {file}.")
    engines = _wait(settings, lambda engines: all(one["id"] != url for one in engines))
    found = next((one for one in engines or () if one["id"] == url), None)
    if found is not None and found["state"] == "draining":
        typer.echo("Its answers are still running; it gets no new ones.")
    elif found is not None:
        typer.echo("The server still uses it: it was also given by --engine, or the server does not read this file.")


def _file(settings: Settings) -> Path:
    if settings.engines_file is None:
        raise ConfigError(
            "No file of engines is set: set PELLUCID_ENGINES_FILE to its path, here and for pellucid serve."
        )
    return settings.engines_file


def _write(file: Path, text: str) -> None:
    with atomic_files.errors_explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_files.write_text(file, text)


def _wait(settings: Settings, holds: Callable[[Sequence[Engine]], bool]) -> Sequence[Engine] | None:
    """Return the running server's engines once ``holds`` is true, or after PATIENCE_SECONDS.

    The result is None without a server.
    """
    late = time.monotonic() + PATIENCE_SECONDS
    while True:
        engines = _ask(settings.url, settings.key)
        if engines is None or holds(engines) or time.monotonic() > late:
            return engines
        time.sleep(CHECK_SECONDS / 4)


def _ask(url: str, key: str | None) -> Sequence[Engine] | None:
    async def ask() -> Sequence[Engine] | None:
        async with Client(url, key) as client:
            health = await client.server_health(verified=False)
            return await client.administration.engines() if health.answers else None

    return asyncio.run(ask())
