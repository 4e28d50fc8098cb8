"""Prompt of an edit by instruction, for small models that rewrite the selection in a fence.

The form was chosen by the probability of right answers with the default model:

- The text around the selection is in an earlier turn. In the same message, small models answer with
  the whole file (5 edits of a method: -1.6 nats on average; -3.1 in a system message, -4.4 in the
  same message, -3.0 without the text).
- The instruction is last. With the selection last, 6 of 7 tasks of CanItEdit were worse, by 4 to 5
  nats on average with each wording.
- Lines to insert are requested in a single message: after an earlier turn, models write the whole
  file.
- The lines are shown without their margin, and only the fence opens the answer: after an
  indentation, models with tokens that begin with a space write an extra space.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pellucid.code.language_syntax import find_syntax
from pellucid.completion.context.prompt_context import window_end, window_start
from pellucid.completion.edits.by_instruction.edit_query import EditQuery
from pellucid.completion.edits.by_instruction.selected_lines import SelectedLines
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Message

PREFIX_CHARACTERS, SUFFIX_CHARACTERS = 2000, 1000

SPARE_TOKENS = 256
"""Tokens allowed in addition to one token per character of the selection.

Dense text has tokens of one character.
"""

INSERTED_TOKENS = 1024

TEST_TOKENS = 256
"""Tests are cut at this length: small models add cases without end."""

CONTEXT = "Here is the context of my code:"
READ = "I have read it."

_TICKS = re.compile(r"`{3,}")


class EditPrompt:
    """The prompt of an edit. ``fence`` encloses each text, longer than any fence in the texts.

    ``begun`` is the given beginning of tests, or ``None`` for other code.
    """

    def __init__(self, query: EditQuery, selected: SelectedLines, begun: str | None = None) -> None:
        if not query.instruction.strip():
            raise InvalidRequestError("The instruction is empty: say what to change.", param="instruction")
        self.tests, self.begun = begun is not None, begun or ""
        before = selected.before[window_start(selected.before, PREFIX_CHARACTERS) :]
        after = selected.after[: window_end(selected.after, SUFFIX_CHARACTERS)]
        texts = (before, selected.text, after, query.instruction)
        self.language = query.language or PurePosixPath(query.path).suffix.removeprefix(".")
        # An answer in prose may have fences even if the text has no fence.
        least = 3 if find_syntax(self.language).prose else 2
        self.fence = _fence(texts, least)
        around = [
            self._block(f"Code {where} the selection:", text)
            for where, text in (("before", before), ("after", after))
            if text.strip()
        ]
        named = [f"File: {query.path}"] if query.path else []
        instruction = query.instruction.strip()
        if selected.inserted:
            place = ("", f" that belongs {'before' if after.strip() else 'after'} it", " that belongs between the two")[
                len(around)
            ]
            question = [*named, *around, f"{instruction}\nAnswer with only the new code{place}."]
            self._messages = [Message("user", "\n\n".join(question))]
        else:
            question = [
                self._block("", "\n".join(selected.shown)),
                f"{instruction}\nAnswer with only this code after the change.",
            ]
            self._messages = [Message("user", "\n\n".join(question if around else [*named, *question]))]
            if around:
                context = Message("user", "\n\n".join([CONTEXT, *named, *around]))
                self._messages = [context, Message("assistant", READ), *self._messages]
        self.max_tokens = INSERTED_TOKENS if selected.inserted else SPARE_TOKENS + len(selected.text)
        if self.tests:
            self.max_tokens = TEST_TOKENS

    def continued(self, text: str) -> list[Message]:
        return [*self._messages, Message("assistant", f"{self.fence}{self.language}\n{self.begun}{text}")]

    def _block(self, title: str, text: str) -> str:
        return f"{title}\n{in_fence(text, self.language, self.fence)}".lstrip()


def in_fence(text: str, language: str, fence: str | None = None) -> str:
    """Return a text in a fence, by default longer than any fence in the text."""
    fence = fence or _fence([text])
    end = "" if text.endswith("\n") else "\n"
    return f"{fence}{language}\n{text}{end}{fence}"


def _fence(texts: Sequence[str], least: int = 2) -> str:
    """Return a fence longer than ``least`` and longer than any fence in the texts."""
    return "`" * (1 + max((len(ticks) for text in texts for ticks in _TICKS.findall(text)), default=least))
