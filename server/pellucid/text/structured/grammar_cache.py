"""Compilation of grammars, off the event loop and off the engine's thread."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future
from functools import cached_property

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from pellucid.errors import InvalidRequestError, QueueFullError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.system.limited_process import LimitedProcess, ProcessFailedError
from pellucid.text.structured import large_stack_thread
from pellucid.text.structured.grammar_constraint import GrammarConstraint
from pellucid.text.structured.grammar_text import GrammarRefusedError, refused, to_llguidance
from pellucid.text.structured.trial_compilation import TRIAL_SECONDS, compile_grammar, trial_process
from pellucid.vocabulary.query import Grammar

MAX_SECONDS = 10.0
"""Time limit for a compilation, and for the wait for a place."""

MAX_AT_ONCE = 2
"""Simultaneous compilations in a process. A slow compilation keeps its place until the trial's end.
"""

MAX_KEPT = 16

MAX_KEPT_CHARACTERS = 2**17
"""Total length of cached grammars: a compiled grammar can take a kilobyte for each character."""


class CompilationPlaces:
    """A limit for simultaneous compilations, first come, first served.

    A place is taken on any event loop, and given back on any thread.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[Future[None]] = deque()

    async def take(self, seconds: float) -> None:
        """Wait for a place. Raises QueueFullError after ``seconds`` without a free place."""
        turn: Future[None] = Future()
        with self._lock:
            self._waiting.append(turn)
            self._give()
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(turn)), seconds)
        except BaseException as error:  # A cancelled request must not keep a place.
            if not turn.cancel():
                self.give_back()
            if isinstance(error, TimeoutError):
                raise QueueFullError("The server is compiling other grammars: try again later.") from None
            raise

    def give_back(self) -> None:
        with self._lock:
            self._free += 1
            self._give()

    def _give(self) -> None:
        while self._free and self._waiting:
            turn = self._waiting.popleft()
            if turn.set_running_or_notify_cancel():
                self._free -= 1
                turn.set_result(None)


_places = CompilationPlaces(MAX_AT_ONCE)


class GrammarCompiler:
    """A cache and compiler of grammars for a tokenizer.

    Grammars are cached per ``cache_salt``: otherwise, the speed would reveal which grammars a
    different client has sent.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, Grammar], LLMatcher] = OrderedDict()
        self._idle_trials: list[LimitedProcess] = []

    async def constraint(self, grammar: Grammar, cache_salt: str = "") -> GrammarConstraint:
        """Return a new constraint.

        Raises InvalidRequestError, with llguidance's sentence, for an unusable grammar.
        """
        matcher = await self.matcher(grammar, cache_salt)
        return GrammarConstraint(matcher, self._tokenizer.vocab_size, foresees=not self._tokenizer.apart)

    async def matcher(self, grammar: Grammar, cache_salt: str = "") -> LLMatcher:
        kept = self._find(grammar, cache_salt)
        if kept is None:
            kept = await self._compile_in_thread(grammar, cache_salt)
        return kept.deep_copy()

    async def _compile_in_thread(self, grammar: Grammar, cache_salt: str) -> LLMatcher:
        await _places.take(MAX_SECONDS)
        try:
            compiled = large_stack_thread.start(lambda: self._compile_and_free_place(grammar, cache_salt))
        except RuntimeError:  # No memory for the thread.
            _places.give_back()
            raise QueueFullError("There is no memory to compile the grammar: try again later.") from None
        try:
            return await asyncio.wait_for(asyncio.wrap_future(compiled), MAX_SECONDS)
        except TimeoutError:
            raise refused(grammar, f"it takes longer than {MAX_SECONDS:g} seconds to compile, so simplify it") from None

    def _compile_and_free_place(self, grammar: Grammar, cache_salt: str) -> LLMatcher:
        try:
            return self._find(grammar, cache_salt) or self._compile(grammar, cache_salt)
        finally:
            _places.give_back()

    def _compile_on_trial(self, grammar: Grammar, text: str) -> None:
        with self._lock:
            trial = self._idle_trials.pop() if self._idle_trials else trial_process(self._tokenizer)
        try:
            error = trial.ask(text, TRIAL_SECONDS)
        except ProcessFailedError as failure:
            raise refused(grammar, f"compiling it failed, as {failure}; simplify it") from None
        finally:
            with self._lock:
                self._idle_trials.append(trial)
        if error is not None:
            raise _with_error(grammar, str(error))

    def _compile(self, grammar: Grammar, cache_salt: str) -> LLMatcher:
        try:
            with self._lock:
                tokenizer = self._llguidance_tokenizer
            text = to_llguidance(grammar)
            self._compile_on_trial(grammar, text)
            matcher = compile_grammar(tokenizer, text)
        except UnicodeEncodeError:
            raise refused(grammar, "it contains half a surrogate pair: send whole characters") from None
        if matcher.is_error():
            raise _with_error(grammar, matcher.get_error())
        with self._lock:
            self._kept[cache_salt, grammar] = matcher
            while len(self._kept) > MAX_KEPT or sum(len(one.text) for _, one in self._kept) > MAX_KEPT_CHARACTERS:
                self._kept.popitem(last=False)
        return matcher

    def _find(self, grammar: Grammar, cache_salt: str) -> LLMatcher | None:
        with self._lock:
            kept = self._kept.get((cache_salt, grammar))
            if kept is not None:
                self._kept.move_to_end((cache_salt, grammar))
            return kept

    @cached_property
    def _llguidance_tokenizer(self) -> LLTokenizer:
        if not self._tokenizer.eos_ids:
            raise InvalidRequestError("This model has no token that ends a text, which a grammar needs.", param="model")
        words = _Words(self._tokenizer)
        return LLTokenizer(TokenizerWrapper(words), eos_token=sorted(self._tokenizer.eos_ids))


class _Words:
    """A tokenizer in llguidance's form."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = min(tokenizer.eos_ids)
        self.bos_token_id = tokenizer.bos_id
        self.tokens = tokenizer.vocabulary()
        self.special_token_ids = sorted(tokenizer.special.values())

    def __call__(self, text: bytes | str) -> list[int]:
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        return self._tokenizer.encode_text(text)


def _with_error(grammar: Grammar, error: str) -> GrammarRefusedError:
    return refused(grammar, error.replace("<non-verbose/>", ""))
