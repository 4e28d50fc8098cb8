"""Makes training samples: documents read from left to right, and cursors with the text to fill in.

Infill prompts equal the server's, including healing of the prefix (see :mod:`pellucid.text.prompts`
and :mod:`pellucid.text.healing`), so that training matches use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Literal

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.cursors import SourcePage, TextSpan
from pellucid.models.catalog import InfillFormat
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.healing import Healer, Healing
from pellucid.text.prompts import infill, surroundings, with_bos

Kind = Literal["text", "infill"]

MIN_WINDOW = 128
"""Tokens around the cursor of the shortest prompt."""

MAX_MIDDLE = 160
"""Tokens of the longest answer."""

_TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>")  # noqa: RUF001 - the token's own letters


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids of a sample; those from ``labelled`` (at least 1) on are to be predicted."""

    ids: tuple[int, ...]
    labelled: int
    kind: Kind

    @property
    def labels(self) -> int:
        """Number of ids to predict."""
        return len(self.ids) - self.labelled


@dataclass(frozen=True, slots=True)
class InfillExample:
    """The prompt of an infill: its ids, and the constraint on the answer's beginning if the prefix was healed."""

    ids: tuple[int, ...]
    healing: Healing | None

    @property
    def typed(self) -> bytes:
        """The end of the prefix that the answer repeats."""
        return self.healing.typed if self.healing is not None else b""


@dataclass(frozen=True)
class SampleStream:
    """Makes the samples of one model.

    ``context`` is the most tokens of one; ``infill`` is None for a model without markers.
    """

    tokenizer: Tokenizer
    infill: InfillFormat | None
    context: int

    @cached_property
    def healer(self) -> Healer:
        """Detects a prefix that ends inside a token."""
        return Healer(self.tokenizer)

    @property
    def text_end(self) -> int | None:
        """The id that ends a document; None for a model without one."""
        special = self.tokenizer.special
        named = next((special[text] for text in _TEXT_ENDS if text in special), None)
        return named if named is not None else min(self.tokenizer.eos_ids, default=None)

    @property
    def infill_end(self) -> int | None:
        """The id that ends an infill: the first of its format's end markers that is not padding."""
        special = self.tokenizer.special
        named = () if self.infill is None else self.infill.ends
        return next((special[text] for text in named if text in special and "pad" not in text), self.text_end)

    def prompt(self, text: str, span: TextSpan, window: int) -> InfillExample:
        """Return the server's prompt at the beginning of a missing span, with ``window`` tokens around it."""
        around = surroundings(self.tokenizer, self.infill, text[: span.begin], text[span.end :], (), window)
        shortened, healing = self.healer.heal(around.prefix, keep=1 if self.infill is None else 0)
        return InfillExample(tuple(infill(self.tokenizer, self.infill, replace(around, prefix=shortened))), healing)

    def infilling(self, text: str, span: TextSpan, window: int) -> Sample | None:
        """Return a cursor with its answer, which is cut without an end marker if it is too long.

        None if healing steps back into the middle of a character, which no text can continue.
        """
        prompt = self.prompt(text, span, min(window, self.context * 3 // 4))
        try:
            typed = prompt.typed.decode()
        except UnicodeDecodeError:
            return None
        answer = self.tokenizer.encode(typed + text[span.begin : span.end], continues=True)
        if self.infill is not None and self.infill_end is not None:  # without a suffix, the end is arbitrary
            answer.append(self.infill_end)
        answer = answer[: min(MAX_MIDDLE, self.context - len(prompt.ids))]
        return Sample((*prompt.ids, *answer), len(prompt.ids), "infill")

    def texts(self, document: Document, shift: int = 0) -> Iterator[tuple[Sample, range]]:
        """Yield a document in pieces that fit, with the characters of each.

        The first piece is ``shift`` shorter.

        The first piece starts with the document's name if the model has a marker for it, and the
        last ends with the end of text.
        """
        marker = self.infill.file if self.infill is not None else None
        special = self.tokenizer.special
        head = [] if marker is None else [special[marker], *self.tokenizer.encode(f"{document.name}\n", continues=True)]
        head = with_bos(self.tokenizer, head[: self.context // 4])
        ids = self.tokenizer.encode(document.text, continues=bool(head))
        sizes = [len(self.tokenizer.token_bytes(id)) for id in ids]
        data, begin, at = document.text.encode(), 0, 0
        room = max(1, self.context - len(head) - 1 - shift)
        while begin < len(ids):
            piece = ids[begin : begin + room]
            end = at + sum(sizes[begin : begin + room])
            last = begin + room >= len(ids) and self.text_end is not None
            whole = [*head, *piece, *([self.text_end] if last and self.text_end is not None else [])]
            where = range(len(data[:at].decode(errors="ignore")), len(data[:end].decode(errors="ignore")))
            if len(whole) > max(1, len(head)):
                yield Sample(tuple(whole), max(1, len(head)), "text"), where
            begin, at, head, room = begin + room, end, with_bos(self.tokenizer, []), self.context - 2
        # A piece in the middle has no context at its first token, which costs one label.

    def epoch(self, documents: Sequence[Document], seed: int, number: int) -> list[Sample]:
        """Return the samples of one pass: every document from left to right, and one infill for each piece of it if the model has markers.

        Seed and number determine the samples, and passes differ.
        """
        return [sample for document in documents for sample in self._of(document, seed, number)]

    def _of(self, document: Document, seed: int, number: int) -> Iterator[Sample]:
        random = random_for(seed, number, document.name)
        page = SourcePage(document.name, document.text)
        for sample, where in self.texts(document, random.randrange(self.context // 2) if number else 0):
            yield sample
            span = page.choose(random, where.start, where.stop) if self.infill is not None else None
            window = random.randint(min(MIN_WINDOW, self.context // 2), self.context)
            cursor = self.infilling(document.text, span, window) if span is not None else None
            if cursor is not None:
                yield cursor


def random_for(*parts: object) -> Random:
    """Return a random generator that is seeded by the given values."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return Random(int.from_bytes(digest[:8], "big"))  # noqa: S311 - not for secrets
