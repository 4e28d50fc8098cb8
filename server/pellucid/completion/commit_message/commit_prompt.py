"""Prompt of a commit message, for small models, and the form that a message must have.

Chosen with the default model on 15 commits of two repositories:

- Recent subjects in the prompt were copied, even with the request not to repeat a subject. The
  subjects now decide only the form: an area in front, and the case of the first letter.
- Changed lines in pairs, and other removed and added lines in blocks of their own: in a diff, the
  model mixes up the two.
- An opened ``git commit -m "`` gets a short line in the imperative; an opened sentence does not.
- The first word is a verb that fits the numbers of removed and added lines. Small models add by
  default, even where most lines are removed or replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import starmap
from pathlib import PurePosixPath

from pellucid.completion.commit_message.staged_changes import StagedChanges, StagedFile
from pellucid.completion.edits.by_instruction.edit_prompt import in_fence
from pellucid.system.common_prefix import common_prefix
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import Grammar

MAX_CHARACTERS = 72
"""Maximum length of a message."""

LONGEST = 110
"""Maximum length that is generated, to cut a long message before a clause instead of a word."""

DIFF_CHARACTERS, LOG_CHARACTERS = 2400, 600
"""Maximum length of the lines read from files, and from a change log."""

MAX_READ, MAX_NAMED = 6, 12
"""Maximum number of files that are read, and of names in the prompt."""

LONG_LINE, NEAR = 80, 30
"""Length from which a changed line is cut to the changed part, and characters kept around."""

LEAST_SHARE = 0.6
"""Share of the recent subjects from which on a form is the repository's."""

_REMOVALS = ("Drop", "Remove", "Shorten", "Simplify", "Stop")
_ADDITIONS = ("Add", "Allow", "Check", "Extend", "Handle", "Ignore", "Refuse", "Require", "Show", "Support")
_RENAMES = ("Move", "Rename")
_CONVERSIONS = ("Convert", "Move", "Replace", "Rewrite")
_CHANGES = ("Change", "Correct", "Fix", "Improve", "Make", "Rename", "Replace", "Revert", "Speed up", "Update", "Use")
_TEXTS = ("Correct", "Describe", "Document", "Explain", "Reword", "Update")
_TESTS = ("Change", "Correct", "Fix", "Test", "Update")

_AREA = re.compile(r"[A-Za-z][\w ./-]{0,19}(?:\([^)]{1,20}\))?!?: ")
_KIND = re.compile(r"[a-z]+(?:\([^)]{1,20}\))?!?: ")
_AREA_FORM, _KIND_FORM = "[A-Z][A-Za-z-]{1,15}", "(feat|fix|docs|test|refactor|perf|build|ci|chore|style)"
_TEXT = r'[^"`\n\\$]'
_BODY = f' {_TEXT}{{3,{LONGEST}}}"'

_LOG = re.compile(r"(?:.*/)?(?:change(?:s|log)|history|news)[^/]*", re.IGNORECASE)
_LATER = re.compile(
    r"(?:.*/)?(?:tests?|spec|__tests__)/.*|(?:.*/)?test_[^/]*|.*[_.](?:test|spec)\.[^/]*|.*(?:\.lock|lock\.json)"
)
"""Files that say little about a commit with other files: tests, and versions of dependencies."""

_TELLING = re.compile(r"(?:async )?(?:def|class|function|func|fn|interface|struct|enum|export|pub)\b|[#/\"'*]|--")
"""The beginning of a definition, comment or docstring, read before other lines of a long change."""

_TEST_NAME = re.compile(r"\+\s*(?:async )?(?:def|fn|func) (test\w+)|\+\s*(?:it|test)\([\"'`](.+?)[\"'`]", re.IGNORECASE)

_TEXT_FILE = re.compile(r".*\.(?:md|rst|txt|adoc)|(?:.*/)?(?:README|CHANGES|LICENSE)")

_NOISE = re.compile(r"\s*(?:(?:import|from|#include|using|use|package)\b.*|\W*)")
"""Lines that say little: imports, and lines without a letter or digit."""

_ENDS = re.compile(r"[,.;:(] |(?<!\d) (?:and|to|for|by|with|which|that|when|from|in|of|on|as|so|if|using|into)\b")
"""Places where a long message can end."""

_REQUEST = "Write the command that commits this change, with a message of one short line that says what changed."
_OPENING = '```sh\ngit commit -m "'

_EXAMPLE = (
    "Files:\nsrc/cart.py\n\nChanged in src/cart.py:\n```\n- return sum(item.price for item in items)\n"
    "+ return sum(item.price * item.count for item in items)\n```"
)
_EXAMPLE_MESSAGE = "Count each item in the total of a cart"


