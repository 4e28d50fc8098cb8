"""Settings of completion: confidence, length and context of suggestions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class GateLevel(StrEnum):
    """The confidence required to show a suggestion."""

    QUIET = "quiet"
    NORMAL = "normal"
    EAGER = "eager"


class SuggestionShape(StrEnum):
    """The size of a suggestion: the rest of a line, a block, or a choice by the cursor."""

    AUTO = "auto"
    LINE = "line"
    BLOCK = "block"


class Popup(StrEnum):
    """The use of the completion menu for suggestions; auto: only for clients without ghost text."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def setting(default: Any, description: str, *, least: int | None = None, most: int | None = None) -> Any:
    """Return a dataclass field with its description and bounds."""
    return field(default=default, metadata={"description": description, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """Settings of suggestions."""

    level: GateLevel = setting(
        GateLevel.NORMAL,
        "how much is risked: quiet (fewest suggestions, 1 in 6 wrong), normal (1 in 4) or eager (most, 2 in 5)",
    )
    doubtful_rest: bool = setting(
        True,
        "show the doubtful rest of a suggestion, fainter if the editor can, after the sure beginning; "
        "accepting takes the beginning first",
    )
    shape: SuggestionShape = setting(
        SuggestionShape.AUTO, "how much to suggest: line, block or auto (depending on the place)"
    )
    popup: Popup = setting(
        Popup.AUTO, "show suggestions in the completion menu: on, off or auto (only without ghost text)"
    )
    max_tokens: int = setting(128, "maximum tokens of a suggestion", least=1, most=1024)
    max_lines: int = setting(12, "maximum lines of a suggestion", least=1, most=200)
    candidates: int = setting(3, "number of suggestions to choose from when requested manually", least=1, most=8)
    alternatives: int = setting(5, "alternatives kept per token", least=1, most=20)
    budget_ms: int = setting(
        1500, "milliseconds after which the lines completed so far are shown; 0: no limit", least=0
    )
    delay_ms: int = setting(
        0,
        "milliseconds without typing before a suggestion is requested; most editors have a delay of their own",
        least=0,
    )
    ahead: bool = setting(True, "generate the continuation while a suggestion is shown")
    languages_off: tuple[str, ...] = setting((), "language ids without suggestions, next edits and marks")
    log: bool = setting(
        False, "log accepted, shortened and dismissed suggestions on this machine: numbers and outcomes, no text"
    )


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """Settings of the prompt. Sizes are in tokens, estimated from characters."""

    prefix_tokens: int = setting(768, "tokens before the cursor", least=16, most=100_000)
    suffix_tokens: int = setting(256, "tokens after the cursor", least=0, most=100_000)
    files_tokens: int = setting(
        512,
        "tokens of other files: recently edited, related to the text around the cursor, or open; 0: none",
        least=0,
        most=100_000,
    )
    definitions_tokens: int = setting(
        512,
        "tokens of definitions of the names near the cursor, which the editor's other language servers find; 0: none",
        least=0,
        most=100_000,
    )
    exclude: tuple[str, ...] = setting((), "patterns of additional files that are never sent, as in .gitignore")
