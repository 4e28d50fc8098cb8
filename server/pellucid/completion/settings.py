"""Settings of completion: how sure, how long and from what context a suggestion is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class GateLevel(StrEnum):
    """How sure the model has to be for a suggestion to be shown."""

    QUIET = "quiet"
    NORMAL = "normal"
    EAGER = "eager"


class SuggestionShape(StrEnum):
    """How much is suggested at once: the rest of a line, a block, or what the place asks for."""

    AUTO = "auto"
    LINE = "line"
    BLOCK = "block"


class Popup(StrEnum):
    """Whether suggestions also come as items of the completion menu; auto: to clients without ghost text."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def setting(default: Any, description: str, *, least: int | None = None, most: int | None = None) -> Any:
    """Return a dataclass field with what is needed to document and check it."""
    return field(default=default, metadata={"description": description, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class CompletionSettings:
    """What is suggested, and when."""

    level: GateLevel = setting(GateLevel.NORMAL, "how sure the model has to be: quiet, normal or eager")
    shape: SuggestionShape = setting(SuggestionShape.AUTO, "how much is suggested: line, block, or auto, as much as fits the place")
    popup: Popup = setting(Popup.AUTO, "show suggestions in the completion menu: on, off, or auto, only without ghost text")
    max_tokens: int = setting(128, "maximum tokens of a suggestion", least=1, most=1024)
    max_lines: int = setting(12, "maximum lines of a suggestion", least=1, most=200)
    candidates: int = setting(3, "suggestions to choose from when requested by hand", least=1, most=8)
    alternatives: int = setting(5, "alternatives that are kept for each token", least=1, most=20)
    budget_ms: int = setting(1500, "milliseconds after which the complete lines are shown; 0: no limit", least=0)
    delay_ms: int = setting(0, "milliseconds without typing before the model is asked; most editors wait by themselves", least=0)
    ahead: bool = setting(True, "generate what follows a suggestion while it is shown")
    languages_off: tuple[str, ...] = setting((), "language ids in which nothing is suggested")
    log: bool = setting(
        False, "keep a log on this machine of which suggestions were accepted, shortened or dismissed: numbers and outcomes, no text"
    )


@dataclass(frozen=True, slots=True)
class ContextSettings:
    """What the model gets to read. Sizes are in tokens, estimated from characters."""

    prefix_tokens: int = setting(768, "tokens before the cursor", least=16, most=100_000)
    suffix_tokens: int = setting(256, "tokens after the cursor", least=0, most=100_000)
    files_tokens: int = setting(512, "tokens of other open and recently edited files; 0: none", least=0, most=100_000)
    exclude: tuple[str, ...] = setting((), "more files that are never sent, as in .gitignore")
