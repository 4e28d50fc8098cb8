"""The protocol for loading and unloading models in a running server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from pellucid.system.progress import Work

LoadState = Literal["loaded", "loading", "unloading", "unloaded"]


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """A model on this machine.

    ``work`` is the progress of the loading. ``expires`` is the time of the unloading without a
    further request, in seconds since 1970; None: never.
    """

    name: str
    state: LoadState
    work: Work | None = None
    expires: float | None = None


class ModelLoader(Protocol):
    def knows(self, name: str) -> bool:
        """Return whether this machine has a model."""
        ...

    async def load(self, name: str) -> None:
        """Load a model; if memory is short, first unload the least recently used models.

        Raises NotFoundError for an unknown model, ModelError for an unreadable model, and
        UnavailableError if there is not enough memory.
        """
        ...

    def unload(self, name: str) -> None:
        """Unload a loaded model after the last running answer; the next request loads the model.

        Raises NotFoundError, and InvalidRequestError for a model with loaded adapters.
        """
        ...

    def keep(self, name: str, seconds: float | None) -> None:
        """Unload a model after ``seconds`` without a request.

        None: as in the settings; negative: never.
        """
        ...

    def note_release(self, name: str) -> None:
        """Note that a request of a model has ended."""
        ...

    def list(self) -> list[ModelLoad]:
        """Return the served models, then the further models on this machine."""
        ...
