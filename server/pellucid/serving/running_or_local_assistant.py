"""The assistant for a command: of the running server, or loaded in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from pellucid.client.http_client import Client
from pellucid.client.server_health import HealthStatus, problem_at
from pellucid.config import Settings, load_settings
from pellucid.errors import UnavailableError

if TYPE_CHECKING:
    from pellucid.text.assistant import LocalAssistant


@contextmanager
def open_assistant(runner: asyncio.Runner, model: str | None) -> Iterator[tuple[LocalAssistant | Client, str | None]]:
    """Yield a server's or a local assistant, and the model's name (None: the first)."""
    settings = load_settings()
    client = Client(settings.url, settings.key)
    try:
        if runner.run(_serves(client, model)):
            yield client, model
            return
    finally:
        runner.run(client.aclose())
    yield from _loaded_here(settings, model)


async def _serves(client: Client, model: str | None) -> bool:
    """Return whether a server serves the model; otherwise print the reason to stderr."""
    health = await client.server_health()
    if not health.answers:
        typer.echo(
            f"No server at {client.url}: loading the model in this process (pellucid serve keeps the model loaded; "
            "set PELLUCID_PORT to the port of a running server).",
            err=True,
        )
        return False
    if health.status is HealthStatus.FOREIGN:
        raise UnavailableError(f"{problem_at(client.url, HealthStatus.FOREIGN)}: stop it, or choose another port.")
    if health.status in (HealthStatus.LOADING, HealthStatus.LEAVING, HealthStatus.FAILED):
        reason = health.message.rstrip(".")
        raise UnavailableError(f"The server at {client.url} is not ready: {reason}. Try again in a moment.")
    known = [str(card["id"]) for card in await client.models()]
    if model is None or model in known:
        return True
    typer.echo(
        f"The server at {client.url} serves {', '.join(known)}, not {model}: loading it in this process.", err=True
    )
    return False


def _loaded_here(settings: Settings, model: str | None) -> Iterator[tuple[LocalAssistant, str | None]]:
    from pellucid.serving.assemble import assemble
    from pellucid.terminal.progress_bars import Bars

    with Bars() as progress:
        # A command makes one request at a time, without saved prompts.
        engine, assistant = assemble(
            settings.model_copy(update={"prefix_memory": 0}), [model or settings.models[0]], progress
        )
    try:
        yield assistant, None
    finally:
        engine.close()
