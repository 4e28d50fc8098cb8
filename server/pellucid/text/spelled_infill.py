"""Takes a prompt that spells an infill with the model's own markers apart, as many clients write it, into the texts of the infill."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.models.catalog import InfillFormat
from pellucid.tokens import Extra


@dataclass(frozen=True, slots=True)
class SpelledInfill:
    """The texts of an infill.

    A file that a client names without a text, as the one with the gap, is an extra with an empty
    text.
    """

    prefix: str
    suffix: str
    extra: tuple[Extra, ...] = ()


def read_spelled_infill(prompt: str, format: InfillFormat) -> SpelledInfill | None:
    """Return the infill that a whole prompt spells, in any of the three orders of InfillFormat; None if it is another text.

    Each marker of the gap must be there exactly once. Before the first one only sections of files
    are allowed, so that a text that mentions markers, as the source of an editor's plugin does,
    stays a text.
    """
    places = {marker: prompt.find(marker) for marker in (format.prefix, format.suffix, format.middle)}
    if min(places.values()) < 0 or any(prompt.count(marker) != 1 for marker in places):
        return None
    before, after, middle = (places[marker] for marker in (format.prefix, format.suffix, format.middle))
    extra = _files(prompt[: min(before, after)], format)
    if extra is None or middle < max(before, after):
        return None
    answer = prompt[middle + len(format.middle) :]  # of the prefix, in the third order; or an answer's beginning
    if before < after:
        prefix, suffix = prompt[before + len(format.prefix) : after], prompt[after + len(format.suffix) : middle]
    else:
        prefix, suffix = prompt[before + len(format.prefix) : middle], prompt[after + len(format.suffix) : before]
    return SpelledInfill(prefix + answer, suffix, extra)


def _files(head: str, format: InfillFormat) -> tuple[Extra, ...] | None:
    """Return the files before an infill: a marker, a name, a line break and a text each; None if there is anything else."""
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
