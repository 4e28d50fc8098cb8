"""The protocol of what loads and unloads adapters while a server serves."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pellucid.errors import AdapterError
from pellucid.models.adapter_folder import AdapterCard, read_card
from pellucid.models.store import Store
from pellucid.models.untrusted_files import printable


@dataclass(frozen=True, slots=True)
class AdapterStatus:
    """An adapter that is loaded, as the model ``id`` on the model ``base``, or that is in the store.

    An adapter that cannot be loaded has no ``card``, nor has one that only engines elsewhere know.
    ``problem`` is the reason why it cannot be loaded, or why some engines do not serve it.
    """

    name: str
    card: AdapterCard | None
    id: str | None = None
    base: str | None = None
    problem: str | None = None


def stored_status(folder: Path) -> AdapterStatus:
    """Return the status of a folder of the store; one that cannot be read is listed with its problem."""
    name = printable(folder.name)
    try:
        return AdapterStatus(name, read_card(folder))
    except AdapterError as error:
        return AdapterStatus(name, None, problem=printable(str(error)))


class Adapters(Protocol):
    """Loads adapters from the folder of a store, by name."""

    @property
    def store(self) -> Store:
        """The store that has the folder of adapters."""
        ...

    async def load(self, folder: str, *, name: str | None = None, model: str | None = None) -> AdapterStatus:
        """Serve the adapter in a folder of the store with a model, by default the one that it was made for; ``name`` renames it.

        A loaded adapter of that name is replaced. Raises NotFoundError for an unknown adapter or
        model, AdapterError for an adapter that does not fit, NotSupportedError, and
        UnavailableError if there is no memory for it.
        """
        ...

    async def unload(self, id: str) -> tuple[AdapterStatus, Future[None]]:
        """Take no new requests for an adapter, given as ``model:adapter`` or by its own name.

        The future is done when its last answer has ended. Raises NotFoundError for an adapter that
        is not loaded.
        """
        ...

    def list(self) -> list[AdapterStatus]:
        """Return the loaded adapters, then the others in the store."""
        ...
