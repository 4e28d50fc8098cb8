"""Which model of the server's is completed with, and what it can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pellucid.errors import NotFoundError

if TYPE_CHECKING:
    from pellucid.client import Client


@dataclass(frozen=True, slots=True)
class Model:
    """A served model. ``files``: it knows pieces of other files in an infill."""

    name: str
    files: bool


class Served:
    """What the server at the other end of a client serves; asked once for each client."""

    def __init__(self) -> None:
        self._client: Client | None = None
        self._models: list[Model] = []

    async def find(self, client: Client, name: str) -> Model:
        """The model of this name, or the server's first for an empty one; raises NotFoundError with the names that there are."""
        if client is not self._client:
            self._models = [Model(one["id"], bool(one.get("meta", {}).get("files"))) for one in await client.models()]
            self._client = client
        for model in self._models:
            if name in ("", model.name):
                return model
        names = ", ".join(model.name for model in self._models)
        raise NotFoundError(f"The server at {client.url} does not serve {name!r}: set pellucid.model to one of {names}.")
