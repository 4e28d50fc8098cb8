"""Grammars of tool calls in llguidance's Lark syntax."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.text.structured.grammar_text import WHITESPACE, GrammarRefusedError, inexact_constant, quoted
from pellucid.vocabulary.query import Grammar

Json = dict[str, Any]

COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "patternProperties", "additionalProperties"})
"""Keywords that may allow arguments outside of ``properties``."""

TEXTS = frozenset({"$comment", "description", "title"})


@dataclass(frozen=True, slots=True)
class OfferedFunction:
    """A function that a model may call; ``schema`` is the argument schema as JSON text.

    A ``strict`` function is refused if the schema cannot be enforced.
    """

    name: str
    schema: str
    strict: bool

    @classmethod
    def of(cls, tool: Mapping[str, Any]) -> OfferedFunction:
        function = tool["function"]
        return cls(
            function["name"], json.dumps(argument_schema(function.get("parameters"))), bool(function.get("strict"))
        )

    @property
    def arguments(self) -> Json:
        schema: Json = json.loads(self.schema)
        return schema

    def loose(self) -> OfferedFunction:
        return replace(self, schema=json.dumps({"type": "object"}))


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form of a call: an optional tag at the beginning, and an expression for the rest.

    ``separator`` is an expression between calls, or None if only one call is possible.
    """

    tag: str | None
    rest: str
    separator: str | None = None


class CallRules:
    """Rules of a grammar under construction; tags outside of ``special`` (markers) are text."""

    def __init__(self, functions: Sequence[OfferedFunction], special: Mapping[str, int], *, single: bool) -> None:
        self.functions = functions
        self.single = single
        self._special = special
        self._rules: list[str] = []

    def rule(self, expression: str, *, terminal: bool = False) -> str:
        """Add a rule, and return its name. A ``terminal`` is matched as a whole."""
        name = f"{'T' if terminal else 'r'}{len(self._rules)}"
        self._rules.append(f"{name}: {expression}")
        return name

    def tag(self, tag: str) -> str:
        return f"<[{self._special[tag]}]>" if tag in self._special else quoted(tag)

    def json(self, schema: Mapping[str, Any]) -> str:
        """Return an expression for a JSON value."""
        inexact = inexact_constant(schema)
        if inexact is not None:
            raise GrammarRefusedError("tools", inexact)
        return self.rule(
            "%json " + json.dumps({**schema, "x-guidance": {"whitespace_pattern": WHITESPACE}}, ensure_ascii=False)
        )

    def rest_of_object(self, keys: Iterable[str]) -> str:
        """Return an expression for a call's object after ``{"name": "``.

        ``keys`` are possible keys of the arguments.
        """
        self._rules.append(f"SPACE: /{WHITESPACE}/")
        key = one_of(quoted(f'"{key}"') for key in keys)
        between = self.rule(f"SPACE? {quoted(',')} SPACE? {key} SPACE? {quoted(':')} SPACE?")
        named = one_of(f"{quoted(quoted(one.name)[1:])} {between} {self.json(one.arguments)}" for one in self.functions)
        return f"{named} SPACE? {quoted('}')}"

    def any_object(self, arguments: str) -> str:
        return self.rule(one_of(self._object(function, arguments) for function in self.functions))

    def _object(self, function: OfferedFunction, arguments: str) -> str:
        begin = f'{{"name": {quoted(function.name)}, "{arguments}": '
        return f"{quoted(begin)} {self.json(function.arguments)} {quoted('}')}"

    def whole_answer(self, form: CallForm) -> Grammar:
        call = form.rest if form.tag is None else f"{self.tag(form.tag)} {form.rest}"
        return self.grammar(call if self.single or form.separator is None else f"{call} ({form.separator} {call})*")

    def grammar(self, start: str) -> Grammar:
        return Grammar("grammar", "\n".join([f"start: {start}", *self._rules]), field="tools")


def argument_schema(parameters: Mapping[str, Any] | None) -> Json:
    """Return the schema of the arguments; undeclared arguments are forbidden by default."""
    schema: Json = {**({"properties": {}} if parameters is None else _without_texts(parameters)), "type": "object"}
    return (
        schema | {"additionalProperties": False}
        if "properties" in schema and not COMBINING.intersection(schema)
        else schema
    )


def _without_texts(schema: Any) -> Any:
    """Return a schema without descriptions: the compiler limits the number of characters."""
    if isinstance(schema, list):
        return [_without_texts(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if not (key in TEXTS and isinstance(value, str))}
    return {key: value if key in ("const", "enum") else _without_texts(value) for key, value in kept.items()}


def one_of(expressions: Iterable[str]) -> str:
    return "(" + " | ".join(expressions) + ")"
