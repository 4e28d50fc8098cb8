"""Arguments that an edit added, removed, swapped or wrapped in a call, for further calls.

A changed list of parameters is followed by the calls of the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from pellucid.completion.edits.bindings import NO_KEYWORD
from pellucid.completion.edits.candidate import Candidate, Evidence
from pellucid.completion.edits.code_tokens import depth
from pellucid.completion.edits.code_view import CodeView
from pellucid.completion.edits.edit_history import Edit
from pellucid.completion.edits.token_changes import changed_blocks

MAX_CALL_CHARACTERS = 1_000

_CALLEE = re.compile(r"(?:(?P<owner>\w+)\s*(?:\.|->|::)\s*)?(?P<name>[^\W\d]\w*)\s*!?\(")
_NOT_CALLED = frozenset(
    [
        "if",
        "for",
        "while",
        "switch",
        "catch",
        "except",
        "import",
        "return",
        "and",
        "or",
        "not",
        "in",
        "elif",
        "match",
        "when",
        "until",
        "sizeof",
        "typeof",
    ]
)
_DEFINES = re.compile(r"\b(?:def|fn|func|function|fun|sub|class)\s+(?:\([^)]*\)\s*)?\Z")
_TYPED = re.compile(rf"(?:^|[\s>*&\]]){NO_KEYWORD}[A-Za-z_][\w<>\[\]:,?]*[\s*&]+\Z")
_RECEIVERS = frozenset(("self", "cls", "&self", "&mut self", "mut self"))
_NAMED = re.compile(r"(?P<key>\w+)\s*(?:=(?!=)|:(?!:))")
_NAMES = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Call:
    """A call or a definition in a text: the places of its brackets and of its arguments."""

    owner: str | None
    name: str
    begin: int
    end: int
    arguments: tuple[tuple[int, int], ...]
    is_definition: bool

    def texts(self, text: str) -> list[str]:
        return [text[begin:end] for begin, end in self.arguments]


@dataclass(frozen=True, slots=True)
class _Change:
    """The changed arguments of a call: ``old`` at index ``at`` became ``new``."""

    call: Call
    before: tuple[str, ...]
    after: tuple[str, ...]
    at: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def is_swap(self) -> bool:
        return len(self.old) > 1 and sorted(self.old) == sorted(self.new)


def argument_changes(edit: Edit, view: CodeView, uri: str, here: bool) -> Iterator[Candidate]:
    """Yield the calls whose arguments have to change like those of an edit."""
    for change in _changes(edit):
        if not here and not (change.call.is_definition and len(change.call.name) > 2):
            continue
        edited = range(edit.first, edit.end) if here else range(0)
        text, code = "\n".join(view.lines), "\n".join(view.code)
        found: list[tuple[int, int, list[tuple[int, int, str]]]] = []
        for call in _calls(code, change.call.name):
            first, last = text.count("\n", 0, call.begin), text.count("\n", 0, call.end)
            if first in edited or last in edited:
                continue
            made = _follow(change, call, text, view, first)
            if made:
                found.append((first, last, made))
        for (first, last), group in groupby(found, key=lambda one: one[:2]):
            lines = view.lines[first : last + 1]
            begin = sum(len(line) + 1 for line in view.lines[:first])
            changed = "\n".join(lines)
            places = sorted((place for *_, made in group for place in made), reverse=True)
            for start, end, new in places:
                changed = changed[: start - begin] + new + changed[end - begin :]
            yield Candidate(uri, first, tuple(lines), tuple(changed.split("\n")), 1.0, Evidence.ARGUMENT)


def _changes(edit: Edit) -> Iterator[_Change]:
    for _, old, new in changed_blocks(edit):
        pairs = (
            [((one,), (other,)) for one, other in zip(old, new, strict=True)] if len(old) == len(new) else [(old, new)]
        )
        for before, after in pairs:
            if before != after:
                change = _change(CodeView(before, edit.uri), CodeView(after, edit.uri))
                if change is not None:
                    yield change


def _change(old: CodeView, new: CodeView) -> _Change | None:
    """Return the change of arguments, if nothing but the arguments of a call differs."""
    before, after = "\n".join(old.lines), "\n".join(new.lines)
    most = min(len(before), len(after))
    begin = next((at for at in range(most) if before[at] != after[at]), most)
    end = next((at for at in range(most) if before[-1 - at] != after[-1 - at]), most)
    inner: tuple[Call, Call] | None = None
    others = {call.begin: call for call in _calls("\n".join(new.code))}
    for call in _calls("\n".join(old.code)):
        other = others.get(call.begin)
        if other is None or call.name != other.name or call.begin >= begin or len(before) - call.end > end:
            continue
        if len(before) - call.end == len(after) - other.end and (inner is None or call.begin > inner[0].begin):
            inner = call, other
    if inner is None:
        return None
    call, other = inner
    arguments, changed = _own(call.texts(before)), _own(other.texts(after))
    changes = [
        one for one in SequenceMatcher(None, arguments, changed, autojunk=False).get_opcodes() if one[0] != "equal"
    ]
    if not changes:
        return None
    at, stop = changes[0][1], changes[-1][2]
    start, to = changes[0][3], changes[-1][4]
    return _Change(call, tuple(arguments), tuple(changed), at, tuple(arguments[at:stop]), tuple(changed[start:to]))


def _own(arguments: Sequence[str]) -> list[str]:
    """Return the arguments without the object of a method."""
    return list(arguments[1:] if arguments and arguments[0] in _RECEIVERS else arguments)


def _calls(code: str, name: str | None = None) -> Iterator[Call]:
    """Yield the calls of a text with masked strings, the outer before the inner."""
    for match in _CALLEE.finditer(code):
        if match["name"] in _NOT_CALLED or (name is not None and match["name"] != name):
            continue
        begin = match.end() - 1
        found = _arguments(code, begin)
        if found is not None:
            end, arguments = found
            before = code[code.rfind("\n", 0, match.start()) + 1 : match.start()]
            is_definition = match["owner"] is None and bool(_DEFINES.search(before) or _TYPED.search(before))
            yield Call(match["owner"], match["name"], begin, end, arguments, is_definition)


def _arguments(code: str, begin: int) -> tuple[int, tuple[tuple[int, int], ...]] | None:
    """Return the closing bracket, and where each argument begins and ends, without the spaces."""
    arguments: list[tuple[int, int]] = []
    level, start = 0, begin + 1
    for at in range(begin, min(len(code), begin + MAX_CALL_CHARACTERS)):
        sign = code[at]
        level += (sign in "([{") - (sign in ")]}")
        if level == 0 or (level == 1 and sign == ","):
            text = code[start:at]
            if text.strip():
                arguments.append((start + len(text) - len(text.lstrip()), start + len(text.rstrip())))
            start = at + 1
        if level == 0:
            return (at, tuple(arguments)) if sign == ")" else None
    return None


def _follow(change: _Change, call: Call, text: str, view: CodeView, line: int) -> list[tuple[int, int, str]]:
    """Return the replaced places of a text for a call to follow a change."""
    texts = call.texts(text)
    skipped = len(texts) - len(_own(texts))
    places, own = call.arguments[skipped:], texts[skipped:]
    if not change.call.is_definition and (call.is_definition or call.owner != change.call.owner):
        return []
    if call.is_definition and own != list(change.before):
        return []
    if change.is_swap:
        if len(own) != len(change.before):
            return []
        order = [change.old.index(one) for one in change.new]
        moved = own[change.at : change.at + len(order)]
        return [(*places[change.at + index], moved[source]) for index, source in enumerate(order) if source != index]
    if not change.old:
        return _insert(change, call, own, places, view, line)
    if not change.new:
        return _remove(change, call, own, places)
    if len(change.old) == len(change.new) == 1 and not change.call.is_definition:
        return _wrap(change, own, places)
    return []


def _insert(
    change: _Change, call: Call, own: Sequence[str], places: Sequence[tuple[int, int]], view: CodeView, line: int
) -> list[tuple[int, int, str]]:
    keys = [match["key"] for one in change.new if (match := _NAMED.match(one)) is not None]
    is_named = len(keys) == len(change.new) and not change.call.is_definition
    if is_named:
        if any((match := _NAMED.match(one)) is not None and match["key"] in keys for one in own):
            return []
        new, at = list(change.new), len(own)
    elif len(own) != len(change.before) or set(change.new) & set(own):
        return []
    elif change.call.is_definition and not call.is_definition:
        if any("=" in one or "?" in one or "*" in one or "..." in one for one in change.new):
            return []
        names = [_parameter(one, view.language) for one in change.new]
        scope = view.enclosing(line)
        known = "\n".join(view.code[index] for index in (() if scope is None else view.block(scope)))
        if not all(re.search(rf"\b{re.escape(name)}\b", known) for name in names):
            return []
        new, at = names, change.at
    else:
        new, at = list(change.new), change.at
    inserted = ", ".join(new)
    if not places:
        return [(call.begin + 1, call.begin + 1, inserted)]
    if at < len(places):
        return [(places[at][0], places[at][0], f"{inserted}, ")]
    return [(places[-1][1], places[-1][1], f", {inserted}")]


def _parameter(text: str, language: str) -> str:
    """Return the name of a parameter."""
    names = _NAMES.findall(text.split(":")[0].split("=")[0])
    if not names:
        return text
    return str(names[0] if language == "go" or ":" in text else names[-1])


def _remove(
    change: _Change, call: Call, own: Sequence[str], places: Sequence[tuple[int, int]]
) -> list[tuple[int, int, str]]:
    gone: list[int] = []
    keys = [match["key"] if (match := _NAMED.match(one)) is not None else "" for one in own]
    for offset, old in enumerate(change.old):
        match = _NAMED.match(old)
        key = match["key"] if match is not None else _parameter(old, "go" if change.call.is_definition else "")
        if key in keys and (change.call.is_definition or match is not None):
            gone.append(keys.index(key))
        elif len(own) == len(change.before) and (change.call.is_definition or own[change.at + offset] == old):
            gone.append(change.at + offset)
        else:
            return []
    if not gone or sorted(gone) != list(range(min(gone), max(gone) + 1)):
        return []
    first, last = min(gone), max(gone)
    if last + 1 < len(places):
        return [(places[first][0], places[last + 1][0], "")]
    return [(places[first - 1][1] if first else places[first][0], places[last][1], "")]


def _wrap(change: _Change, own: Sequence[str], places: Sequence[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """Wrap an argument, if the old argument is within the new."""
    (old,), (new,) = change.old, change.new
    left, found, right = new.partition(old)
    if not found or len(own) != len(change.before) or not (left + right).strip() or depth(left) <= 0:
        return []
    text = own[change.at]
    if text.startswith(left) or _NAMED.match(text) is not None:
        return []
    return [(*places[change.at], left + text + right)]
