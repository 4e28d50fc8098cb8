"""Builds the items that clients show: of inline completion, and of the completion menu."""

from __future__ import annotations

import re

from lsprotocol import types

from pellucid.completion.suggestion import DocumentCursor, Suggestion
from pellucid.completion.trust.threshold_gate import measure

TITLE = "Pellucid: accepted"
ACCEPTED = "pellucid.accepted"
"""The command that an editor runs after it has inserted a suggestion."""

PARTIAL = "partial"
"""The second argument of that command, if the item is only the beginning of a suggestion."""

SURE = "sure"
"""The second argument, if the item is the sure beginning of a suggestion that has a doubtful rest."""

DOUBTFUL = "doubtful"
"""The second argument, if the item has a doubtful rest.
The third is the length of its sure beginning in UTF-16 code units.
"""

LABEL_CHARACTERS = 60
"""Characters of a suggestion's first line that a completion menu shows."""


def inline_item(
    suggestion: Suggestion, selected: types.SelectedCompletionInfo | None, line_end: str
) -> types.InlineCompletionItem:
    """Return an item of ghost text.

    If an item of the menu is selected, the text includes that item's.
    """
    text = suggestion.text.replace("\n", line_end)
    here = types.Position(*suggestion.cursor.position)
    where = types.Range(here, here)
    if selected is not None:
        text, where = selected.text + text, selected.range
    rest = suggestion.text[len(suggestion.sure.text) :].replace("\n", line_end)
    sure = len(text.removesuffix(rest).encode("utf-16-le")) // 2
    return types.InlineCompletionItem(
        insert_text=text, filter_text=text, range=where, command=_command(suggestion, sure)
    )


def completion_item(suggestion: Suggestion, units: int, line_end: str) -> types.CompletionItem:
    """Return an item of the completion menu, without a doubtful rest.

    It replaces the word before the cursor, whose width is ``units``.
    """
    arguments = [suggestion.id, SURE] if suggestion.doubtful else [suggestion.id]
    suggestion = suggestion.sure
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
        text_edit=types.TextEdit(
            types.Range(types.Position(line, character - units), types.Position(line, character)), text
        ),
        command=types.Command(TITLE, ACCEPTED, arguments=arguments),
    )


def word_before(cursor: DocumentCursor) -> str:
    """Return the word that ends at the cursor."""
    found = re.match(r"\w*", cursor.left[::-1])  # reversed: otherwise every word of the line would be tried
    assert found is not None, "it may be empty"
    return found.group()[::-1]


def _command(suggestion: Suggestion, sure: int) -> types.Command:
    arguments: list[str | int] = [suggestion.id]
    if suggestion.partial:
        arguments.append(PARTIAL)
    elif suggestion.doubtful:
        arguments += [DOUBTFUL, sure]
    return types.Command(TITLE, ACCEPTED, arguments=arguments)
