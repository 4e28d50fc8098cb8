"""An HTTP server of uvicorn with a quick end."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import uvicorn


class QuickShutdownServer(uvicorn.Server):
    """Shuts down at once, and computes nothing while no client asks.

    Uvicorn's server looks at ``should_exit`` ten times in a second, and pauses twice at the end.
    """

    _should_exit = False
    _end: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    @property
    def should_exit(self) -> bool:
        """Return True if the server ends; can be set in any thread."""
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        self._should_exit = value
        if value and self._end is not None:
            loop, end = self._end
            with suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(end.set)

    async def main_loop(self) -> None:
        """Wait for the end."""
        self._end = asyncio.get_running_loop(), asyncio.Event()
        await self.on_tick(0)
        if not self.should_exit:
            await self._end[1].wait()
        await asyncio.sleep(0.02)  # Connections that lose the client are closed meanwhile.

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners, and end connections in good order, if any."""
        if self.server_state.connections:
            await super().shutdown(sockets)
            return
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        await self.lifespan.shutdown()
