"""Writes grammars of tool calls in llguidance's Lark syntax, so that a call keeps to its format and to the schema of its function."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.text.structured.grammar_text import WHITESPACE, GrammarRefusedError, inexact_constant, quoted
from pellucid.tokens import Grammar

Json = dict[str, Any]

COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf", "patternProperties", "additionalProperties"})
"""Keywords that may allow arguments which ``properties`` does not name."""

TEXTS = frozenset({"$comment", "description", "title"})
"""Keywords that limit nothing."""


@dataclass(frozen=True, slots=True)
class OfferedFunction:
    """A function that a model may call. ``schema`` is the JSON text of the schema of its arguments.

    With ``strict`` a request is refused if its schema cannot be enforced.
    """

    name: str
    schema: str
    strict: bool

    @classmethod
    def of(cls, tool: Mapping[str, Any]) -> OfferedFunction:
        """Return the function of a tool in OpenAI's shape."""
        function = tool["function"]
        return cls(
            function["name"], json.dumps(argument_schema(function.get("parameters"))), bool(function.get("strict"))
        )

    @property
    def arguments(self) -> Json:
        """The schema of the arguments."""
        schema: Json = json.loads(self.schema)
        return schema

    def loose(self) -> OfferedFunction:
        """Return the function with any JSON object as arguments."""
        return replace(self, schema=json.dumps({"type": "object"}))


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form of a call: the tag that begins it, if any, and an expression for the rest.

    ``separator`` is an expression for the text between two calls; None if an answer has only one
    such form.
    """

    tag: str | None
    rest: str
    separator: str | None = None


class CallRules:
    """The rules of a grammar in the making.

    ``special`` are the markers of the tokenizer; other tags are written as text.
    """

    def __init__(self, functions: Sequence[OfferedFunction], special: Mapping[str, int], *, single: bool) -> None:
        self.functions = functions
        self.single = single
        self._special = special
        self._rules: list[str] = []

    def rule(self, expression: str, *, terminal: bool = False) -> str:
        """Add a rule, and return its name. The text of a ``terminal`` is matched as a whole."""
        name = f"{'T' if terminal else 'r'}{len(self._rules)}"
        self._rules.append(f"{name}: {expression}")
        return name

    def tag(self, tag: str) -> str:
        """Return an expression for a tag: a marker if the tokenizer has it as one, text otherwise."""
        return f"<[{self._special[tag]}]>" if tag in self._special else quoted(tag)

    def json(self, schema: Mapping[str, Any]) -> str:
        """Return an expression for a JSON value.

        Raises GrammarRefusedError for a schema with a constant that would be rounded.
        """
        inexact = inexact_constant(schema)
        if inexact is not None:
            raise GrammarRefusedError("tools", inexact)
        return self.rule(
            "%json " + json.dumps({**schema, "x-guidance": {"whitespace_pattern": WHITESPACE}}, ensure_ascii=False)
        )

    def rest_of_object(self, keys: Iterable[str]) -> str:
        """Return an expression for what follows ``{"name": "`` in the object of a call, whose arguments have one of these keys."""
        self._rules.append(f"SPACE: /{WHITESPACE}/")
        key = one_of(quoted(f'"{key}"') for key in keys)
        between = self.rule(f"SPACE? {quoted(',')} SPACE? {key} SPACE? {quoted(':')} SPACE?")
        named = one_of(f"{quoted(quoted(one.name)[1:])} {between} {self.json(one.arguments)}" for one in self.functions)
        return f"{named} SPACE? {quoted('}')}"

    def any_object(self, arguments: str) -> str:
        """Return an expression for an object with the name of a function and its arguments under the key ``arguments``."""
        return self.rule(one_of(self._object(function, arguments) for function in self.functions))

    def _object(self, function: OfferedFunction, arguments: str) -> str:
        begin = f'{{"name": {quoted(function.name)}, "{arguments}": '
        return f"{quoted(begin)} {self.json(function.arguments)} {quoted('}')}"

    def whole_answer(self, form: CallForm) -> Grammar:
        """Return the grammar of an answer that consists of calls."""
        call = form.rest if form.tag is None else f"{self.tag(form.tag)} {form.rest}"
        return self.grammar(call if self.single or form.separator is None else f"{call} ({form.separator} {call})*")

    def grammar(self, start: str) -> Grammar:
        """Return the grammar of a text that this expression describes."""
        return Grammar("grammar", "\n".join([f"start: {start}", *self._rules]), field="tools")


def argument_schema(parameters: Mapping[str, Any] | None) -> Json:
    """Return the schema of a function's arguments: an object with only the declared ones, unless the schema says otherwise."""
    schema: Json = {**({"properties": {}} if parameters is None else _without_texts(parameters)), "type": "object"}
    return (
        schema | {"additionalProperties": False}
        if "properties" in schema and not COMBINING.intersection(schema)
        else schema
    )


def _without_texts(schema: Any) -> Any:
    """Return a schema without the texts that are for the model, as only so many characters are compiled."""
    if isinstance(schema, list):
        return [_without_texts(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if not (key in TEXTS and isinstance(value, str))}
    return {key: value if key in ("const", "enum") else _without_texts(value) for key, value in kept.items()}


def one_of(expressions: Iterable[str]) -> str:
    """Return an expression for one of several."""
    return "(" + " | ".join(expressions) + ")"
