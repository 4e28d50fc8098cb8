"""The page's form for a comparison, possibly filled in by a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.conversations.encodable_text import encodable
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.inspection.batch.comparison_batch import ComparisonBatch
from pellucid_webui.inspection.batch.prompt_file import FilePrompt, PromptFile
from pellucid_webui.inspection.comparison import LETTERS, Column, Comparison

EXAMPLE = "Write a Python function that checks if a year is a leap year."

MAX_TOKENS = 128

FIELDS = frozenset({"model", "system", "temperature", "top_p", "top_k", "min_p", "seed", "max_tokens"})

START = TurnSettings(temperature=0.0, top_p=1.0, min_p=0.0, max_tokens=MAX_TOKENS)


def default_form(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """Return a form with the first two models, or two temperatures of one model."""
    names = [card.name for card in cards if card.chat] or [card.name for card in cards]
    columns = (
        [{"model": name} for name in names[:2]]
        if len(names) > 1
        else [{"model": name, "temperature": t} for name in names for t in (0, 1)]
    )
    return {"prompt": EXAMPLE, "reference": "", "columns": [fields_of(START) | column for column in columns]}


def comparison_of(form: object, cards: Sequence[ModelCard]) -> Comparison:
    """Raise InvalidRequestError for an invalid form."""
    if not isinstance(form, Mapping):
        raise InvalidRequestError("The page sent no form: reload it.")
    reference, columns = _text(form, "reference"), columns_of(form, cards)
    if reference.strip() and not _text(form, "prompt").strip():
        if any(column.settings.system.strip() for column in columns):
            raise InvalidRequestError(
                "Without a prompt, the text is read without a system prompt too: write a prompt, or clear that one."
            )
        return Comparison("", reference, columns)
    return Comparison(prompt_of(form), reference, columns)


def batch_of(form: object, cards: Sequence[ModelCard], chosen: PromptFile | None) -> ComparisonBatch:
    """Return a batch of the file's prompts, or of the form's prompt."""
    if not isinstance(form, Mapping):
        raise InvalidRequestError("The page sent no form: reload it.")
    if chosen is None and form.get("chat") is not None:
        raise InvalidRequestError(
            "The answers of a chat cannot be run with several seeds: clear the chat from the form, or press Compare."
        )
    prompts = [FilePrompt(prompt_of(form))] if chosen is None else chosen.prompts
    seeds = form.get("seeds", 1)
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        raise InvalidRequestError(f"Seeds must be a whole number, not {str(seeds)[:20]!r}.")
    return ComparisonBatch(
        "" if chosen is None else chosen.name, prompts, _text(form, "reference"), columns_of(form, cards), seeds
    )


def prompt_of(form: Mapping[str, Any]) -> str:
    prompt = _text(form, "prompt")
    if not prompt.strip():
        raise InvalidRequestError("The prompt is empty: write one, or a reference text that all columns read.")
    return prompt


def columns_of(form: Mapping[str, Any], cards: Sequence[ModelCard]) -> list[Column]:
    columns = form.get("columns")
    if not isinstance(columns, list) or not 2 <= len(columns) <= len(LETTERS):
        raise InvalidRequestError(f"A comparison has 2 to {len(LETTERS)} columns: add or remove some.")
    names = [card.name for card in cards]
    return [_column(letter, found, names) for letter, found in zip(LETTERS, columns, strict=False)]


def form_of(comparison: Comparison) -> dict[str, Any]:
    columns = fields_of_columns(comparison.columns)
    for fields, column in zip(columns, comparison.columns, strict=True):
        if column.stored is not None and comparison.chat is not None:
            fields["answer"] = column.stored.node
        if not column.pictures:
            fields["pictures"] = False
    form = {"prompt": comparison.prompt, "reference": comparison.reference, "columns": columns}
    return form if comparison.chat is None else form | {"chat": asdict(comparison.chat)}


def form_of_batch(batch: ComparisonBatch) -> dict[str, Any]:
    prompt = "" if batch.name else batch.prompts[0].prompt
    return {
        "prompt": prompt,
        "reference": batch.reference,
        "columns": fields_of_columns(batch.columns),
        "seeds": batch.seeds,
    }


def fields_of_columns(columns: Sequence[Column]) -> list[dict[str, Any]]:
    return [fields_of(column.settings) for column in columns]


def fields_of(settings: TurnSettings) -> dict[str, Any]:
    return {name: value for name, value in settings.record().items() if name in FIELDS}


def _column(letter: str, found: object, names: Sequence[str]) -> Column:
    try:
        if not isinstance(found, Mapping):
            raise InvalidRequestError("it has no settings.")
        settings = TurnSettings.read(
            fields_of(START) | {name: value for name, value in found.items() if name in FIELDS}
        )
        settings.sampling()
    except InvalidRequestError as error:
        raise InvalidRequestError(f"Column {letter}: {error}", param=error.param) from error
    settings = replace(settings, model=encodable(settings.model), system=encodable(settings.system))
    if settings.model not in names:
        raise InvalidRequestError(
            f"Column {letter}: the server has no model {settings.model!r}. Choose one of {', '.join(names)}."
        )
    return Column(letter, settings)


def _text(form: Mapping[str, Any], name: str) -> str:
    found = form.get(name, "")
    if not isinstance(found, str):
        raise InvalidRequestError(f"The {name} is not a text: reload the page.")
    return encodable(found)
