"""Constraints of tool calls to the call format and to the function schemas."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pellucid.engine.request import Constraint
from pellucid.engine.token_mask import TokenMask
from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.structured.grammar_cache import GrammarCompiler
from pellucid.text.structured.grammar_constraint import GrammarConstraint
from pellucid.text.structured.grammar_text import GrammarRefusedError
from pellucid.text.tool_calls.call_rules import CallRules, OfferedFunction
from pellucid.text.tool_calls.format_reader import FormatReader
from pellucid.vocabulary.message import NamedTool
from pellucid.vocabulary.query import ChatQuery, Grammar

MAX_SECONDS = 4.0
"""Time limit for the search for functions with schemas that no grammar can enforce."""

MAX_BEFORE_CALL = 1000
"""Search window, in bytes from the beginning of an answer, for a call without tags."""

MAX_KEPT = 16

_NAMED_OBJECT = re.compile(
    r'(?:\s|[,;\[\]]|```(?:json)?|</?tools>)*\{\s*"name"\s*:\s*"((?:[^"\\]|\\.)*)"\s*,\s*"(?:arguments|parameters)"\s*:'
)
"""The beginning of a call without tags: alone, in a code block or after earlier calls."""


class CallConstraint:
    """A constraint of each call from its certain beginning to its end; other text is free."""

    def __init__(self, tagged: TaggedStart | None, bare: BareStart | None) -> None:
        self._tagged = tagged
        self._bare = bare
        self._call: GrammarConstraint | None = None

    @property
    def hides_refused(self) -> bool:
        return False

    @property
    def failure(self) -> str | None:
        return None if self._call is None else self._call.failure

    def allowed(self) -> TokenMask | None:
        """Return the tokens that may come next in a call; outside of calls None (all tokens)."""
        return None if self._call is None else self._call.allowed()

    def forced(self) -> list[int]:
        return [] if self._call is None else self._call.forced()

    def advance(self, id: int) -> None:
        if self._call is not None:
            self._call.advance(id)
            if self._call.may_end:
                self._call = None
        elif self._tagged is not None and id == self._tagged.tag_id:
            self._call, self._bare = self._tagged.rest.copy(), None
        elif self._bare is not None:
            self._call = self._bare.advance(id)


@dataclass(frozen=True, slots=True)
class TaggedStart:
    tag_id: int
    rest: GrammarConstraint


class BareStart:
    """A watch for calls without tags: named objects, alone or in a code block.

    ``rest`` is the grammar of an object after ``{"name": "``.
    """

    def __init__(self, tokenizer: Tokenizer, names: Iterable[str], rest: GrammarConstraint) -> None:
        self._tokenizer = tokenizer
        self._names = frozenset(json.dumps(name, ensure_ascii=False)[1:-1] for name in names)
        self._rest = rest
        self._text = b""

    def advance(self, id: int) -> GrammarConstraint | None:
        """Return the constraint for the rest of a call that this token has begun, or None."""
        if len(self._text) > MAX_BEFORE_CALL:
            return None
        self._text += self._tokenizer.token_bytes(id)
        text = self._text.decode(errors="replace")
        named = _NAMED_OBJECT.match(text)
        if named is None:
            return None
        self._text = b""
        return (
            self._rest.after(self._tokenizer.encode_text(text[named.start(1) :])) if named[1] in self._names else None
        )


Kind = Literal["whole", "tagged", "bare"]
"""Scope of a grammar: a whole answer, or the rest of a call after its tag or after ``{"name": "``.
"""


@dataclass(frozen=True, slots=True)
class _Functions:
    """The callable functions of a request; ``single`` allows at most one call per answer."""

    functions: tuple[OfferedFunction, ...]
    single: bool
    cache_salt: str

    def loosened(self, loose: Collection[str]) -> _Functions:
        return replace(self, functions=tuple(one.loose() if one.name in loose else one for one in self.functions))


class CallConstraints:
    """Call constraints for a model; ``source`` is the chat template."""

    def __init__(
        self, compiler: GrammarCompiler, tokenizer: Tokenizer, format: type[FormatReader], source: str
    ) -> None:
        self._compiler = compiler
        self._tokenizer = tokenizer
        self._format = format
        self._source = source
        self._kept: OrderedDict[_Functions, frozenset[str]] = OrderedDict()

    async def constraint(self, query: ChatQuery, cache_salt: str = "") -> tuple[Constraint | None, frozenset[str]]:
        """Return the constraint for an answer, and the names of loose functions.

        The arguments of a loose function may be any JSON object. If ``tool_choice`` demands a call,
        a grammar covers the whole answer. Otherwise a call is constrained after its tag (a marker
        of the model), or after ``{"name": "`` in an answer that is an object.

        Raises InvalidRequestError for a strict function with an unenforceable schema.
        """
        wanted = _Functions(_callable_functions(query), query.single_call, cache_salt)
        loose = await self._loose_functions(wanted)
        held = wanted.loosened(loose)
        if query.tool_choice != "auto":
            return await self._grammar(held, "whole"), loose
        try:
            return await self._free_until_call(query, held), loose
        except GrammarRefusedError as error:  # Too many functions, even as loose functions.
            _refuse_strict(held.functions, error.reason.rstrip("."))
            return None, frozenset([one.name for one in wanted.functions])

    async def _free_until_call(self, query: ChatQuery, held: _Functions) -> CallConstraint:
        tag = self._tokenizer.special.get(self._format.tags[0])
        tagged = None if tag is None else TaggedStart(tag, await self._grammar(held, "tagged"))
        bare = None
        # A tokenizer in a separate process would delay the engine.
        if self._format.bare_keys and not query.continues_text and not self._tokenizer.apart:
            bare = BareStart(self._tokenizer, [one.name for one in held.functions], await self._grammar(held, "bare"))
        return CallConstraint(tagged, bare)

    async def _grammar(self, held: _Functions, kind: Kind) -> GrammarConstraint:
        return await self._compiler.constraint(await asyncio.to_thread(self._written, held, kind), held.cache_salt)

    async def _loose_functions(self, wanted: _Functions) -> frozenset[str]:
        """Return the functions with unenforceable schemas."""
        loose = self._kept.get(wanted)
        if loose is not None:
            self._kept.move_to_end(wanted)
        else:
            loose = frozenset()
            if await self._error(wanted) is not None:
                loose = await self._loose_alone(wanted)
                error = await self._error(wanted.loosened(loose))
                if error is not None:
                    loose = frozenset([one.name for one in wanted.functions])
                    _refuse_strict(wanted.functions, error)
            self._kept[wanted] = loose
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return loose

    async def _loose_alone(self, wanted: _Functions) -> frozenset[str]:
        loose = set()
        deadline = time.monotonic() + MAX_SECONDS
        for function in wanted.functions:
            error: str | None
            if time.monotonic() < deadline:
                error = await self._error(replace(wanted, functions=(function,), single=True))
            else:
                error = f"compiling all of them takes longer than {MAX_SECONDS:g} seconds"
            if error is not None:
                _refuse_strict([function], error)
                loose.add(function.name)
        return frozenset(loose)

    async def _error(self, wanted: _Functions) -> str | None:
        try:
            await self._compiler.matcher(await asyncio.to_thread(self._written, wanted, "tagged"), wanted.cache_salt)
        except GrammarRefusedError as error:
            return error.reason.rstrip(".")
        return None

    def _written(self, wanted: _Functions, kind: Kind) -> Grammar:
        rules = CallRules(wanted.functions, self._tokenizer.special, single=wanted.single)
        if kind == "bare":
            return rules.grammar(rules.rest_of_object(self._format.bare_keys))
        form = self._format.form(rules, self._source)
        return rules.whole_answer(form) if kind == "whole" else rules.grammar(form.rest)


def _refuse_strict(functions: Iterable[OfferedFunction], error: str) -> None:
    for function in functions:
        if function.strict:
            sentence = f"The function {function.name!r} is strict, but its parameters cannot be enforced: {error}."
            raise InvalidRequestError(f"{sentence} Simplify them, or omit strict.", param="tools")


def _callable_functions(query: ChatQuery) -> tuple[OfferedFunction, ...]:
    functions = tuple(OfferedFunction.of(tool) for tool in query.shown_tools)
    if not isinstance(query.tool_choice, NamedTool):
        return functions
    named = tuple(function for function in functions if function.name == query.tool_choice.name)
    if not named:
        sentence = (
            f"tool_choice names the function {query.tool_choice.name!r}, which is not among tools: "
            "send one of their names."
        )
        raise InvalidRequestError(sentence, param="tool_choice")
    return named
