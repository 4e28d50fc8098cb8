"""The tool call formats in JSON: Hermes and Qwen, Llama 3 and Mistral."""

from __future__ import annotations

from pellucid.text.structured.grammar_text import quoted
from pellucid.text.tool_calls.call_rules import CallForm, CallRules, one_of
from pellucid.text.tool_calls.call_syntax import ARGUMENTS, Draft, Reading
from pellucid.text.tool_calls.format_reader import FormatReader

BARE_BLOCKS = {"```json": "```", "```": "```", "<tools>": "</tools>", "<tool_call>": "</tool_call>"}
"""A Qwen model's replacements of its markers: opening and ending."""

LINE = "\n"


class Hermes(FormatReader):
    """``<tool_call>{"name": ..., "arguments": {...}}</tool_call>``, by Hermes and Qwen2.5.

    Small models, above all Qwen2.5-Coder, also write the object bare or in a code block.
    """

    tags = ("<tool_call>", "</tool_call>")
    first_characters = "<"
    bare_keys = ARGUMENTS

    def calls(self) -> Reading[bool]:
        draft = Draft(self.syntax.at)
        if not (yield from self.syntax.tag("<tool_call>")):
            return False
        yield from self.syntax.spaces()
        if not (yield from self.syntax.call_object(draft)):
            return False
        yield from self.closing("</tool_call>")
        return True

    @staticmethod
    def form(rules: CallRules, template: str) -> CallForm:
        rest = f"{quoted(LINE)} {rules.any_object('arguments')} {quoted(LINE)} {rules.tag('</tool_call>')}"
        return CallForm("<tool_call>", rest, quoted(LINE))

    def bare_calls(self) -> Reading[list[Draft]]:
        drafts: list[Draft] = []
        while not (yield from self.at_end()):
            opened = None
            for block in BARE_BLOCKS:
                if block in self.tags and block not in self.syntax.markers:
                    continue  # The block is read as a tag.
                if (yield from self.syntax.text(block)):
                    opened = block
                    break
            found = yield from self.bare_objects(",;")
            if not found:
                return []
            drafts += found
            if (
                opened is not None
                and not (yield from self.at_end())
                and not (yield from self.syntax.text(BARE_BLOCKS[opened]))
            ):
                return []
        return drafts


class Llama(FormatReader):
    """``{"name": ..., "parameters": {...}}``, perhaps after ``<|python_tag|>``, by Llama 3."""

    tags = ("<|python_tag|>",)
    first_characters = "<"
    bare_keys = ARGUMENTS

    def calls(self) -> Reading[bool]:
        start = self.syntax.at
        if not (yield from self.syntax.tag("<|python_tag|>")):
            return False
        return (yield from self.several(start, ";,"))

    @staticmethod
    def form(rules: CallRules, template: str) -> CallForm:
        """Return the form of a single call without a tag: Llama's templates allow one call."""
        return CallForm(None, rules.any_object("parameters"))

    def bare_calls(self) -> Reading[list[Draft]]:
        found = yield from self.bare_objects(";,")
        return found if (yield from self.at_end()) else []


class Mistral(FormatReader):
    """``[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]``.

    Newer models write ``[TOOL_CALLS]name[ARGS]{...}``.
    """

    tags = ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")
    first_characters = "["

    def calls(self) -> Reading[bool]:
        syntax, draft = self.syntax, Draft(self.syntax.at)
        if not (yield from syntax.tag("[TOOL_CALLS]")):
            return False
        yield from syntax.spaces()
        if (yield from syntax.take("[")):
            found = yield from self.several(draft.start, ",")
            yield from self.closing("]")
            return found
        draft.name = (yield from syntax.until("[", "{")).strip()
        if (yield from syntax.tag("[CALL_ID]")):
            yield from syntax.until("[", "{")
        yield from syntax.tag("[ARGS]")
        yield from syntax.spaces()
        if not draft.name or (yield from syntax.peek()) != "{":
            return False
        yield from syntax.value(draft)
        return True

    @staticmethod
    def form(rules: CallRules, template: str) -> CallForm:
        tag = "[TOOL_CALLS]"
        if "[ARGS]" in template:
            id = f"{rules.tag('[CALL_ID]')} /[a-zA-Z0-9]{{9}}/ " if "[CALL_ID]" in template else ""
            calls = (
                f"{quoted(function.name)} {id}{rules.tag('[ARGS]')} {rules.json(function.arguments)}"
                for function in rules.functions
            )
            return CallForm(tag, one_of(calls), '""')
        object = rules.any_object("arguments")
        more = "" if rules.single else f' (", " {object})*'
        return CallForm(tag, f'/ ?\\[/ {object}{more} "]"')
