"""A parser for prompts with an infill in the model's own markers, as many clients write."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.models.catalog import InfillFormat
from pellucid.vocabulary.query import Extra


@dataclass(frozen=True, slots=True)
class SpelledInfill:
    """The texts of an infill. A file name without a text is an extra with an empty text."""

    prefix: str
    suffix: str
    extra: tuple[Extra, ...] = ()


def read_spelled_infill(prompt: str, format: InfillFormat | None) -> SpelledInfill | None:
    """Return the infill of a whole prompt in any order of InfillFormat, or None.

    Each marker of the gap must occur exactly once. Before the first marker only sections of files
    are allowed: a text about markers, for example the source of an editor's plugin, stays a text.
    """
    if format is None:
        return None
    places = {marker: prompt.find(marker) for marker in (format.prefix, format.suffix, format.middle)}
    if min(places.values()) < 0 or any(prompt.count(marker) != 1 for marker in places):
        return None
    before, after, middle = (places[marker] for marker in (format.prefix, format.suffix, format.middle))
    extra = _files(prompt[: min(before, after)], format)
    if extra is None or middle < max(before, after):
        return None
    answer = prompt[middle + len(format.middle) :]  # Of the prefix, in the third order; or the beginning of an answer.
    if before < after:
        prefix, suffix = prompt[before + len(format.prefix) : after], prompt[after + len(format.suffix) : middle]
    else:
        prefix, suffix = prompt[before + len(format.prefix) : middle], prompt[after + len(format.suffix) : before]
    return SpelledInfill(prefix + answer, suffix, extra)


def _files(head: str, format: InfillFormat) -> tuple[Extra, ...] | None:
    if format.repo is not None and head.startswith(format.repo):
        head = (
            head[len(format.repo) :].partition("\n")[2]
            if format.file is None
            else head[max(head.find(format.file), 0) :]
        )
    if not head.strip():
        return ()
    if format.file is None or not head.startswith(format.file):
        return None
    sections = head.split(format.file)[1:]
    return tuple(Extra(name.strip(), text) for name, _, text in (section.partition("\n") for section in sections))
