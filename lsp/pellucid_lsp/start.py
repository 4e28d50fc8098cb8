"""The language server's process: on stdin and stdout, or on a port of this machine."""

from __future__ import annotations

import gc
import logging
import sys


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
        server.start_tcp("127.0.0.1", tcp)