class CommitPrompt:
    """The prompt for staged changes. ``notes`` says what the model does not read, in sentences."""

    max_tokens = 48

    def __init__(self, changes: StagedChanges) -> None:
        self._files = changes.files
        subjects = changes.subjects
        self._kinds = _share(subjects, lambda one: _KIND.match(one) is not None) >= LEAST_SHARE
        self._areas = not self._kinds and _share(subjects, lambda one: _AREA.match(one) is not None) >= LEAST_SHARE
        self._lower = self._kinds or _share(subjects, lambda one: one[:1].islower()) >= LEAST_SHARE
        self._free = _share(subjects, lambda one: not one.isascii()) >= LEAST_SHARE
        log = [file for file in self._files if _LOG.fullmatch(file.path)]
        others = [file for file in self._files if file not in log]
        telling = [file for file in others if not _LATER.fullmatch(file.path)] or others or log
        read = sorted((file for file in telling if file.diff), key=lambda file: len(file.diff))[-MAX_READ:]
        self._read, cut = _shown(read)
        self._log = "\n".join(line for file in log for line in _changed(file, "+") if not _NOISE.fullmatch(line))[
            :LOG_CHARACTERS
        ]
        self._tests = "\n".join(_test_names(others))[:LOG_CHARACTERS] if telling is not log else ""
        self.notes = (*changes.notes, *self._unread(read, cut, log))

    def _unread(self, read: Sequence[StagedFile], cut: Sequence[StagedFile], log: Sequence[StagedFile]) -> list[str]:
        notes = []
        unread = [file for file in self._files if file not in read and file not in log]
        if unread:
            count = f"{len(read)} of {len(self._files)} staged files"
            notes.append(f"The model read the changes of {count}, and only the names of the rest.")
        if cut:
            names = ", ".join(file.path for file in cut)
            notes.append(f"The changes are long, so the model read only their beginning in {names}.")
        return notes

    @cached_property
    def _question(self) -> str:
        names = "\n".join(file.title for file in self._files[:MAX_NAMED])
        more = len(self._files) - MAX_NAMED
        parts = [f"Files:\n{names}" + (f"\nand {more} more" if more > 0 else ""), self._read]
        if self._tests:
            parts.append(f"New tests:\n{in_fence(self._tests, '')}")
        if self._log:
            parts.append(f"Added to the change log:\n{in_fence(self._log, '')}")
        return "\n\n".join([*filter(None, parts), _REQUEST])

    def messages(self, begun: str) -> list[Message]:
        """Return the conversation up to a message that begins with a text."""
        example = _EXAMPLE_MESSAGE
        if self._lower:
            example = example[0].lower() + example[1:]
        area = "fix: " if self._kinds else "Cart: " if self._areas else ""
        return [
            Message("user", f"{_EXAMPLE}\n\n{_REQUEST}"),
            Message("assistant", f'{_OPENING}{area}{example}"\n```'),
            Message("user", self._question),
            Message("assistant", _OPENING + begun),
        ]

    def rest_of(self, begun: str) -> Grammar:
        """Return the form of a message after its beginning, with the closing quotation mark."""
        _, colon, text = begun.rpartition(": ") if self._areas or self._kinds else ("", "", begun)
        form = (_KIND_FORM if self._kinds else _AREA_FORM) + ": " if (self._areas or self._kinds) and not colon else ""
        if form and text:  # Within the area
            form, text = "[A-Za-z-]{0,12}: ", ""
        if self._conversion and not begun:
            return Grammar("regex", f'{form}{self._conversion}"')
        if self._free:
            return Grammar("regex", f'{_TEXT}{{3,{LONGEST}}}"')
        started = [verb[len(text) :] for verb in self._verbs if verb.startswith(text)]
        if started:
            return Grammar("regex", f"{form}({'|'.join(started)}){_BODY}")
        return Grammar("regex", f'{_TEXT}{{0,{LONGEST}}}"')

    def allows(self, begun: str) -> bool:
        """Return whether a message may begin with a text."""
        if '"' in begun or len(begun) > MAX_CHARACTERS // 2:
            return False
        text = begun.rpartition(": ")[2] if self._areas or self._kinds else begun
        is_area = (self._areas or self._kinds) and ": " not in begun
        verbs = self._verbs
        return self._free or is_area or any(one.startswith(text) or text.startswith(f"{one} ") for one in verbs)

    @cached_property
    def _conversion(self) -> str:
        """The form of a message for a file replaced by a different file, else ""."""
        names = {file.kind: re.escape(PurePosixPath(file.path).name) for file in self._files}
        if len(self._files) != 2 or names.keys() != {"new", "deleted"}:
            return ""
        forms = f"Convert {names['deleted']} to {names['new']}|Replace {names['deleted']} by {names['new']}"
        return f"({forms.replace('Convert', 'convert').replace('Replace', 'replace') if self._lower else forms})"

    @cached_property
    def _verbs(self) -> tuple[str, ...]:
        """Verbs that the files and the numbers of removed and added lines allow."""
        files, kinds = self._files, {file.kind for file in self._files}
        removed, added = (sum(len(_changed(file, sign)) for file in files) for sign in "-+")
        if all(file.old_path and not file.diff for file in files):
            verbs: tuple[str, ...] = _RENAMES
        elif kinds == {"new", "deleted"}:
            verbs = _CONVERSIONS
        else:
            only_new, only_deleted = kinds == {"new"}, kinds == {"deleted"}
            verbs = () if only_new or only_deleted or 0 in (removed, added) else _CHANGES
            if only_new or (not only_deleted and added >= 2 * removed):
                verbs += _ADDITIONS
            if only_deleted or (not only_new and removed >= 2 * added):
                verbs += _REMOVALS
            for pattern, special in ((_TEXT_FILE, _TEXTS), (_LATER, _TESTS)):
                if all(pattern.fullmatch(file.path) for file in files):
                    verbs = special + (verbs if not set(verbs) & set(_CHANGES) else ())
        return tuple(verb[0].lower() + verb[1:] for verb in verbs) if self._lower else verbs


