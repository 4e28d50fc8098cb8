"""Finds the lines of a file that differ from its last commit, with git's own command."""

from __future__ import annotations

import asyncio
import os
from difflib import SequenceMatcher
from itertools import accumulate
from pathlib import Path

from pellucid.completion.suggestion import normalize_newlines
from pellucid.completion.surprise.code_words import Part
from pellucid.errors import InvalidRequestError

LIMIT_SECONDS = 20.0
"""Time that git gets to print a file."""

_NEW_FILE = ("exists on disk, but not in", "does not exist in", "invalid object name", "Not a valid object name")
"""What git says of a file that is in no commit."""


async def committed_text(path: Path) -> str:
    r"""Return the text of a file in the commit HEAD, with ``\n`` at the end of each line; empty if it is not in it.

    Raise InvalidRequestError if git cannot be asked. The file is printed as it is stored: no filter of the repository runs.
    """
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    command = ("git", "-C", str(path.parent), "cat-file", "blob", f"HEAD:./{path.name}")
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
        )
    except OSError as error:
        raise InvalidRequestError(f"git cannot be run: {error.strerror}.", param="textDocument") from None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, complaint = await process.communicate()
    except BaseException as error:
        process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise InvalidRequestError(f"git took longer than {LIMIT_SECONDS:.0f} s to print {path.name}.", param="textDocument") from None
        raise
    if process.returncode == 0:
        return normalize_newlines(output.decode("utf-8-sig", errors="replace"))
    reason = complaint.decode(errors="replace").strip()
    if any(sign in reason for sign in _NEW_FILE):
        return ""
    last = reason.rpartition("\n")[2].removeprefix("fatal: ")
    raise InvalidRequestError(f"git cannot compare {path.name} with its last commit: {last}.", param="textDocument")


def changed_parts(old: str, new: str) -> list[Part]:
    """Return the lines of a text that another one does not have in their place, by their offsets."""
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    starts = [0, *accumulate(map(len, after))]
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [(starts[begin], starts[end]) for kind, _, _, begin, end in changes if kind != "equal" and end > begin]
