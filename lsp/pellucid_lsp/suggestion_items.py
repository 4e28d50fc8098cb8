"""Builds the items that clients show: of inline completion, and of the completion menu."""

from __future__ import annotations

import re

from lsprotocol import types

from pellucid.completion.suggestion import DocumentCursor, Suggestion
from pellucid.completion.trust.threshold_gate import measure

ACCEPTED = "pellucid.accepted"
"""The command that an editor runs after it has inserted a suggestion."""

PARTIAL = "partial"
"""The second argument of that command, if the item is only the beginning of a suggestion."""

LABEL_CHARACTERS = 60
"""Characters of a suggestion's first line that a completion menu shows."""


def inline_item(suggestion: Suggestion, selected: types.SelectedCompletionInfo | None, line_end: str) -> types.InlineCompletionItem:
    """Return an item of ghost text. If an item of the menu is selected, the text includes that item's."""
    text = suggestion.text.replace("\n", line_end)
    here = types.Position(*suggestion.cursor.position)
    where = types.Range(here, here)
    if selected is not None:
        text, where = selected.text + text, selected.range
    return types.InlineCompletionItem(insert_text=text, filter_text=text, range=where, command=_command(suggestion))


def completion_item(suggestion: Suggestion, units: int, line_end: str) -> types.CompletionItem:
    """Return an item of the completion menu. It replaces the word before the cursor, whose width is ``units``."""
    word = word_before(suggestion.cursor)
    line, character = suggestion.cursor.position
    text = (word + suggestion.text).replace("\n", line_end)
    shown = (word + suggestion.text).strip().partition("\n")[0]
    label = shown if len(shown) <= LABEL_CHARACTERS else shown[: LABEL_CHARACTERS - 1] + "…"
    probability = measure(suggestion.tokens)["mean"]
    return types.CompletionItem(
        label=label,
        kind=types.CompletionItemKind.Text,
        detail=f"Pellucid, {probability:.0%} per token",
        documentation=types.MarkupContent(types.MarkupKind.PlainText, suggestion.cursor.left + suggestion.text),
        filter_text=(word + suggestion.text).partition("\n")[0],
        sort_text="\uffff",  # below the items of the language's own server, which are certain
        text_edit=types.TextEdit(types.Range(types.Position(line, character - units), types.Position(line, character)), text),
        command=_command(suggestion),
    )


def word_before(cursor: DocumentCursor) -> str:
    """Return the word that ends at the cursor."""
    found = re.match(r"\w*", cursor.left[::-1])  # reversed: otherwise every word of the line would be tried
    assert found is not None, "it may be empty"
    return found.group()[::-1]


def _command(suggestion: Suggestion) -> types.Command:
    arguments = [suggestion.id, PARTIAL] if suggestion.partial else [suggestion.id]
    return types.Command(title="Pellucid: accepted", command=ACCEPTED, arguments=arguments)
