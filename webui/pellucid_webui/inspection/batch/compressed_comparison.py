"""Finished comparisons in little memory."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack, unpack
from pellucid_webui.inspection.comparison import Column, ComparedText, Comparison


@dataclass(frozen=True, slots=True)
class CompressedComparison:
    """A comparison with compressed tokens: 100 bytes each, instead of 2.5 kB with alternatives."""

    bare: Comparison
    size: int
    _texts: bytes

    @property
    def answers(self) -> list[str]:
        found = [text for _, text, _ in json.loads(zlib.decompress(self._texts))]
        return found[: len(self.bare.columns)]

    def open(self) -> Comparison:
        """Return the comparison with a new number, so that the page updates."""
        texts = [_text(name, text, tokens) for name, text, tokens in json.loads(zlib.decompress(self._texts))]
        columns = [
            Column(
                one.letter,
                one.settings,
                tokens=texts[at].tokens[at] if texts else [],
                usage=one.usage,
                end=one.end,
                error=one.error,
                took=one.took,
            )
            for at, one in enumerate(self.bare.columns)
        ]
        bare = self.bare
        return Comparison(
            bare.prompt, bare.reference, columns, bare.history, stopped=bare.stopped, ended=True, texts=texts
        )


def compress(comparison: Comparison) -> CompressedComparison:
    texts = [[text.name, text.text, _packed(text)] for text in comparison.texts]
    columns = [replace(column, tokens=[], batches=[]) for column in comparison.columns]
    bare = replace(comparison, columns=columns, texts=[], _tasks=())
    return CompressedComparison(bare, comparison.size, zlib.compress(json.dumps(texts, ensure_ascii=False).encode()))


def _packed(text: ComparedText) -> list[Any]:
    """Return [columns with the same tokens, batch] for each reading."""
    shared: dict[int, tuple[list[int], Sequence[Token]]] = {}
    for column, tokens in text.tokens.items():
        shared.setdefault(id(tokens), ([], tokens))[0].append(column)
    return [[columns, pack(tokens)] for columns, tokens in shared.values()]


def _text(name: str, text: str, readings: Sequence[Any]) -> ComparedText:
    found = ComparedText(name, text)
    for columns, batch in readings:
        found.tokens |= dict.fromkeys(columns, unpack([batch]))
    return found
