"""The protocols for loading and unloading models and adapters in a running server."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pellucid.client.assistant_protocol import ModelLoad, ModelLoads
from pellucid.errors import AdapterError
from pellucid.models.adapter_folder import AdapterCard, read_card
from pellucid.models.store import Store
from pellucid.models.untrusted_files import printable


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


class ModelLoader(ModelLoads, Protocol):
    closing: asyncio.Event
    """Ends the wait for models that are being loaded."""

    @property
    def store(self) -> Store: ...

    def knows(self, name: str) -> bool:
        """Return whether this machine has a model."""
        ...

    def loading(self) -> ModelLoad | None:
        """Return a model in state loading, if any."""
        ...

    def keep(self, name: str, seconds: float | None) -> None:
        """Unload a model after ``seconds`` without a request.

        None: as in the settings; negative: never.
        """
        ...

    def note_release(self, name: str) -> None:
        """Note that a request of a model has ended."""
        ...
