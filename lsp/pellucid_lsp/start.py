"""The language server's process: on stdin and stdout, or on a port of this machine."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid_lsp.server import Pellucid


def run(tcp: int | None) -> None:
    """Serve one editor until it leaves."""
    gc.disable()  # what is imported stays: to look through it again and again takes a tenth of the time to start
    from pellucid_lsp.server import create

    server = create()
    gc.enable()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.CRITICAL)  # what goes wrong is logged by the server, in fewer words
    if tcp is None:
        server.start_io()
    else:
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve_one(server, tcp))


async def _serve_one(server: Pellucid, port: int) -> None:
    """Speak to the first editor that connects to a port of this machine, until it leaves; there is no room for another."""
    stop = threading.Event()
    editor: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.get_running_loop().create_future()

    def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if editor.done():
            writer.close()
        else:
            editor.set_result((reader, writer))

    from pygls.io_ import run_async

    listener = await asyncio.start_server(welcome, "127.0.0.1", port)
    reader, writer = await editor
    listener.close()
    server.protocol.set_writer(writer)
    await run_async(stop_event=stop, reader=reader, protocol=server.protocol, error_handler=server.report_server_error)
    writer.close()
