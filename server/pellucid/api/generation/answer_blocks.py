"""Incremental division of an answer into blocks, for routes with lists of blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pellucid.vocabulary.token import CallDelta, Token


@dataclass(slots=True)
class AnswerBlock:
    index: int
    call: CallDelta | None = None
    is_reasoning: bool = False
    text: str = ""
    tokens: list[Token] = field(default_factory=list)

    def owns(self, token: Token) -> bool:
        """Return whether a token without text belongs to this block."""
        if self.call is None:
            return token.part is None and (token.reasoning is not None) == self.is_reasoning
        return token.part is None or token.part.call == self.call.index


@dataclass(frozen=True, slots=True)
class BlockStep:
    """An event of a block. A closing block may have final tokens without text."""

    kind: Literal["open", "add", "close"]
    block: AnswerBlock
    text: str = ""
    tokens: Sequence[Token] = ()


class AnswerBlocks:
    """The blocks of an answer.

    Tokens without text wait for the next text, so that no step is empty.
    """

    def __init__(self) -> None:
        self.blocks: list[AnswerBlock] = []
        self._waiting: list[Token] = []
        self._open: AnswerBlock | None = None

    def feed(self, token: Token) -> Iterator[BlockStep]:
        self._waiting.append(token)
        if token.text or token.reasoning:
            yield from self._add_text(token.text or token.reasoning or "", is_reasoning=bool(token.reasoning))
        for delta in token.part.deltas if token.part is not None else ():
            if delta.id is not None:
                yield from self._begin(delta)
            if delta.arguments and self._open is not None:
                yield self._added(self._open, delta.arguments)

    def finish(self) -> Iterator[BlockStep]:
        if self._waiting and self._open is None:
            yield from self._add_text("")
        yield from self._close(final=True)

    def read(self, tokens: Sequence[Token]) -> list[AnswerBlock]:
        for token in tokens:
            for _ in self.feed(token):
                pass
        for _ in self.finish():
            pass
        return self.blocks

    def _add_text(self, text: str, *, is_reasoning: bool = False) -> Iterator[BlockStep]:
        if self._open is None or self._open.call is not None or self._open.is_reasoning != is_reasoning:
            yield from self._begin(None, is_reasoning=is_reasoning)
        assert self._open is not None
        yield self._added(self._open, text)

    def _begin(self, call: CallDelta | None, *, is_reasoning: bool = False) -> Iterator[BlockStep]:
        yield from self._close(final=False)
        self._open = AnswerBlock(len(self.blocks), call, is_reasoning)
        self.blocks.append(self._open)
        yield BlockStep("open", self._open)

    def _close(self, *, final: bool) -> Iterator[BlockStep]:
        """Close the open block.

        Waiting tokens of the next block stay, unless this block is the last.
        """
        block, self._open = self._open, None
        if block is not None:
            taken = [token for token in self._waiting if final or block.owns(token)]
            self._waiting = [token for token in self._waiting if not (final or block.owns(token))]
            block.tokens += taken
            yield BlockStep("close", block, tokens=taken)

    def _added(self, block: AnswerBlock, text: str) -> BlockStep:
        tokens, self._waiting = self._waiting, []
        block.text += text
        block.tokens += tokens
        return BlockStep("add", block, text, tokens)
