"""The sandboxed process: limits itself, then runs one side of ``judged_program.py``.

Sandbox.py starts the process with only the standard library and a JSON object on stdin. A child
does the work, so that a signal to the child's parent kills only this process. On Linux, this
process adopts orphans of the program, so that sandbox.py finds all descendants.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

PACKAGES = str(Path(__file__).parents[4])
# The path is only for these imports: the program finds only the standard library.
sys.path.insert(0, PACKAGES)
from pellucid.learn.evaluate.sandbox import landlock, seccomp  # noqa: E402
from pellucid.learn.evaluate.sandbox.judged_program import Pipes, ProgramTest, judge, serve  # noqa: E402

sys.path.remove(PACKAGES)

PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
CAPABILITIES_VERSION = 0x20080522
READ_EVERYTHING = 1 << 2

LINUX = sys.platform == "linux"


def main() -> None:
    order = json.loads(sys.stdin.buffer.read())
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.fork():
        # The other side must notice the end of the child.
        os.closerange(3, 256)
        with contextlib.suppress(ChildProcessError):
            while True:
                os.wait()
        os._exit(0)
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        limit(order)
        pipes = Pipes(order["incoming"], order["outgoing"])
        if order["verdict"] is None:
            serve(order["program"], order["check"]["entry_point"], pipes)
        else:
            judge(ProgramTest(**order["check"]), pipes, order["verdict"])
    finally:
        os._exit(0)


def limit(order: dict[str, Any]) -> None:
    seconds = int(order["seconds"]) + 1
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, order["file"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, order["files"]),
        (resource.RLIMIT_NPROC, order["processes"] + order["present"]),
        (resource.RLIMIT_AS, order["memory"]),
    ):
        _, hard = resource.getrlimit(kind)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # MacOS refuses RLIMIT_AS.
            resource.setrlimit(kind, (allowed, allowed))
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if order["landlock"]:
        landlock.restrict(read=landlock.readable(), write=[str(Path.cwd())])
    _change_user(order["user"], reads=order["reads"])
    if LINUX:
        # Deny tracing and memory access to processes of the same user. Changing the user would
        # reset the flag.
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if order["seccomp"]:
        seccomp.install()


def _change_user(user: int | None, *, reads: bool) -> None:
    """Drop superuser rights, even within a namespace: such rights could unmount /proc."""
    libc = ctypes.CDLL(None)
    if user is None:
        if LINUX:
            _keep(0, libc)
        return
    if LINUX and reads:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    if LINUX and reads:
        # Without this right, only a superuser can import from a superuser's folder.
        _keep(READ_EVERYTHING, libc)


def _keep(rights: int, libc: ctypes.CDLL) -> None:
    """Drop all superuser rights except ``rights``."""
    header = (ctypes.c_uint32 * 2)(CAPABILITIES_VERSION, 0)
    # Effective, permitted, inheritable; twice 32 bits.
    sets = (ctypes.c_uint32 * 6)(rights, rights, 0, 0, 0, 0)
    if libc.capset(header, sets):
        raise PermissionError("the rights of a superuser cannot be dropped")


if __name__ == "__main__":
    main()
