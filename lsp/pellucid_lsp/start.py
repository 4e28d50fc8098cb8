"""The language server's process: on stdin and stdout, or on a port of this machine."""

from __future__ import annotations

import logging
import sys

from pellucid_lsp.server import create


def run(tcp: int | None) -> None:
    """Serve one editor until it leaves."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("pygls").setLevel(logging.CRITICAL)  # what goes wrong is logged by the server, in fewer words
    server = create()
    if tcp is None:
        server.start_io()
    else:
        server.start_tcp("127.0.0.1", tcp)
