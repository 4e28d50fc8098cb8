"""Checks that no other user of this machine can replace a file or a folder.

Loaded code runs with the user's rights, so only the user, or root, may have write access. Windows
has no owners and modes of this kind: a user's folders are private by default, and nothing is
checked.
"""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path

if sys.platform != "win32":
    import grp
    import pwd


class UntrustedError(Exception):
    """A path with write access for a different user. The message has the path and the remedy."""


def require_private_folder(folder: Path) -> None:
    """Raise UntrustedError if a different user can write to an existing folder, or replace it.

    ``folder`` must be resolved, because a link could be changed after this check. Above the folder
    a sticky bit is enough, as in ``/tmp``: users cannot rename each other's files, but in the
    folder itself users could add files.
    """
    for path in (folder, *folder.parents):
        status = path.lstat()
        if not _is_owned(status):
            raise UntrustedError(f"{path} belongs to {_user(status.st_uid)}: set a cache folder of your own.")
        sticky = path != folder and status.st_mode & stat.S_ISVTX
        if not sticky and _others_can_write(status):
            mode = stat.S_IMODE(status.st_mode)
            raise UntrustedError(
                f"Other users can write to {path} (mode {mode:o}): run `chmod go-w {shlex.quote(str(path))}`."
            )


def is_private_file(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and _is_owned(status) and not _others_can_write(status)


def _is_owned(status: os.stat_result) -> bool:
    return sys.platform == "win32" or status.st_uid in (0, os.geteuid())


def _others_can_write(status: os.stat_result) -> bool:
    if sys.platform == "win32":
        return False
    shared = status.st_mode & stat.S_IWGRP and not _is_own_group(status.st_gid)
    return bool(status.st_mode & stat.S_IWOTH or shared)


def _is_own_group(number: int) -> bool:
    """Return whether a group is this user's private group: the user's name, no further member.

    Most Linux distributions create such groups, and then make new folders writable by the group
    (umask 002).
    """
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(number)
    except KeyError:
        return False
    return user.pw_gid == number and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _user(number: int) -> str:
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user with the number {number}"
