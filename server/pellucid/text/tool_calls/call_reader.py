"""A reader that finds the tool calls of an answer during generation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid.text.tool_calls.call_syntax import END, CallSyntax, Reading
from pellucid.text.tool_calls.format_reader import FormatReader
from pellucid.text.tool_calls.json_formats import Hermes, Llama, Mistral
from pellucid.text.tool_calls.qwen3_coder import Qwen3Coder
from pellucid.text.tool_calls.template_input import template_tools
from pellucid.text.tool_calls.token_units import CONTENT, DROPPED, TokenUnits
from pellucid.vocabulary.token import Token

Format = type[FormatReader]


def call_format(source: str, model: str) -> Format:
    """Return the call format of a chat template; an unknown format is an InvalidRequestError."""
    if "[TOOL_CALLS]" in source:
        return Mistral
    if "<tool_call>" in source:
        return Qwen3Coder if "<function=" in source else Hermes
    if "<|python_tag|>" in source or ("<|start_header_id|>" in source and '"parameters"' in source):
        return Llama
    known = "those of Hermes and Qwen, Llama 3, Mistral and Qwen3-Coder"
    sentence = (
        f"The tool calls of {model} have a format that cannot be read ({known} can): omit tools, or use another model."
    )
    raise InvalidRequestError(sentence, param="tools")


def call_ids(prompt: Sequence[int]) -> Callable[[int], str]:
    """Return a function that maps a call's index to an id.

    An id is unique in the conversation and has nine letters or digits, as Mistral's templates
    demand. The same prompt gives the same ids.
    """
    digest = sha256(",".join(map(str, prompt)).encode()).hexdigest()
    return lambda index: sha256(f"{digest} {index}".encode()).hexdigest()[:9]


class CallReader:
    """A filter that takes the tokens of an answer and returns them, some later, with tool calls.

    The tokens of a call have a ``part`` and no text. White space around calls is dropped. Tokens
    are held back while they may begin a call. With ``bare`` an answer of only untagged calls counts
    as calls. With ``single`` the answer ends after the first call, and ``closed`` is then set.
    ``special`` holds the tokenizer's markers; a tag in ``special`` counts only as a marker.
    """

    def __init__(
        self,
        format: Format,
        special: Mapping[str, int],
        tools: Sequence[Mapping[str, Any]],
        call_id: Callable[[int], str],
        *,
        bare: bool = True,
        single: bool = False,
    ) -> None:
        self.closed = False
        tags = {special[tag]: tag for tag in format.tags if tag in special}
        self._units = TokenUnits(tags)
        self._syntax = CallSyntax(self._units, frozenset(tags.values()), call_id)
        functions = [tool["function"] for tool in template_tools(tools)]
        schemas = {function["name"]: function.get("parameters", {}) for function in functions}
        self._format = format(self._syntax, schemas, single=single)
        self._bare = bare
        self._reading = self._read()
        next(self._reading)

    def feed(self, tokens: Iterable[Token]) -> list[Token]:
        if not self.closed:
            self._units.add(tokens)
            self._resume()
        return self._units.release(self._syntax.decided)

    def finish(self) -> list[Token]:
        if not self.closed:
            self._syntax.ended = True
            self._resume()
        return self._units.release(len(self._units.units))

    def _resume(self) -> None:
        try:
            next(self._reading)
        except StopIteration:
            self.closed = True
            self._syntax.hold = None
            self._syntax.at = len(self._units.units)

    def _read(self) -> Reading[None]:
        syntax = self._syntax
        if self._bare and (yield from self._bare_answer()):
            return
        while True:
            syntax.hold = begin = syntax.at
            yield from syntax.spaces()
            unit = yield from syntax.peek()
            if unit is END:
                self._units.own(begin, DROPPED if syntax.begun else CONTENT)
                return
            if (unit[0] in self._format.first_characters) and (yield from self._calls(begin)):
                if self._format.single:
                    self._units.own(syntax.at, DROPPED)
                    return
                continue
            yield from syntax.spaces()
            yield from syntax.peek()
            syntax.at += 1

    def _calls(self, begin: int) -> Reading[bool]:
        self._units.own(begin, DROPPED)
        if (yield from self._format.calls()):
            self._syntax.hold = None
            self._syntax.end()
            return True
        self._units.own(begin, CONTENT)
        self._syntax.at = begin
        return False

    def _bare_answer(self) -> Reading[bool]:
        """Read an answer of only untagged calls; otherwise reset the cursor to 0."""
        syntax = self._syntax
        syntax.hold = 0
        drafts = yield from self._format.bare_calls()
        if not drafts:
            syntax.at = 0
            return False
        drafts[0].start = 0  # The text around the object belongs to the call.
        for draft in drafts[:1] if self._format.single else drafts:
            syntax.begin(draft)
        return True
