"""The process in which a model's program runs: it limits itself, runs the program, and says whether that came to its end.

Started by sandbox.py with nothing but the standard library; on stdin are a line of JSON and then the program. A child runs the
program, so that what kills its parent kills this process and no more. Until then this process adopts, on Linux, what the program
started and left behind, so that sandbox.py finds it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
import types
from typing import Any

PR_SET_KEEPCAPS = 8
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CAPABILITIES_VERSION = 0x20080522
READ_EVERYTHING = 1 << 2
"""CAP_DAC_READ_SEARCH."""

LONGEST_MESSAGE = 500
LINUX = sys.platform == "linux"


def main() -> None:
    """Read the order, run the program in a child, and wait for it and for what it left behind."""
    said = int(sys.argv[1])
    order = json.loads(sys.stdin.buffer.readline())
    program = sys.stdin.buffer.read()
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork():
        os.close(said)
        with contextlib.suppress(ChildProcessError):  # nobody is left
            while True:
                os.wait()
        os._exit(0)
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        limit(order)
        message = run(program)
        # After the program: whatever it did to sys.stdout is of no importance.
        os.write(said, f"{order['secret']}\n{message}\n".encode(errors="replace"))
    finally:
        os._exit(0)


def limit(order: dict[str, Any]) -> None:
    """What the program may use, and as whom it runs."""
    seconds = int(order["seconds"]) + 1
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, order["file"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, order["processes"] + order["present"]),
        (resource.RLIMIT_AS, order["memory"]),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS
            resource.setrlimit(kind, (allowed, allowed))
    libc = ctypes.CDLL(None)
    if LINUX:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if order["user"] is None:
        if LINUX:
            _keep(0, libc)  # of a superuser, also of one in a namespace only, who could take the own /proc away
        return
    if LINUX and order["reads"]:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(order["user"])
    os.setuid(order["user"])
    if LINUX and order["reads"]:
        _keep(READ_EVERYTHING, libc)  # without which nobody can import from a superuser's folder


def _keep(rights: int, libc: ctypes.CDLL) -> None:
    """Give all rights of a superuser up but these."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)(rights, rights, 0, 0, 0, 0)  # effective, permitted, inheritable; twice 32 bits
    if libc.capset(header, sets):
        raise PermissionError("the rights of a superuser cannot be given up")


def run(program: bytes) -> str:
    """Run it to its end: nothing, or the last line of what ended it."""
    module = types.ModuleType("program")  # not __main__: what a file does when it is started is no part of an answer
    sys.modules["program"] = module
    sys.argv = ["program"]
    try:
        exec(compile(program, "program", "exec"), module.__dict__)  # noqa: S102 - to run it is the purpose
    except BaseException as error:  # SystemExit as well: who leaves has not come to the end
        return f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE].replace("\n", " ") or "an error"
    return ""


if __name__ == "__main__":
    main()
