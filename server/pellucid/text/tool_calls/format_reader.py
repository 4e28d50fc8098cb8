"""Defines what one format of tool calls offers: how calls are read, and the form that a grammar gives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pellucid.text.tool_calls.call_rules import CallForm, CallRules
from pellucid.text.tool_calls.call_syntax import END, CallSyntax, Draft, Reading


class FormatReader(ABC):
    """Reads the calls of one format.

    ``schemas`` are the parameters of the offered functions by name.

    With ``single`` a reader stops right after the first call.
    """

    tags: ClassVar[tuple[str, ...]]
    """The tags of the format, which are markers in most tokenizers."""

    first_characters: ClassVar[str]
    """The first characters of tags, with which a call may begin."""

    bare_keys: ClassVar[tuple[str, ...]] = ()
    """The keys that the arguments of a call without tags may have; none if the format has no such
    calls.
    """

    def __init__(self, syntax: CallSyntax, schemas: Mapping[str, Mapping[str, Any]], *, single: bool) -> None:
        self.syntax = syntax
        self.schemas = schemas
        self.single = single

    @abstractmethod
    def calls(self) -> Reading[bool]:
        """Read one call or several at the cursor, and return whether there is one; if not, the cursor may be anywhere."""

    def bare_calls(self) -> Reading[list[Draft]]:
        """Read an answer that consists of calls without tags; return no calls for any other answer."""
        yield from ()
        return []

    @staticmethod
    @abstractmethod
    def form(rules: CallRules, template: str) -> CallForm:
        """Return the form of calls as the model's chat template writes them."""

    def several(self, start: int, separators: str) -> Reading[bool]:
        """Read objects with these characters between them, and return whether there is one."""
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
        """Read objects of offered functions, or an array of them; return no calls if there is anything else."""
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
        """Pass over a closing tag, which may be missing, and the white space before it."""
        if self.single:
            return
        syntax, end = self.syntax, self.syntax.at
        syntax.hold = end
        yield from syntax.spaces()
        if not (yield from syntax.tag(tag)):
            syntax.at = end
        syntax.hold = None

    def at_end(self) -> Reading[bool]:
        """Pass over white space, and return whether the answer ends there."""
        yield from self.syntax.spaces()
        return (yield from self.syntax.peek()) == END
