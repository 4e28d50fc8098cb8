"""The server process."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import typer

from pellucid.config import Settings
from pellucid.serving.listening_socket import listen
from pellucid.serving.loading import Loading
from pellucid.serving.server_parts import BuildParts
from pellucid.system.installed_version import installed_version


def run(settings: Settings) -> None:
    """Serve until a signal arrives. Raises a PellucidError."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings.check_user_limits()
    with _no_collections():
        build = front_parts(settings) if settings.has_engines_elsewhere else local_parts(settings)
    with listen(settings.host, settings.port) as listener:
        loading = Loading(build)
        loading.start()
        try:
            with _no_collections():
                from pellucid.serving.server import Server  # Imports the API's libraries, while the models are loaded.
            server = Server(settings, loading)
        except KeyboardInterrupt:
            os._exit(130)  # Not a normal exit, for the reason below.
        typer.echo(f"Pellucid {installed_version()} listens at {settings.url}; Ctrl-C stops it.")
        server.run(sockets=[listener])
    if server.failure is not None:
        raise server.failure
    if not loading.parts.done() or server.is_loading_a_model:
        # The loader's native code cannot be interrupted, and would crash during a normal exit.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Stop collections during imports: checking objects that are never garbage takes time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def local_parts(settings: Settings) -> BuildParts:
    from pellucid.serving import assemble

    assemble.check_names(settings)
    return partial(assemble.assemble_server, settings)


def front_parts(settings: Settings) -> BuildParts:
    from pellucid.serving import assemble_front  # Imports HTTP clients.

    assemble_front.check_front(settings)
    return partial(assemble_front.assemble_front, settings)
