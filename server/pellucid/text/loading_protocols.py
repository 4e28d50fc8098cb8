"""The protocols for loading and unloading models and adapters in a running server."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pellucid.errors import AdapterError
from pellucid.models.adapter_folder import AdapterCard, read_card
from pellucid.models.store import Store
from pellucid.models.untrusted_files import printable
from pellucid.system.progress import Work


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """An adapter in the store, or loaded as the model ``id`` on the model ``base``.

    ``card`` is None for an unreadable adapter, or for an adapter that only remote engines know.
    ``problem`` is the reason for an unreadable adapter, or for engines without the adapter.
    """

    name: str
    card: AdapterCard | None
    id: str | None = None
    base: str | None = None
    problem: str | None = None


def stored_status(folder: Path) -> AdapterStatus:
    name = printable(folder.name)
    try:
        return AdapterStatus(name, read_card(folder))
    except AdapterError as error:
        return AdapterStatus(name, None, problem=printable(str(error)))


class Adapters(Protocol):
    @property
    def store(self) -> Store: ...

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        """Serve an adapter of the store's folder, replacing a loaded adapter with the same name.

        The default ``model`` is the adapter's own base model.
        """
        ...

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        """Accept no new requests for an adapter, given as ``model:adapter`` or by its own name.

        The future is done after the adapter's last answer.
        """
        ...

    def list(self) -> list[AdapterStatus]:
        """Return the loaded adapters, then the further adapters in the store."""
        ...


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
