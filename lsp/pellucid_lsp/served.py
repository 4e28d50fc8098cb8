"""Which model of the server's is completed with, and what it can read."""

from __future__ import annotations

from pellucid.errors import NotFoundError
from pellucid.speaker import Speaker
from pellucid.tokens import ModelCard


class Served:
    """What the server at the other end of a client serves; asked once for each client."""

    def __init__(self) -> None:
        self._client: Speaker | None = None
        self._models: list[ModelCard] = []

    async def find(self, client: Speaker, name: str) -> ModelCard:
        """The model of this name, or the server's first for an empty one; raises NotFoundError with the names that there are."""
        if client is not self._client:
            self._models = await client.cards()
            self._client = client
        for model in self._models:
            if name in ("", model.name):
                return model
        names = ", ".join(model.name for model in self._models)
        raise NotFoundError(f"The server does not serve {name!r}: set pellucid.model to one of {names}.")
