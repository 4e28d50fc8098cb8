"""Opens an assistant for a command: the running server's, or one whose model is loaded in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from pellucid.client.client import Client
from pellucid.config import Settings, load_settings
from pellucid.errors import UnavailableError

if TYPE_CHECKING:
    from pellucid.text.assistant import LocalAssistant


@contextmanager
def speaker_for(runner: asyncio.Runner, model: str | None) -> Iterator[tuple[LocalAssistant | Client, str | None]]:
    """The running server's assistant, else one that is loaded here, and the name by which it knows the model."""
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
    """Whether a server is there and has the model; says on stderr why not. Raises UnavailableError while it is loading."""
    health = await client.health()
    if health is None:
        typer.echo(f"No server at {client.url}: loading the model here (pellucid serve keeps it loaded).", err=True)
        return False
    if health != "ok":
        raise UnavailableError(f"The server at {client.url} is not ready: {health.rstrip('.')}. Try again in a moment.")
    cards = await client.models()
    if any(card.get("owned_by") != "pellucid" for card in cards):
        raise UnavailableError(f"What answers at {client.url} is not Pellucid: stop it, or set another port.")
    known = [str(card["id"]) for card in cards]
    if model is None or model in known:
        return True
    typer.echo(f"The server at {client.url} has {', '.join(known)}, not {model}: loading it here.", err=True)
    return False


def _loaded_here(settings: Settings, model: str | None) -> Iterator[tuple[LocalAssistant, str | None]]:
    from pellucid.serving.assemble import assemble
    from pellucid.system.terminal import Bars

    with Bars() as progress:
        # A command asks one thing at a time: it needs neither what servers have saved nor a place to save its own.
        engine, assistant = assemble(settings.model_copy(update={"prefix_memory": 0}), [model or settings.models[0]], progress)
    try:
        yield assistant, None
    finally:
        engine.close()
