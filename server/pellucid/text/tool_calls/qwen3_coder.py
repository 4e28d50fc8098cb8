"""The tool call format of Qwen3-Coder, with tags."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pellucid.text.structured.grammar_text import GrammarRefusedError, quoted
from pellucid.text.structured.json_scanner import is_json
from pellucid.text.tool_calls.call_rules import CallForm, CallRules, OfferedFunction, one_of
from pellucid.text.tool_calls.call_syntax import Draft, Reading
from pellucid.text.tool_calls.format_reader import FormatReader

Characters = list[tuple[int, str]]

LINE = "\n"
VALUE_END = "\n</parameter>\n"

TAG_IN_TEXT = r"<\/parameter>|<parameter=|<\/function>"

MAX_REFERENCES = 8

PYTHON_CONSTANTS = {"True": "true", "False": "false", "None": "null"}


class Qwen3Coder(FormatReader):
    """``<tool_call><function=f><parameter=key>value</parameter></function></tool_call>`` on lines.

    A value is a text if the parameter's schema allows texts, or if the value is not JSON.
    """

    tags = ("<tool_call>", "</tool_call>")
    first_characters = "<"

    def calls(self) -> Reading[bool]:
        """Read the call at the cursor; a call of an offered function may lack the outer tags."""
        syntax, draft = self.syntax, Draft(self.syntax.at)
        tagged = yield from syntax.tag("<tool_call>")
        yield from syntax.spaces()
        if not (yield from syntax.text("<function=")):
            return False
        draft.name = (yield from syntax.until(">", "\n")).strip()
        if not draft.name or not (yield from syntax.take(">")) or not (tagged or draft.name in self.schemas):
            return False
        syntax.emit(draft, syntax.at - 1, "{")
        yield from self._parameters(draft)
        yield from self.closing("</tool_call>")
        return True

    @staticmethod
    def form(rules: CallRules, template: str) -> CallForm:
        wrong = next((function.name for function in rules.functions if not _is_name(function.name)), None)
        if wrong is not None:
            raise _no_form(f"the name {wrong!r}")
        functions = one_of(
            f"{quoted(f'<function={function.name}>' + LINE)} {_parameters(rules, function)}"
            for function in rules.functions
        )
        rest = f"{quoted(LINE)} {functions} {quoted('</function>' + LINE)} {rules.tag('</tool_call>')}"
        return CallForm("<tool_call>", rest, quoted(LINE))

    def _parameters(self, draft: Draft) -> Reading[None]:
        """Read the parameters and the optional end of the function."""
        syntax, separator = self.syntax, ""
        schema = self.schemas.get(draft.name or "", {})
        while True:
            end = syntax.at
            syntax.hold = end - 1  # The last unit may have to close the arguments.
            yield from syntax.spaces()
            if not (yield from syntax.text("<parameter=")):
                break
            key = (yield from syntax.until(">", "\n")).strip()
            if not (yield from syntax.take(">")):
                syntax.hold = None
                return
            named_at = syntax.at - 1
            value = yield from self._value()
            if value is None:
                syntax.hold = None
                return
            syntax.emit(draft, named_at, f"{separator}{json.dumps(key, ensure_ascii=False)}: ")
            for position, text in _written(value, named_at, _schema_of(schema, key)):
                syntax.emit(draft, position, text)
            separator = ", "
        if not (yield from syntax.text("</function>")):
            syntax.at = end
        syntax.emit(draft, syntax.at - 1, "}")
        syntax.hold = None

    def _value(self) -> Reading[Characters | None]:
        """Read a value and its optional closing tag; return None if the answer ends first."""
        syntax, characters = self.syntax, Characters()
        while len(unit := (yield from syntax.peek())) == 1:
            position = syntax.at
            if unit == "<":
                if (yield from syntax.text("</parameter>")):
                    return characters
                for tag in ("<parameter=", "</function>"):
                    if (yield from syntax.text(tag)):
                        syntax.at = position
                        return characters
            characters.append((position, unit))
            syntax.at = position + 1
        return None


def _parameters(rules: CallRules, function: OfferedFunction) -> str:
    """Return an expression for the parameters of a function."""
    arguments = function.arguments
    properties = arguments.pop("properties", None)
    if properties is None and arguments == {"type": "object"}:
        return f"({quoted('<parameter=')} /[^<>\\n]+/ {quoted('>' + LINE)} {_free_text(rules)})*"
    required = arguments.pop("required", [])
    other = arguments.keys() - {"type", "$defs", "definitions", "additionalProperties"}
    if (
        other
        or arguments.get("additionalProperties") is not False
        or not isinstance(properties, dict)
        or not isinstance(required, list)
    ):
        raise _no_form("an object with other keywords than properties and required")
    shared: dict[str, Any] = {key: arguments[key] for key in ("$defs", "definitions") if key in arguments}
    parts = []
    for key, schema in properties.items():
        if not _is_name(key) or not isinstance(schema, dict):
            raise _no_form(f"the parameter {key!r}")
        parts.append(
            rules.rule(f"{quoted(f'<parameter={key}>' + LINE)} {_value(rules, schema, shared)}")
            + ("" if key in required else "?")
        )
    return " ".join(parts)


def _value(rules: CallRules, schema: dict[str, Any], shared: dict[str, Any]) -> str:
    schema = _resolved(schema, shared)
    limits = {keyword: value for keyword, value in schema.items() if keyword not in ("default", "examples")}
    if limits == {"type": "string"}:
        return _free_text(rules)
    texts = limits.get("enum")
    if (
        isinstance(texts, list)
        and texts
        and limits.keys() <= {"type", "enum"}
        and all(_is_plain(text) for text in texts)
    ):
        return one_of(quoted(text + VALUE_END) for text in texts)
    if limits.get("type") not in ("integer", "number", "boolean", "array", "object"):
        raise _no_form("a text with other keywords than enum")
    return f"{rules.json({**shared, **schema})} {quoted(VALUE_END)}"


def _resolved(schema: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    for _ in range(MAX_REFERENCES):
        if schema.keys() != {"$ref"}:
            break
        _, *steps = str(schema["$ref"]).split("/")
        found: Any = shared
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        if not isinstance(found, dict):
            break
        schema = found
    return schema


def _free_text(rules: CallRules) -> str:
    return rules.rule(f"(/(?s:.*)/ & ~/(?s:.*)({TAG_IN_TEXT})(?s:.*)/) {quoted(VALUE_END)}", terminal=True)


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[^<>\n]+", text) is not None and text == text.strip()


def _is_plain(text: object) -> bool:
    return isinstance(text, str) and re.search(TAG_IN_TEXT.replace("\\/", "/"), text) is None


def _no_form(what: str) -> GrammarRefusedError:
    return GrammarRefusedError("tools", f"{what} has no form in this model's format of calls")


def _written(value: Characters, before: int, schema: Mapping[str, Any] | None) -> Characters:
    """Return a value as JSON, with the source position of each piece.

    A line end at the beginning and at the end does not belong to the value.
    """
    begin, end = 0, len(value)
    if begin < end and value[begin][1] == "\n":
        begin += 1
    if begin < end and value[end - 1][1] == "\n":
        end -= 1
    after = value[end][0] if end < len(value) else (value[-1][0] if value else before)
    text = "".join(character for _, character in value[begin:end])
    if not _is_text(schema):
        bare = PYTHON_CONSTANTS.get(text.strip(), text.strip())
        if is_json(bare):
            skipped = begin + len(text) - len(text.lstrip())
            return [(value[skipped + index][0], character) for index, character in enumerate(bare)]
    quoted = [(position, json.dumps(character, ensure_ascii=False)[1:-1]) for position, character in value[begin:end]]
    return [(value[begin][0] if begin < end else before, '"'), *quoted, (after, '"')]


def _schema_of(parameters: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    properties = parameters.get("properties")
    schema = properties.get(key) if isinstance(properties, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _is_text(schema: Mapping[str, Any] | None) -> bool:
    if schema is None:
        return False
    type, enum = schema.get("type"), schema.get("enum")
    if isinstance(enum, list):
        return all(isinstance(one, str) for one in enum)
    branches = schema.get("anyOf")
    if type is None and isinstance(branches, list):
        return any(isinstance(branch, Mapping) and _is_text(branch) for branch in branches)
    return type == "string" or (isinstance(type, list) and "string" in type)
