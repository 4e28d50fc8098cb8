"""Holds the tool calls of an answer to the format of the model and to the schemas of the functions."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from pellucid.engine.request import Constraint
from pellucid.engine.token_mask import TokenMask
from pellucid.errors import InvalidRequestError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.structured.grammar_compiler import GrammarCompiler
from pellucid.text.structured.grammar_constraint import GrammarConstraint
from pellucid.text.tool_calls.call_rules import CallRules, OfferedFunction
from pellucid.text.tool_calls.format_reader import FormatReader
from pellucid.tokens import ChatQuery, Grammar, NamedTool

MAX_SECONDS = 10.0
"""Time to find out which functions of a request have schemas that no grammar can hold to."""

MAX_KEPT = 16
"""Lists of such functions that a model keeps for the next requests."""


class CallConstraint:
    """A grammar for each call, from the tag that begins it to its end. The rest of the answer is free.

    ``begin`` returns the grammar's constraint at the beginning of what follows the tag.
    """

    def __init__(self, tag: int, begin: Callable[[], GrammarConstraint]) -> None:
        self._tag = tag
        self._begin = begin
        self._call: GrammarConstraint | None = None

    @property
    def hides_refused(self) -> bool:
        """False, as for every grammar."""
        return False

    def allowed(self) -> TokenMask | None:
        """Return the tokens that may come next in a call; outside of calls None, which allows every token."""
        return None if self._call is None else self._call.allowed()

    def forced(self) -> list[int]:
        """Return the tokens that certainly come next."""
        return [] if self._call is None else self._call.forced()

    def advance(self, id: int) -> None:
        """Advance over a token that was chosen."""
        if self._call is not None:
            self._call.advance(id)
            if self._call.may_end:
                self._call = None
        elif id == self._tag:
            self._call = self._begin()


@dataclass(frozen=True, slots=True)
class _CallGrammar:
    """The choices that decide a grammar of calls: ``whole`` is that of an answer, otherwise of the rest of one call after its tag."""

    functions: tuple[OfferedFunction, ...]
    single: bool
    whole: bool


class CallConstraints:
    """Makes the constraints for the calls of one model. ``source`` is the text of its chat template."""

    def __init__(self, compiler: GrammarCompiler, tokenizer: Tokenizer, format: type[FormatReader], source: str) -> None:
        self._compiler = compiler
        self._special = tokenizer.special
        self._format = format
        self._source = source
        self._kept: OrderedDict[_CallGrammar, frozenset[str]] = OrderedDict()

    async def constraint(self, query: ChatQuery) -> tuple[Constraint | None, frozenset[str]]:
        """Return the constraint for the answer to a query with tools, and the functions whose arguments may be any JSON object.

        A call that ``tool_choice`` demands is forced by a grammar of the whole answer. Otherwise each call is held to its grammar from its
        tag on; if that is not a marker of the model, there is no constraint.
        Raises InvalidRequestError for a strict function whose schema cannot be held to.
        """
        tag = self._special.get(self._format.tags[0])
        whole = query.tool_choice != "auto"
        if not whole and tag is None:
            return None, frozenset()
        single = isinstance(query.tool_choice, NamedTool) or not query.parallel_tool_calls
        wanted = _CallGrammar(_demanded(query), single, whole)
        try:
            async with asyncio.timeout(MAX_SECONDS):
                loose = await self._loose_functions(wanted)
        except TimeoutError:
            sentence = f"The schemas of tools take longer than {MAX_SECONDS:g} seconds to compile: simplify them, or send fewer tools."
            raise InvalidRequestError(sentence, param="tools") from None
        functions = tuple(function.loose() if function.name in loose else function for function in wanted.functions)
        grammar = await self._compiler.constraint(self._written(replace(wanted, functions=functions)))
        if whole:
            return grammar, loose
        assert tag is not None
        return CallConstraint(tag, grammar.copy), loose

    async def _loose_functions(self, wanted: _CallGrammar) -> frozenset[str]:
        """Return the functions whose schemas no grammar can hold to."""
        loose = self._kept.get(wanted)
        if loose is None:
            loose = frozenset()
            if await self._error(wanted) is not None:
                loose = frozenset([function.name for function in wanted.functions if await self._is_loose(function)])
            self._kept[wanted] = loose
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return loose

    async def _is_loose(self, function: OfferedFunction) -> bool:
        error = await self._error(_CallGrammar((function,), single=True, whole=False))
        if error is not None and function.strict:
            sentence = (
                f"The function {function.name!r} is strict, but its parameters cannot be enforced: {error}. Simplify them, or omit strict."
            )
            raise InvalidRequestError(sentence, param="tools")
        return error is not None

    async def _error(self, wanted: _CallGrammar) -> str | None:
        """Return why no grammar can hold to these functions, or None."""
        try:
            await self._compiler.matcher(self._written(wanted))
        except InvalidRequestError as error:
            return str(error).removeprefix("tools cannot be used as a grammar: ").rstrip(".")
        return None

    def _written(self, wanted: _CallGrammar) -> Grammar:
        """Return the grammar. Raises InvalidRequestError for a schema that the format has no form for."""
        rules = CallRules(wanted.functions, self._special, single=wanted.single)
        form = self._format.form(rules, self._source)
        return rules.whole_answer(form) if wanted.whole else rules.rest_of_call(form)


def _demanded(query: ChatQuery) -> tuple[OfferedFunction, ...]:
    """Return the functions that may be called. Raises InvalidRequestError if ``tool_choice`` names another one."""
    functions = tuple(OfferedFunction.of(tool) for tool in query.shown_tools)
    if not isinstance(query.tool_choice, NamedTool):
        return functions
    named = tuple(function for function in functions if function.name == query.tool_choice.name)
    if not named:
        sentence = f"tool_choice names the function {query.tool_choice.name!r}, which is not among tools: send one of their names."
        raise InvalidRequestError(sentence, param="tool_choice")
    return named
