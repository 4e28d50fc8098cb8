"""Stores suggestions at cursors, their correctness, and the effect of a gate level."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.threshold_gate import judge
from pellucid.vocabulary.token import Token


@dataclass
class Case:
    """A cursor, with or without the text below.

    ``tokens`` are Pellucid's whole suggestion before any gate, as text and constrained logprob. The
    suggestion can be shortened to ``part_ends``.

    Times are in milliseconds. ``peer`` is the text shown by llama.vim, or None without a request.
    """

    file: str
    line: int
    suffix: bool
    truth: str
    tokens: list[tuple[str, float | None]] = field(default_factory=list)
    part_ends: list[int] = field(default_factory=list)
    ending: str | None = None
    answer: str | None = None
    took: float = 0.0
    peer: str | None = None
    peer_answer: str | None = None
    peer_took: float = 0.0

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.tokens)

    @property
    def right(self) -> bool:
        """True if the first line of Pellucid's suggestion is the rest of the line."""
        return is_right(self.text, self.truth)

    @cached_property
    def spoken(self) -> tuple[Token, ...]:
        """The tokens in the gate's form."""
        return tuple(
            Token(0, text, text.encode(), index, logprob, None, None)
            for index, (text, logprob) in enumerate(self.tokens)
        )


@dataclass
class Gated:
    """The effect of a level on suggestions.

    From the wrong suggestions, ``hidden`` are not shown, and ``cut`` are shortened to a right part;
    the rest still shows wrong text. From the right suggestions, ``lost`` are not shown, and
    ``shortened`` do not show the whole first line.
    """

    wrong: int = 0
    hidden: int = 0
    cut: int = 0
    right: int = 0
    lost: int = 0
    shortened: int = 0

    @property
    def gone(self) -> float:
        """Share of the wrong suggestions without shown wrong text."""
        return (self.hidden + self.cut) / max(self.wrong, 1)

    @property
    def precision(self) -> float:
        """Share of right first lines, or right parts of first lines, in the shown suggestions."""
        shown = self.wrong - self.hidden + self.right - self.lost
        return (self.cut + self.right - self.lost) / max(shown, 1)


def is_right(text: str, truth: str) -> bool:
    return text.partition("\n")[0].rstrip() == truth.rstrip()


def gated(cases: Iterable[Case], level: GateLevel) -> Gated:
    """Return the effect of a level with the current thresholds; empty suggestions do not count."""
    found = Gated()
    for case in cases:
        if not case.tokens:
            continue
        part = case.text[: judge(case.spoken, level, case.part_ends).length]
        if case.right:
            found.right += 1
            found.lost += not part
            found.shortened += bool(part) and not is_right(part, case.truth)
        else:
            found.wrong += 1
            found.hidden += not part
            found.cut += bool(part) and case.truth.startswith(part.rstrip())
    return found


def save(path: Path, about: dict[str, Any], cases: Sequence[Case]) -> None:
    """Write all cases atomically, so that an interruption damages no file."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"about": about, "cases": [asdict(case) for case in cases]}, indent=1), encoding="utf-8")
    part.replace(path)


def load(path: Path) -> tuple[dict[str, Any], list[Case]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    cases = [Case(**record | {"tokens": [tuple(token) for token in record["tokens"]]}) for record in found["cases"]]
    return found["about"], cases
