"""Translation of grammars in requests to llguidance's form."""

from __future__ import annotations

import json
import re
from typing import Any

from llguidance import LLMatcher
from llguidance.gbnf_to_lark import gbnf_to_lark

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.query import Grammar

MAX_CHARACTERS = 2**17
"""Within this length, no chain of references overflows the stack of ``large_stack_thread``."""

MAX_GBNF_CHARACTERS = 2**14
"""The conversion time of llama.cpp's syntax grows with the square of the length."""

MAX_EXACT_INTEGER = 2**53

WHITESPACE = r"[ \n\r\t]{1,64}"
"""White space inside JSON. Without a limit, small models can continue white space forever."""

# Without line ends: the time would grow with the square of the number of empty lines.
_GBNF_RULE = re.compile(r"^[ \t]*[\w-]+[ \t]*::=", re.MULTILINE)
_LARK_LIMIT = re.compile(r"^[ \t]*[?!]?\w+[ \t]*\[[^\]\n]*\b(max_tokens|temperature|stop)\s*=", re.MULTILINE)


def to_llguidance(grammar: Grammar) -> str:
    limit = MAX_GBNF_CHARACTERS if is_gbnf(grammar) else MAX_CHARACTERS
    if len(grammar.text) > limit:
        raise refused(grammar, f"it has {len(grammar.text):,} characters, and at most {limit:,} are compiled")
    match grammar.kind:
        case "json_object":
            return _from_schema(grammar, {"type": "object"})
        case "json_schema":
            return _from_schema(grammar, _schema(grammar))
        case "regex":
            return LLMatcher.grammar_from_regex(grammar.text)
        case "choice":
            return LLMatcher.grammar_from_lark("start: " + " | ".join(map(quoted, _choices(grammar))))
        case "grammar":
            return LLMatcher.grammar_from_lark(_lark(grammar))


def is_gbnf(grammar: Grammar) -> bool:
    """Return whether the grammar is in llama.cpp's syntax: ``::=`` instead of Lark's colon."""
    return grammar.kind == "grammar" and _GBNF_RULE.search(grammar.text) is not None


class GrammarRefusedError(InvalidRequestError):
    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} cannot be used as a grammar: {reason}", param=field)
        self.reason = reason


def refused(grammar: Grammar, reason: str) -> GrammarRefusedError:
    short = " ".join(reason.split())
    short = short if len(short) <= 300 else short[:300] + " ..."
    return GrammarRefusedError(grammar.field, short)


def _from_schema(grammar: Grammar, schema: dict[str, Any] | bool) -> str:
    options: Any = {
        "lenient": False,
        "coerce_one_of": False,
        "whitespace_flexible": True,
        "whitespace_pattern": WHITESPACE,
    }
    if grammar.whitespace == "":
        options |= {"whitespace_flexible": False, "whitespace_pattern": None}
    elif grammar.whitespace is not None:
        options |= {"whitespace_pattern": grammar.whitespace}
    whole: dict[str, Any] = {"allOf": [schema]} if isinstance(schema, bool) else schema
    try:
        return LLMatcher.grammar_from_json_schema(json.dumps(whole), overrides=options)
    except ValueError as error:
        raise refused(grammar, str(error)) from None


def _schema(grammar: Grammar) -> dict[str, Any] | bool:
    try:
        schema = json.loads(grammar.text)
    except (ValueError, RecursionError) as error:
        raise refused(grammar, f"the schema is not valid JSON ({error})") from None
    if not isinstance(schema, (dict, bool)):
        raise refused(grammar, "a JSON schema is an object, true or false")
    inexact = inexact_constant(schema)
    if inexact is not None:
        raise refused(grammar, inexact)
    return schema


def inexact_constant(schema: object) -> str | None:
    """Return a sentence about an integer constant that llguidance would round, or None."""
    pending = [(False, schema)]
    while pending:
        constant, value = pending.pop()
        if isinstance(value, dict):
            pending += [
                (constant or name == "const" or (name == "enum" and isinstance(item, list)), item)
                for name, item in value.items()
            ]
        elif isinstance(value, list):
            pending += [(constant, item) for item in value]
        elif constant and isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
            return f"{value} is not exact as a floating-point number, which constants become: use a string"
    return None


def _choices(grammar: Grammar) -> list[str]:
    try:
        choices = json.loads(grammar.text)
    except (ValueError, RecursionError) as error:
        raise refused(grammar, f"the choices are not a JSON list ({error})") from None
    if not isinstance(choices, list) or not choices or not all(isinstance(one, str) for one in choices):
        raise refused(grammar, "the choices must be a list of at least one text")
    return choices


def quoted(text: str) -> str:
    """Return a text as a literal of Lark's syntax."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lark(grammar: Grammar) -> str:
    if is_gbnf(grammar):
        try:
            return gbnf_to_lark(grammar.text)
        except Exception as error:  # The converter raises errors of many kinds.
            raise refused(grammar, str(error)) from None
    limit = _LARK_LIMIT.search(grammar.text)
    if limit is not None:
        raise refused(grammar, f"{limit[1]} is not supported inside a grammar: use the request's own field")
    return grammar.text
