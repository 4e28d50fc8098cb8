"""Python processes for untrusted data, without environment, files and sockets.

A process imports only named packages, and ends with its standard input, and so with this process.
Limits of memory and of open files need POSIX; a limit of wall time works everywhere.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

if sys.platform != "win32":
    import resource

BOOTSTRAP = (
    "import sys; sys.path += sys.argv[2:]; from importlib import import_module; import_module(sys.argv[1]).main()"
)
"""The child's program. The isolated interpreter finds packages only in the given folders."""

VARIABLES = ("TZ", "TZDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Inherited variables: the time zone, and the variables that an interpreter may need to start."""


def start(module: str, packages: Sequence[str]) -> subprocess.Popen[bytes]:
    """Run ``main`` of a module in an isolated interpreter with these packages. Raises OSError."""
    origins = [
        spec.origin for spec in map(importlib.util.find_spec, packages) if spec is not None and spec.origin is not None
    ]
    folders = dict.fromkeys(str(Path(origin).parents[1]) for origin in origins)
    return subprocess.Popen(  # noqa: S603 - Pellucid's interpreter and program
        [sys.executable, "-I", "-S", "-c", BOOTSTRAP, module, *folders],
        env={name: os.environ[name] for name in VARIABLES if name in os.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # The exit status and the replies give the reason.
    )


@contextlib.contextmanager
def killed_after(process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
    clock = threading.Timer(seconds, process.kill)
    clock.daemon = True
    clock.start()
    try:
        yield
    finally:
        clock.cancel()


def end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None, "both are pipes"
        with contextlib.suppress(OSError):  # Unread data is lost.
            pipe.close()


def limit(memory: int) -> None:
    """Forbid files and sockets, limit the address space (bytes), and ignore signals, in the child.

    Import everything first: afterwards, no further descriptor is available.
    """
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # Signals go to the whole group; the parent decides when this process ends.
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "win32":
        return
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_NOFILE, 3), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS.
            resource.setrlimit(kind, (most, most))
