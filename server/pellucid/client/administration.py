"""Administration of a running server: adapters and remote engines."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pellucid.client.connection import Connection


class Administration:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def adapters(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/adapters."""
        return list((await self._connection.reply("GET", "/v1/adapters"))["data"])

    async def load_adapter(self, name: str, model: str | None = None) -> dict[str, Any]:
        return await self._connection.reply("POST", "/v1/adapters", {"name": name, "model": model})

    async def unload_adapter(self, id: str) -> dict[str, Any]:
        """Unload an adapter by id (``model:name``) or name. Return the former entry."""
        return await self._connection.reply("DELETE", f"/v1/adapters/{quote(id)}")

    async def engines(self) -> list[dict[str, Any]]:
        """Return the entries of /v1/engines."""
        return list((await self._connection.reply("GET", "/v1/engines"))["data"])
