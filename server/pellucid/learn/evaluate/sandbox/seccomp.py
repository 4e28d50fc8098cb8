"""Denies system calls that reach processes, networks and new namespaces.

A seccomp filter needs no privileges, cannot be removed, and is inherited.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final, NamedTuple

PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2

LOAD: Final = 0x20
JUMP_IF_EQUAL: Final = 0x15
JUMP_IF_AT_LEAST: Final = 0x35
JUMP_IF_ANY_BIT: Final = 0x45
RETURN: Final = 0x06

NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in ``struct seccomp_data`` (low 32 bits of the argument on little-endian machines)."""

ALLOW: Final = 0x7FFF0000
DENY: Final = 0x00050000 | errno.EPERM
MISSING: Final = 0x00050000 | errno.ENOSYS
KILL: Final = 0x80000000

NEW_NAMESPACES: Final = 0x7E020000
"""All CLONE_NEW* flags for ``clone``."""

X32_BIT: Final = 0x40000000
"""Marks the second set of system calls of x86-64, which would bypass the filter."""


class Calls(NamedTuple):
    """``self_only`` calls may target only this process, ``no_target`` calls only process 0."""

    audit: int
    clone: int
    clone3: int
    self_only: tuple[int, ...]
    no_target: tuple[int, ...]
    denied: tuple[int, ...]


# In order: unshare, setns, ptrace, process_vm_readv, process_vm_writev, kcmp, rt_sigqueueinfo,
# rt_tgsigqueueinfo, tkill, socket, memfd_create, shmget, msgget, semget, bpf, perf_event_open,
# userfaultfd, add_key, request_key, keyctl, open_by_handle_at
X86_64: Final = (272, 308, 101, 310, 311, 312, 129, 297, 200, 41, 319, 29, 68, 64, 321, 298, 323, 248, 249, 250, 304)
ARM64: Final = (97, 268, 117, 270, 271, 272, 138, 240, 130, 198, 279, 194, 186, 190, 280, 241, 282, 217, 218, 219, 265)

# In order: pidfd_send_signal, io_uring_setup, pidfd_open, pidfd_getfd, memfd_secret
EVERYWHERE: Final = (424, 425, 434, 438, 447)

CALLS: Final = {
    # self_only: kill, tgkill; no_target: prlimit64
    "x86_64": Calls(0xC000003E, 56, 435, (62, 234), (302,), X86_64 + EVERYWHERE),
    "aarch64": Calls(0xC00000B7, 220, 435, (129, 131), (261,), ARM64 + EVERYWHERE),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def available() -> bool:
    if sys.platform != "linux" or platform.machine() not in CALLS or sys.maxsize < 2**32:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # A filter at address 0 is EFAULT with filters, EINVAL without.
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, None, 0, 0)
    return ctypes.get_errno() == errno.EFAULT


def install() -> None:
    """Filter the calls of this process permanently. Requires no_new_privs."""
    code = build(CALLS[platform.machine()], os.getpid())
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(code) // 8, code)), 0, 0):
        raise OSError(ctypes.get_errno(), "the filter of system calls was refused")


def build(calls: Calls, process: int) -> bytes:
    code = [_load(ARCHITECTURE), _jump(JUMP_IF_EQUAL, calls.audit, 1, 0), _return(KILL), _load(NUMBER)]
    code += [_jump(JUMP_IF_AT_LEAST, X32_BIT, 0, 1), _return(DENY)]
    for number in calls.denied:
        code += [_jump(JUMP_IF_EQUAL, number, 0, 1), _return(DENY)]
    # The flags of clone3 are in memory, so libc must fall back to clone.
    code += [_jump(JUMP_IF_EQUAL, calls.clone3, 0, 1), _return(MISSING)]
    code += [_jump(JUMP_IF_EQUAL, calls.clone, 0, 4), _load(FIRST_ARGUMENT)]
    code += [_jump(JUMP_IF_ANY_BIT, NEW_NAMESPACES, 0, 1), _return(DENY), _return(ALLOW)]
    for numbers, target in ((calls.self_only, process), (calls.no_target, 0)):
        for number in numbers:
            code += [_jump(JUMP_IF_EQUAL, number, 0, 4), _load(FIRST_ARGUMENT)]
            code += [_jump(JUMP_IF_EQUAL, target, 1, 0), _return(DENY), _return(ALLOW)]
    return b"".join([*code, _return(ALLOW)])


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", LOAD, 0, 0, offset)


def _jump(how: int, value: int, then: int, otherwise: int) -> bytes:
    """Skip ``then`` instructions if the comparison holds, else ``otherwise``."""
    return struct.pack("HBBI", how, then, otherwise, value)


def _return(verdict: int) -> bytes:
    return struct.pack("HBBI", RETURN, 0, 0, verdict)
