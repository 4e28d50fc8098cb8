"""The work of ``pellucid adapters``."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer

from pellucid.client.http_client import Client
from pellucid.config import Settings, load_settings
from pellucid.errors import AdapterError, NotFoundError, UnavailableError
from pellucid.models.adapter_folder import AdapterCard, local_adapter, read_card, stored_adapters
from pellucid.models.store import Store, as_argument, local_path
from pellucid.models.untrusted_files import printable
from pellucid.system import atomic_files
from pellucid.system.atomic_files import human
from pellucid.terminal.plain_tables import plain_console, plain_table
from pellucid.terminal.progress_bars import Bars
from pellucid.vocabulary.model_card import ADAPTER_NAME

T = TypeVar("T")


def show_all() -> None:
    settings = load_settings()
    loaded = asyncio.run(_loaded(settings))
    table = plain_table(("name", "size", "rank", "changes", "made for", "loaded as"), whole_names=True)
    problems = []
    for folder in stored_adapters(Store(settings.cache)):
        served_as = ", ".join(loaded.pop(folder.name, [])) or "no"
        try:
            card = read_card(folder)
        except AdapterError as error:
            problems.append(str(error))
            table.add_row(printable(folder.name), "?", "?", "?", "?", served_as)
            continue
        table.add_row(card.name, human(card.size), str(card.rank), ", ".join(card.targets), card.base or "?", served_as)
    for name, ids in loaded.items():  # Adapters in folders outside of the store.
        table.add_row(name, "?", "?", "?", "?", ", ".join(ids))
    plain_console().print(table)
    for problem in problems:
        typer.echo(problem)


def load(name: str, model: str | None) -> None:
    one = ask_server(lambda client: client.administration.load_adapter(name, model))
    typer.echo(f"{name} is loaded as the model {one['id']}.")
    if one.get("problem"):
        typer.echo(f"Some engines do not serve it. {one['problem']}")


def unload(id: str) -> None:
    one = ask_server(lambda client: client.administration.unload_adapter(id))
    typer.echo(f"{one['name']} is unloaded from {one['base']}; running answers finish.")


def merge(name_or_path: str, folder: Path, model: str | None, dtype: str) -> None:
    from pellucid.models.export_model import merge as write
    from pellucid.models.load import open_checkpoint

    store = Store(load_settings().cache)
    card = read_card(local_adapter(store, name_or_path))
    base = _base_of(card, model, store)
    with Bars() as progress:
        write(open_checkpoint(base, store=store, progress=progress), card, folder.absolute(), dtype, progress)
    typer.echo(f"Wrote {base} with {card.name} to {folder}: pellucid serve --model {as_argument(folder)}")


def remove(names: Sequence[str]) -> None:
    """Delete adapters and the files made with the adapters, and print the freed disk space."""
    store = Store(load_settings().cache)
    for name in names:
        folder = store.adapters / name
        if re.fullmatch(ADAPTER_NAME, name) is None or not folder.is_dir():
            raise NotFoundError(
                f"There is no adapter {name!r} in {store.adapters}: `pellucid adapters list` shows the adapters."
            )
        made = store.made_with_adapter(name)
        freed = sum(path.stat().st_size for path in [*made, *folder.rglob("*")] if path.is_file())
        with atomic_files.errors_explained(store.root):
            shutil.rmtree(folder)
            for path in made:
                path.unlink(missing_ok=True)
        typer.echo(f"{name} was removed; {human(freed)} freed.")


def _base_of(card: AdapterCard, model: str | None, store: Store) -> str:
    name = model or card.base
    if name is None:
        raise NotFoundError(f"The adapter {card.name} does not state its base model: name the model with --model.")
    if model is None and local_path(name) is None and store.find(name) is None:
        raise NotFoundError(
            f"{name}, which {card.name} was made for, is not on this machine: download it with `pellucid models pull "
            f"{name}`, or name another --model."
        )
    return name


def ask_server(verb: Callable[[Client], Awaitable[T]]) -> T:
    settings = load_settings()

    async def ask() -> T:
        async with Client(settings.url, settings.key) as client:
            return await verb(client)

    return asyncio.run(ask())


async def _loaded(settings: Settings) -> dict[str, list[str]]:
    async with Client(settings.url, settings.key) as client:
        if not (await client.server_health(verified=False)).answers:
            return {}
        try:
            found: list[dict[str, Any]] = await client.administration.adapters()
        except UnavailableError as error:
            typer.echo(f"The server at {client.url} cannot list its adapters: {error}", err=True)
            return {}
    ids: dict[str, list[str]] = {}
    for one in found:
        if one["loaded"]:
            ids.setdefault(one["name"], []).append(one["id"])
    return ids
