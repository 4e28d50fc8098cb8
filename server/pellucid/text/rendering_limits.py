"""Time limits and errors of the rendering of chat templates, known without jinja2."""

from __future__ import annotations

from typing import Literal

CPU_SECONDS = 2
"""Processor time, which unlike wall time does not depend on the machine's load."""

WALL_SECONDS = 10
"""Total time for a rendering, with the start of the child."""

FailureKind = Literal["syntax", "refusal", "limit"]


class RenderingError(Exception):
    """A failed rendering.

    ``kind``: the template cannot be compiled (``syntax``), refuses the input (``refusal``), or
    needs too much (``limit``). ``detail`` is the template's own error message, or for a limit the
    predicate of a sentence.
    """

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
