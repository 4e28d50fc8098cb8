"""The language server's process, on stdin and stdout or on a local port."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pellucid_lsp import compiled_methods

if TYPE_CHECKING:
    from pellucid_lsp.server import Pellucid

CLEANUP_SECONDS = 5.0
"""Time limit for running requests after the editor has exited."""


def run(tcp: int | None, *, copilot: bool = False) -> None:
    """Serve one editor, in the standard or the Copilot protocol, until disconnected."""
    gc.disable()  # Checking imported objects, which are never garbage, takes a tenth of the start time.
    with compiled_methods.cached(compiled_methods.file_for("copilot" if copilot else "standard")):
        if copilot:
            from pellucid_lsp.copilot.copilot_methods import create as create_copilot

            server: Pellucid = create_copilot()
        else:
            from pellucid_lsp.methods.standard_methods import create

            server = create()
    gc.freeze()  # Nor are the objects checked later.
    gc.enable()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.CRITICAL)  # The server logs errors itself, more briefly.
    code = 0
    with suppress(KeyboardInterrupt):
        code = asyncio.run(_serve_stdio(server) if tcp is None else _serve_one(server, tcp))
    if code:
        sys.exit(code)


async def _serve_stdio(server: Pellucid) -> int:
    from pygls.io_ import StdinAsyncReader, StdoutWriter

    with ThreadPoolExecutor(1) as thread:
        server.protocol.set_writer(StdoutWriter(sys.stdout.buffer))
        return await serve(server, StdinAsyncReader(sys.stdin.buffer, thread))


async def _serve_one(server: Pellucid, port: int) -> int:
    """Serve the first editor that connects to a local port; refuse further editors."""
    editor: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
        asyncio.get_running_loop().create_future()
    )

    def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if editor.done():
            writer.close()
        else:
            editor.set_result((reader, writer))

    listener = await asyncio.start_server(welcome, "127.0.0.1", port)
    reader, writer = await editor
    listener.close()
    server.protocol.set_writer(writer)
    try:
        return await serve(server, reader)
    finally:
        writer.close()


async def serve(server: Pellucid, reader: Any) -> int:
    """Answer messages until the editor exits or the connection breaks.

    Return the exit code: 1 after ``exit`` without ``shutdown``.
    """
    from pygls.io_ import run_async

    try:
        await run_async(
            stop_event=threading.Event(),
            reader=reader,
            protocol=server.protocol,
            error_handler=server.report_server_error,
        )
    except SystemExit as end:  # pygls has closed the writer.
        server.protocol.writer = None  # pygls discards later messages of running tasks.
        return 1 if end.code else 0
    except ConnectionError as error:
        logging.getLogger(__name__).error("The connection to the editor broke: %s.", error)
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(server.aclose(), CLEANUP_SECONDS)
    return 0
