"""The table of the models in the catalog and on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pellucid.bench.saved_speeds import Speed, read_speeds
from pellucid.config import Settings
from pellucid.models.store import ModelRecord, Store
from pellucid.system.atomic_files import human

SCHEMES = {"none": "bfloat16", "int4": "int4-native"}
"""The likely form of the weights for a setting ``quant``; else the file's own form."""

ALL_COLUMNS = 10_000
"""In a pipe no line is wrapped."""

COLUMNS = ("name", "size", "memory", "keystroke", "licence", "infill", "tried")

UNKNOWN_SPEED = (
    "Keystrokes are not known yet: `pellucid models recommend` estimates the keystrokes of the catalog's models, "
    "and `pellucid bench --model NAME` measures those of one model."
)


def console() -> Console:
    width = None if sys.stdout.isatty() else ALL_COLUMNS
    return Console(width=width, highlight=False, markup=False, emoji=False)


def text_tokens(settings: Settings) -> int:
    """Return the tokens of the text in the memory estimate: for auto, the usual number."""
    default: int = Settings.model_fields["context"].default
    return default if settings.context == "auto" else settings.context


def model_facts(settings: Settings) -> list[dict[str, Any]]:
    """Return a JSON object per model. Sizes are in bytes, times in seconds, None if unknown."""
    speeds = read_speeds(settings)
    return [_facts(record, speeds.get(record.name), settings) for record in Store(settings.cache).list()]


def _facts(record: ModelRecord, speed: Speed | None, settings: Settings) -> dict[str, Any]:
    entry = record.entry
    facts = {
        "name": record.name,
        "here": record.installed,
        "size": record.size,
        "size_is_estimated": record.size_is_estimated,
        "memory": None,
        "keystroke": None if speed is None else speed.keystroke,
        "first_keystroke": None if speed is None else speed.first,
        "keystroke_is_estimated": speed is not None and speed.estimated,
        "licence": record.licence,
    }
    if entry is None:
        return facts | dict.fromkeys(("commercial", "context", "infill", "next_edit", "tried"))
    scheme = SCHEMES.get(settings.quant, "int8-native")
    weights = entry.weight_bytes(scheme) if speed is None else speed.weights
    return facts | {
        "memory": weights + entry.cache_bytes(text_tokens(settings)),
        "commercial": entry.commercial,
        "context": entry.context,
        "infill": entry.infill is not None,
        "next_edit": entry.next_edit is not None,
        "tried": entry.tried,
    }


def print_table(facts: Sequence[dict[str, Any]], settings: Settings) -> None:
    """Print the models on this machine, then the others, and what the columns mean."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in COLUMNS:
        table.add_column(
            heading,
            no_wrap=heading != "name",
            overflow="fold",
            justify="right" if heading in ("size", "memory", "keystroke") else "left",
        )
    for title, here in (("On this machine:", True), ("In the catalog:", False)):
        rows = [one for one in facts if one["here"] is here]
        if rows:
            table.add_row(title)
        for one in rows:
            table.add_row(
                one["name"],
                f"{'~' * one['size_is_estimated']}{human(one['size'])}",
                _cell(one["memory"], human),
                _cell(one["keystroke"], f"{'~' * one['keystroke_is_estimated']}{{:.2f}} s".format),
                one["licence"],
                *(_cell(one[fact], lambda is_so: "yes" if is_so else "no") for fact in ("infill", "tried")),
            )
    output = console()
    output.print(
        table,
        f"~ means estimated. Memory is estimated for the weights and a text of {text_tokens(settings)} tokens. Tried "
        "models were run and measured where Pellucid is developed.",
        sep="\n",
    )
    if any(one["keystroke"] is None for one in facts if one["tried"] is not None):
        output.print(UNKNOWN_SPEED)


def _cell(fact: Any, words: Callable[[Any], str]) -> str:
    return "-" if fact is None else words(fact)
