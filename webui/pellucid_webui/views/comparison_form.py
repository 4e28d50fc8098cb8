"""Reads what the page's form for a comparison sends, which a link may have filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.tokens import ModelCard
from pellucid_webui.conversations.encodable_text import encodable
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.inspection.comparison import LETTERS, Column, Comparison

EXAMPLE = "Write a Python function that checks if a year is a leap year."

MAX_TOKENS = 128

FIELDS = frozenset({"model", "system", "temperature", "top_p", "top_k", "min_p", "seed", "max_tokens"})

START = TurnSettings(temperature=0.0, top_p=1.0, min_p=0.0, max_tokens=MAX_TOKENS)
"""The settings of a new column."""


def default_form(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """Return the form before the user's changes, in which one thing varies: the first two models, or the temperature of the only one."""
    names = [card.name for card in cards if card.chat] or [card.name for card in cards]
    columns = (
        [{"model": name} for name in names[:2]] if len(names) > 1 else [{"model": name, "temperature": t} for name in names for t in (0, 1)]
    )
    return {"prompt": EXAMPLE, "reference": "", "columns": [fields_of(START) | column for column in columns]}


def comparison_of(form: object, cards: Sequence[ModelCard]) -> Comparison:
    """Return the comparison that a form asks for. Raises InvalidRequestError, in a sentence for the user."""
    if not isinstance(form, Mapping):
        raise InvalidRequestError("The page sent no form: reload it.")
    prompt, reference = (_text(form, name) for name in ("prompt", "reference"))
    if not prompt.strip():
        raise InvalidRequestError("The prompt is empty: write what all columns should answer.")
    columns = form.get("columns")
    if not isinstance(columns, list) or not 2 <= len(columns) <= len(LETTERS):
        raise InvalidRequestError(f"A comparison has 2 to {len(LETTERS)} columns: add or remove some.")
    names = [card.name for card in cards]
    return Comparison(prompt, reference, [_column(letter, found, names) for letter, found in zip(LETTERS, columns, strict=False)])


def form_of(comparison: Comparison) -> dict[str, Any]:
    """Return the form that asks for a comparison."""
    columns: list[dict[str, Any]] = [fields_of(column.settings) for column in comparison.columns]
    for fields, column in zip(columns, comparison.columns, strict=True):
        if column.stored is not None:
            fields["answer"] = column.stored.node
    form = {"prompt": comparison.prompt, "reference": comparison.reference, "columns": columns}
    return form if comparison.chat is None else form | {"chat": asdict(comparison.chat)}


def fields_of(settings: TurnSettings) -> dict[str, Any]:
    """Return the settings that the form of a column has."""
    return {name: value for name, value in settings.record().items() if name in FIELDS}


def _column(letter: str, found: object, names: Sequence[str]) -> Column:
    try:
        if not isinstance(found, Mapping):
            raise InvalidRequestError("it has no settings.")
        settings = TurnSettings.read(fields_of(START) | {name: value for name, value in found.items() if name in FIELDS})
        settings.sampling()
    except InvalidRequestError as error:
        raise InvalidRequestError(f"Column {letter}: {error}", param=error.param) from error
    settings = replace(settings, model=encodable(settings.model), system=encodable(settings.system))
    if settings.model not in names:
        raise InvalidRequestError(f"Column {letter}: the server has no model {settings.model!r}. Choose one of {', '.join(names)}.")
    return Column(letter, settings)


def _text(form: Mapping[str, Any], name: str) -> str:
    found = form.get(name, "")
    if not isinstance(found, str):
        raise InvalidRequestError(f"The {name} is not a text: reload the page.")
    return encodable(found)
