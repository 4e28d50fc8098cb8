"""The interface of a tool call format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pellucid.text.tool_calls.call_rules import CallForm, CallRules
from pellucid.text.tool_calls.call_syntax import END, CallSyntax, Draft, Reading


class FormatReader(ABC):
    """A reader of calls; ``schemas`` maps function names to parameters.

    With ``single`` a reader stops right after the first call.
    """

    tags: ClassVar[tuple[str, ...]]
    """The tags of the format, markers in most tokenizers."""

    first_characters: ClassVar[str]

    bare_keys: ClassVar[tuple[str, ...]] = ()
    """Keys for the arguments of a call without tags; empty if all calls have tags."""

    def __init__(self, syntax: CallSyntax, schemas: Mapping[str, Mapping[str, Any]], *, single: bool) -> None:
        self.syntax = syntax
        self.schemas = schemas
        self.single = single

    @abstractmethod
    def calls(self) -> Reading[bool]:
        """Read calls, and return whether any was found; otherwise, the cursor is undefined."""

    def bare_calls(self) -> Reading[list[Draft]]:
        """Read an answer of only untagged calls; return [] for any different answer."""
        yield from ()
        return []

    @staticmethod
    @abstractmethod
    def form(rules: CallRules, template: str) -> CallForm:
        """Return the form of calls in the model's chat template."""

    def several(self, start: int, separators: str) -> Reading[bool]:
        syntax, count = self.syntax, 0
        while True:
            yield from syntax.spaces()
            if not (yield from syntax.call_object(Draft(start))):
                break
            count += 1
            start = syntax.at
            if self.single:
                return True
            syntax.hold = start
            yield from syntax.spaces()
            if not (yield from syntax.take(separators)):
                break
        if count:
            syntax.at, syntax.hold = start, None
        return count > 0

    def bare_objects(self, separators: str) -> Reading[list[Draft]]:
        """Read objects of offered functions, or an array of objects; otherwise return []."""
        syntax, drafts = self.syntax, []
        yield from syntax.spaces()
        in_array = yield from syntax.take("[")
        while True:
            yield from syntax.spaces()
            if (yield from syntax.peek()) != "{":
                break
            draft = Draft(syntax.at, live=False, offered=self.schemas)
            if not (yield from syntax.call_object(draft)):
                return []
            drafts.append(draft)
            yield from syntax.spaces()
            yield from syntax.take(separators)
        if in_array and not (yield from syntax.take("]")):
            return []
        return drafts

    def closing(self, tag: str) -> Reading[None]:
        """Pass over the optional closing tag and the white space before the tag."""
        if self.single:
            return
        syntax, end = self.syntax, self.syntax.at
        syntax.hold = end
        yield from syntax.spaces()
        if not (yield from syntax.tag(tag)):
            syntax.at = end
        syntax.hold = None

    def at_end(self) -> Reading[bool]:
        yield from self.syntax.spaces()
        return (yield from self.syntax.peek()) == END
