"""Hides the file system, except for given folders, from a process and all children.

Landlock needs no privileges, cannot be undone, is inherited, and also binds a superuser.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
"""The numbers are the same on every architecture."""

VERSION_FLAG: Final = 1
PATH_BENEATH: Final = 1

WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
FILE_RIGHTS: Final = 1 << 0 | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
"""All other rights are for folders."""

READ: Final = READ_FILE | READ_DIR
EXECUTE: Final = 1 << 0

RIGHTS_BITS: Final = {1: 13, 2: 14, 3: 15, 4: 15}
"""Number of file rights by version; later versions have 16."""

LIBRARIES: Final = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
)
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def version() -> int:
    """Return the version of Landlock, or 0."""
    if sys.platform != "linux":
        return 0
    return max(0, int(ctypes.CDLL(None).syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def readable() -> list[str]:
    """Return the paths read by Python: the standard library and shared libraries."""
    own = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    shared = [str(Path(prefix, "lib")) for prefix in (sys.base_prefix, sys.base_exec_prefix)]
    return [*own, *shared, *LIBRARIES, *DEVICES]


def restrict(read: Iterable[str], write: Iterable[str]) -> None:
    """Restrict this process to given files and folders, without execution and TCP.

    From version 6, signals to other processes are denied, too. Requires no_new_privs.
    """
    known = version()
    handled = (1 << RIGHTS_BITS.get(known, 16)) - 1
    # TCP bind and connect since version 4; abstract sockets and signals since version 6.
    attributes = struct.pack("QQQ", handled, 3, 3)[: 8 if known < 4 else 16 if known < 6 else 24]
    libc = ctypes.CDLL(None, use_errno=True)
    ruleset = _checked(libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    try:
        for paths, rights in (
            (read, READ),
            (write, handled & ~EXECUTE),
            (("/dev/null",), READ_FILE | WRITE_FILE | TRUNCATE),
        ):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        _checked(libc.syscall(RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = rights if Path(path).is_dir() else rights & FILE_RIGHTS
        _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", rights, target), 0))
    finally:
        os.close(target)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock refused a rule")
    return result
