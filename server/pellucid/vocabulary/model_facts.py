"""The facts for choosing a model on a machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model of the catalog, or on this machine (``here``).

    Sizes are in bytes and times in seconds, None if unknown. ``size`` is the size of the download,
    and ``memory`` is estimated for the weights and a text of ``text_tokens`` tokens. The times of a
    ``keystroke`` and of the ``first_keystroke`` in a file hold for this machine.
    A ``tried`` model was run where Pellucid is developed.
    """

    name: str
    here: bool
    size: int
    size_is_estimated: bool
    text_tokens: int
    keystroke: float | None
    first_keystroke: float | None
    keystroke_is_estimated: bool
    licence: str
    memory: int | None = None
    commercial: bool | None = None
    context: int | None = None
    infill: bool | None = None
    next_edit: bool | None = None
    tried: bool | None = None
