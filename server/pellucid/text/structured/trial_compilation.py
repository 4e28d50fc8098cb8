"""Trial compilation of grammars in a process with limits on time and memory.

llguidance's own limits do not cover all of a compilation: an ``allOf`` of 30 patterns grows by 80
MB a second without an end, and a compilation cannot be cancelled. A grammar that passed the trial
is compiled again in the server's process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from pellucid.system.limited_process import LimitedProcess, serve
from pellucid.text.structured import large_stack_thread

if TYPE_CHECKING:
    from pellucid.models.tokenizers.tokenizer import Tokenizer

START_SECONDS = 10.0

TRIAL_SECONDS = 1.0
"""Processor time for a grammar. The schemas of real tools are compiled in milliseconds."""

MAX_ITEMS = 20_000
"""Open alternatives at a position of an answer. A list of choices has as many as texts."""

_MEMORY = 3 * 2**29
"""Address space of the process, of which the stack takes half a GiB."""


def trial_process(tokenizer: Tokenizer) -> LimitedProcess:
    """Return a trial process for a tokenizer; the first trial starts the process.

    The process receives only bytes and the special tokens, which a grammar may name: the cost of a
    grammar does not depend on the rest of the vocabulary.
    """
    first = {"size": tokenizer.vocab_size, "special": tokenizer.special, "eos": sorted(tokenizer.eos_ids)}
    return LimitedProcess(__name__, ["pellucid", "llguidance"], first, START_SECONDS)


class _ByteWords:
    def __init__(self, size: int, special: Mapping[str, int], eos: int) -> None:
        self.eos_token_id = eos
        self.bos_token_id = None
        self.special_token_ids = sorted(special.values())
        self.tokens = [b""] * max(size, 256 + len(special))
        for text, id in special.items():
            self.tokens[id] = text.encode()
        free = (id for id, word in enumerate(self.tokens) if not word)
        self._ids = [next(free) for _ in range(256)]
        for value, id in enumerate(self._ids):
            self.tokens[id] = bytes([value])

    def __call__(self, text: bytes | str) -> list[int]:
        return [self._ids[value] for value in (text.encode() if isinstance(text, str) else text)]


class _Trial:
    """The handler in the process.

    The first message is the vocabulary. For each further message, a grammar, the answer is an error
    or None.
    """

    def __init__(self) -> None:
        self._tokenizer: LLTokenizer | None = None

    def __call__(self, message: Any) -> str | None:
        tokenizer = self._tokenizer
        if tokenizer is None:
            words = _ByteWords(message["size"], message["special"], message["eos"][0])
            self._tokenizer = LLTokenizer(TokenizerWrapper(words), eos_token=message["eos"])
            return None
        return large_stack_thread.start(lambda: compile_grammar(tokenizer, message).get_error() or None).result()


def compile_grammar(tokenizer: LLTokenizer, text: str) -> LLMatcher:
    """Return a matcher, perhaps with an error. The caller needs a large stack."""
    matcher = LLMatcher(
        tokenizer, text, log_level=0, limits=LLParserLimits(max_items_in_row=MAX_ITEMS, verbose_errors=False)
    )
    if not matcher.is_error():
        matcher.compute_bitmask()  # The first mask may be costly.
    return matcher


def main() -> None:
    serve(_Trial(), _MEMORY)
