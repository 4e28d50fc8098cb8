"""The facts about a served model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ADAPTER_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?"
"""Permitted adapter names. File names contain these, and some systems forbid long names and a final
dot.
"""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The properties of a served model.

    Attributes:
        context: The engine's limit in tokens.
        files: Whether an infill may include pieces of other files.
        base: The model that shares its weights with an ``adapter``.
        revision: Distinguishes weights with the same name.
        calibration: The result of ``pellucid calibrate``, or the built-in calibration of
            suggestions.
        calibration_note: The reason why no result of ``pellucid calibrate`` is used.
        edit_calibration: For next edits; defaults to the default model's calibration.
        next_edit: The form in which the model was trained to propose next edits.
        experts: Whether the experts of tokens are reported on request.
        reasoning: Whether the model can reason before it answers.
        images: Whether messages may have images.
    """

    name: str
    context: int
    infill: bool = True
    chat: bool = True
    weight_bytes: int = 0
    description: str = ""
    licence: str | None = None
    chat_template: str | None = None
    files: bool = False
    base: str | None = None
    adapter: str | None = None
    revision: str | None = None
    calibration: Mapping[str, Any] | None = None
    calibration_note: str | None = None
    edit_calibration: Mapping[str, Any] | None = None
    edit_calibration_note: str | None = None
    next_edit: str | None = None
    experts: bool = False
    reasoning: bool = False
    images: bool = False
