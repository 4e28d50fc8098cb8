"""What was suggested at a cursor, whether it was right, and what a level of the gate makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.threshold_gate import judge
from pellucid.tokens import Token


@dataclass
class Case:
    """One cursor, with the text below it or without. ``tokens`` are those of our whole suggestion, before any gate: text, logprob.

    Times are milliseconds. ``peer`` is what llama.vim shows; None where it was not asked.
    """

    file: str
    line: int
    suffix: bool
    truth: str
    tokens: list[tuple[str, float | None]] = field(default_factory=list)
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
        """Whether the first line of our suggestion is the rest of the line."""
        return is_right(self.text, self.truth)

    @cached_property
    def spoken(self) -> tuple[Token, ...]:
        """The tokens as the gate takes them."""
        return tuple(Token(0, text, text.encode(), index, logprob, None, None) for index, (text, logprob) in enumerate(self.tokens))


@dataclass
class Gated:
    """What a level does to suggestions.

    Of the wrong ones: ``hidden``, or ``cut`` to a part that is right as far as it goes; else something wrong is still shown.
    Of the right ones: ``lost``, or ``shortened`` so that the first line is not whole; else that line is still shown.
    """

    wrong: int = 0
    hidden: int = 0
    cut: int = 0
    right: int = 0
    lost: int = 0
    shortened: int = 0

    @property
    def gone(self) -> float:
        """The share of the wrong of which nothing wrong is shown."""
        return (self.hidden + self.cut) / max(self.wrong, 1)

    @property
    def precision(self) -> float:
        """The share of right first lines, or right parts of them, in what is shown."""
        shown = self.wrong - self.hidden + self.right - self.lost
        return (self.cut + self.right - self.lost) / max(shown, 1)


def is_right(text: str, truth: str) -> bool:
    return text.partition("\n")[0].rstrip() == truth.rstrip()


def gated(cases: Iterable[Case], level: GateLevel) -> Gated:
    """What a level, with the thresholds of now, makes of the suggestions; where there is none there is nothing to do."""
    found = Gated()
    for case in cases:
        if not case.tokens:
            continue
        part = case.text[: judge(case.spoken, level).length]
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
    """Write all of it, so that an interruption leaves the file as it was."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"about": about, "cases": [asdict(case) for case in cases]}, indent=1), encoding="utf-8")
    part.replace(path)


def load(path: Path) -> tuple[dict[str, Any], list[Case]]:
    found = json.loads(path.read_text(encoding="utf-8"))
    cases = [Case(**record | {"tokens": [tuple(token) for token in record["tokens"]]}) for record in found["cases"]]
    return found["about"], cases
