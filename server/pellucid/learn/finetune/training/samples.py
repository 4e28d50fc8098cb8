"""Makes training samples from documents: texts, and infills at random cursors.

Infill prompts equal the server's prompts, including healing of the prefix (see
:mod:`pellucid.text.prompts` and :mod:`pellucid.text.healing`), so that training matches use.
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
"""Minimum tokens around the cursor."""

MAX_MIDDLE = 160
"""Maximum tokens of an answer."""

_TEXT_ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>")  # noqa: RUF001 - the token's own letters


@dataclass(frozen=True, slots=True)
class Sample:
    """Token ids; the ids from ``labelled`` (at least 1) to the end are labels."""

    ids: tuple[int, ...]
    labelled: int
    kind: Kind

    @property
    def labels(self) -> int:
        return len(self.ids) - self.labelled


@dataclass(frozen=True, slots=True)
class InfillExample:
    """The prompt of an infill. ``healing`` constrains the answer if the prefix was healed."""

    ids: tuple[int, ...]
    healing: Healing | None

    @property
    def typed(self) -> bytes:
        """The end of the prefix that the answer repeats."""
        return self.healing.typed if self.healing is not None else b""


@dataclass(frozen=True)
class SampleStream:
    """Makes samples of at most ``context`` tokens. ``infill`` is None without markers."""

    tokenizer: Tokenizer
    infill: InfillFormat | None
    context: int

    @cached_property
    def healer(self) -> Healer:
        return Healer(self.tokenizer)

    @property
    def text_end(self) -> int | None:
        special = self.tokenizer.special
        named = next((special[text] for text in _TEXT_ENDS if text in special), None)
        return named if named is not None else min(self.tokenizer.eos_ids, default=None)

    @property
    def infill_end(self) -> int | None:
        """The id that ends an infill: the first end marker of the format except padding."""
        special = self.tokenizer.special
        named = () if self.infill is None else self.infill.ends
        return next((special[text] for text in named if text in special and "pad" not in text), self.text_end)

    def prompt(self, text: str, span: TextSpan, window: int) -> InfillExample:
        """Return the server's prompt for a missing span, with ``window`` tokens of context."""
        around = surroundings(self.tokenizer, self.infill, text[: span.begin], text[span.end :], (), window)
        shortened, healing = self.healer.heal(around.prefix, keep=1 if self.infill is None else 0)
        return InfillExample(tuple(infill(self.tokenizer, self.infill, replace(around, prefix=shortened))), healing)

    def infilling(self, text: str, span: TextSpan, window: int) -> Sample | None:
        """Return a prompt with the answer. A long answer is cut, without an end marker.

        None if healing splits a character: no text can continue half a character.
        """
        prompt = self.prompt(text, span, min(window, self.context * 3 // 4))
        try:
            typed = prompt.typed.decode()
        except UnicodeDecodeError:
            return None
        answer = self.tokenizer.encode(typed + text[span.begin : span.end], continues=True)
        # Without a suffix, the end is arbitrary.
        if self.infill is not None and self.infill_end is not None:
            answer.append(self.infill_end)
        answer = answer[: min(MAX_MIDDLE, self.context - len(prompt.ids))]
        return Sample((*prompt.ids, *answer), len(prompt.ids), "infill")

    def texts(self, document: Document, shift: int = 0) -> Iterator[tuple[Sample, range]]:
        """Yield pieces of a document that fit the context, with the range of characters.

        The first piece is ``shift`` tokens shorter, and starts with the document's name if the
        model has a marker for file names. The last piece ends with the end of text.
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

    def epoch(self, documents: Sequence[Document], seed: int, number: int) -> list[Sample]:
        """Return the samples of a pass: texts and, if the model has markers, infills."""
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
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return Random(int.from_bytes(digest[:8], "big"))  # noqa: S311 - not for secrets
