"""The state of a model on the machine of a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LoadState = Literal["loaded", "loading", "unloading", "unloaded"]


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A model on the server's machine.

    ``activity`` is the current step of the loading, with ``done`` of ``total`` bytes. ``expires``
    is the time of the unloading without a further request, in seconds since 1970; None: never.
    """

    name: str
    state: LoadState
    activity: str | None = None
    done: int = 0
    total: int | None = None
    expires: float | None = None

    @property
    def percent(self) -> int | None:
        """The finished share of the step, or None if the total is unknown."""
        return None if not self.total else min(100, max(0, 100 * self.done // self.total))