def shortened(text: str) -> str:
    """Return a message of at most MAX_CHARACTERS, cut before a further clause if necessary."""
    text = text.rstrip(" .").removesuffix(" (renamed)")
    if len(text) <= MAX_CHARACTERS:
        return text
    ends = [match.start() for match in _ENDS.finditer(text) if match.start() <= MAX_CHARACTERS]
    return text[: ends[-1] if ends else text.rfind(" ", 0, MAX_CHARACTERS + 1)].rstrip(" .,;:(")


def _share(subjects: Sequence[str], holds: Callable[[str], bool]) -> float:
    return sum(map(holds, subjects)) / len(subjects) if subjects else 0.0


def _changed(file: StagedFile, sign: str) -> list[str]:
    """Return the removed ("-") or added ("+") lines, without their margin."""
    return [line[1:].strip() for line in file.diff.split("\n") if line.startswith(sign)]


def _blocks(file: StagedFile) -> dict[str, str]:
    """Return what the diff changes, removes and adds, by title: lines that say something."""
    blocks: dict[str, list[str]] = {"Changed in": [], "Removed from": [], "Added to": []}
    for part in re.findall(r"(?:^[-+].*\n?)+", file.diff, re.MULTILINE):
        old, new = ([line[1:].strip() for line in part.split("\n") if line[:1] == sign] for sign in "-+")
        if len(old) == len(new):
            pairs = [pair for pair in zip(old, new, strict=True) if not all(map(_NOISE.fullmatch, pair))]
            pairs = [(one, other) for one, other in pairs if one != other]
            blocks["Changed in"] += [f"- {one}\n+ {other}" for one, other in starmap(_differing, pairs)]
        else:
            blocks["Removed from"] += [line for line in old if not _NOISE.fullmatch(line)]
            blocks["Added to"] += [line for line in new if not _NOISE.fullmatch(line)]
    if file.diff and not any(blocks.values()):
        old, new = (_changed(file, sign) for sign in "-+")
        same = "".join(old) == "".join(new)
        blocks["Changed in"] = (
            ["only white space"] if same else [f"- {line}" for line in old] + [f"+ {line}" for line in new]
        )
    return {f"{title} {file.path}:": "\n".join(lines) for title, lines in blocks.items() if lines}


def _telling_first(text: str, limit: int) -> str:
    """Return at most ``limit`` characters: definitions and comments, then further lines."""
    if len(text) <= limit:
        return text
    lines = text.split("\n")
    order = sorted(range(len(lines)), key=lambda at: _TELLING.match(lines[at].lstrip("+- ")) is None)
    kept: list[int] = []
    room = limit
    for at in order:
        room -= len(lines[at]) + 1
        if room < 0:
            break
        kept.append(at)
    return "\n".join(lines[at] for at in sorted(kept)) or text[:limit]


def _test_names(files: Sequence[StagedFile]) -> list[str]:
    """Return the names of new tests as words: the tests say what a change is for."""
    found = [match for file in files for match in _TEST_NAME.findall(file.diff)]
    return [(one or other).removeprefix("test_").replace("_", " ") for one, other in found]


def _differing(old: str, new: str) -> tuple[str, str]:
    """Return the parts of two long lines, from the word before the first difference on.

    Whole paragraphs would seem new to the model.
    """
    if min(len(old), len(new)) <= LONG_LINE:
        return old, new
    first = old.rfind(" ", 0, max(common_prefix(old, new) - NEAR, 0)) + 1
    last = common_prefix(old[first:][::-1], new[first:][::-1])
    old_end, new_end = (line.find(" ", max(len(line) - last + NEAR, first)) for line in (old, new))
    return old[first : None if old_end < 0 else old_end], new[first : None if new_end < 0 else new_end]


def _shown(files: Sequence[StagedFile]) -> tuple[str, list[StagedFile]]:
    """Return the changed lines of files, the longest file last, and the files that were cut."""
    shown: list[str] = []
    cut: list[StagedFile] = []
    room = DIFF_CHARACTERS
    for number, file in enumerate(files):
        share, blocks = room // (len(files) - number), _blocks(file)
        length = sum(map(len, blocks.values()))
        if length > share:
            cut.append(file)
        for title, text in blocks.items():
            part = _telling_first(text, max(share // len(blocks), share - length + len(text)))
            shown.append(f"{title}\n{in_fence(part, '')}")
            room -= len(part)
    return "\n".join(shown), cut
