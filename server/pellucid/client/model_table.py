"""The words of the table of models, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pellucid.system.atomic_files import human
from pellucid.vocabulary.model_facts import ModelFacts

COLUMNS = ("name", "size", "memory", "keystroke", "licence", "infill", "tried")

HERE, NOT_HERE = "On this machine", "In the catalog"
"""Titles of the two parts of the table."""

UNKNOWN_SPEED = (
    "Keystrokes are not known yet: `pellucid models recommend` estimates the keystrokes of the catalog's models, "
    "and `pellucid bench --model NAME` measures those of one model."
)


def cells(facts: ModelFacts) -> tuple[str, ...]:
    """Return a text for each of ``COLUMNS``."""
    return (
        facts.name,
        f"{'~' * facts.size_is_estimated}{human(facts.size)}",
        _cell(facts.memory, human),
        _cell(facts.keystroke, f"{'~' * facts.keystroke_is_estimated}{{:.2f}} s".format),
        facts.licence,
        *(_cell(fact, lambda is_so: "yes" if is_so else "no") for fact in (facts.infill, facts.tried)),
    )


def notes(facts: Sequence[ModelFacts]) -> Iterator[str]:
    """Yield sentences about the meaning of the columns; commands are between backquotes."""
    if facts:
        yield (
            f"~ means estimated. Memory is estimated for the weights and a text of {facts[0].text_tokens} tokens. "
            "Tried models were run and measured where Pellucid is developed."
        )
    if any(one.keystroke is None for one in facts if one.tried is not None):
        yield UNKNOWN_SPEED


def _cell(fact: Any, words: Callable[[Any], str]) -> str:
    return "-" if fact is None else words(fact)
