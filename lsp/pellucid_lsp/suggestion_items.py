"""Items of inline completion and of the completion menu."""

from __future__ import annotations

import re

from lsprotocol import types

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.suggestion import Suggestion
from pellucid.completion.trust.threshold_gate import measure

TITLE = "Pellucid: accepted"
ACCEPTED = "pellucid.accepted"
"""The command that an editor runs after inserting a suggestion."""

PARTIAL = "partial"
"""The second argument for an item with only the beginning of a suggestion."""

SURE = "sure"
"""The second argument for the sure beginning of a suggestion with a doubtful rest."""

DOUBTFUL = "doubtful"
"""The second argument for an item with a doubtful rest; the third is the sure length in UTF-16 code
units.
"""

LABEL_CHARACTERS = 60
"""Maximum length of a label in the completion menu."""


def inline_item(
    suggestion: Suggestion, selected: types.SelectedCompletionInfo | None, line_end: str
) -> types.InlineCompletionItem:
    """Return an item of ghost text, including the text of a selected menu item."""
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

    The item replaces the word before the cursor; ``units`` is the word's width.
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
        sort_text="\uffff",  # Below the certain items of the language's own server.
        text_edit=types.TextEdit(
            types.Range(types.Position(line, character - units), types.Position(line, character)), text
        ),
        command=types.Command(TITLE, ACCEPTED, arguments=arguments),
    )


def word_before(cursor: DocumentCursor) -> str:
    found = re.match(r"\w*", cursor.left[::-1])  # Reversed, because a forward search would try every word.
    assert found is not None, "it may be empty"
    return found.group()[::-1]


def _command(suggestion: Suggestion, sure: int) -> types.Command:
    arguments: list[str | int] = [suggestion.id]
    if suggestion.partial:
        arguments.append(PARTIAL)
    elif suggestion.doubtful:
        arguments += [DOUBTFUL, sure]
    return types.Command(TITLE, ACCEPTED, arguments=arguments)
