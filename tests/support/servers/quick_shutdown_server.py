"""An HTTP server of uvicorn with a quick end."""

from __future__ import annotations

import asyncio
import socket

import uvicorn


class QuickShutdownServer(uvicorn.Server):
    """Shuts down at once; uvicorn's server takes two pauses of a tenth of a second."""

    async def main_loop(self) -> None:
        """Wait for the end."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            await asyncio.sleep(0.01)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, and end connections in good order, if any."""
        if self.server_state.connections:
            await super().shutdown(sockets)
            return
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        await self.lifespan.shutdown()
