"""Divides an answer into blocks while its tokens come, for the routes whose answers are lists of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pellucid.tokens import Token


@dataclass(slots=True)
class AnswerBlock:
    """A part of an answer, numbered from 0: its text so far and its tokens."""

    index: int
    text: str = ""
    tokens: list[Token] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BlockStep:
    """An event of a block: it opens, text and tokens are added, or it closes, perhaps with tokens that have no text."""

    kind: Literal["open", "add", "close"]
    block: AnswerBlock
    text: str = ""
    tokens: Sequence[Token] = ()


class AnswerBlocks:
    """The blocks of one answer. Tokens without text wait for the next text, so that no step is empty."""

    def __init__(self) -> None:
        self.blocks: list[AnswerBlock] = []
        self._waiting: list[Token] = []
        self._is_open = False

    def feed(self, token: Token) -> Iterator[BlockStep]:
        """Yield the steps that a token causes."""
        self._waiting.append(token)
        if token.text:
            yield from self._add(token.text)

    def finish(self) -> Iterator[BlockStep]:
        """Yield the steps at the end of the answer."""
        if self._waiting and not self._is_open:
            yield from self._add("")
        if self._is_open:
            self._is_open = False
            yield BlockStep("close", self.blocks[-1], tokens=self._take())

    def read(self, tokens: Sequence[Token]) -> list[AnswerBlock]:
        """Return the blocks of a whole answer."""
        for token in tokens:
            for _ in self.feed(token):
                pass
        for _ in self.finish():
            pass
        return self.blocks

    def _add(self, text: str) -> Iterator[BlockStep]:
        if not self._is_open:
            self._is_open = True
            self.blocks.append(AnswerBlock(len(self.blocks)))
            yield BlockStep("open", self.blocks[-1])
        block = self.blocks[-1]
        block.text += text
        yield BlockStep("add", block, text, self._take())

    def _take(self) -> list[Token]:
        tokens, self._waiting = self._waiting, []
        self.blocks[-1].tokens += tokens
        return tokens
