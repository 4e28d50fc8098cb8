"""Git commands that run no program named by the repository, and use no network."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import InvalidRequestError

LIMIT_SECONDS = 20.0

_OTHER_PLACES = (
    "GIT_DIR",
    "GIT_COMMON_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
)
"""Variables from a parent git process that would make git look into a different repository."""

_RULES = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "",
}  # Old git knows only the last variable.
"""English messages, no lock files, and no fetching of missing objects with the repository's
commands.
"""

_OPTIONS = ("--no-pager", "-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}")


@dataclass(frozen=True, slots=True)
class GitResult:
    """The output of a git command, and the text of stderr if the command failed, else ""."""

    output: bytes
    failure: str

    @property
    def reason(self) -> str:
        """The last line of a failure."""
        return self.failure.rpartition("\n")[2].removeprefix("fatal: ")


async def run_git(folder: Path, *arguments: str, given: bytes = b"", index: Path | None = None) -> GitResult:
    """Run git in a folder, with ``given`` on stdin, for stored objects printed unchanged.

    ``index`` replaces the repository's own index. Raise InvalidRequestError if git cannot be run or
    takes too long.
    """
    environment = git_environment() | ({} if index is None else {"GIT_INDEX_FILE": str(index)})
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *git_command(folder, *arguments), stdin=pipe, stdout=pipe, stderr=pipe, env=environment
        )
    except OSError as error:
        raise InvalidRequestError(
            f"git cannot be run: {error.strerror}. Install git, or put its folder on the PATH."
        ) from None
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, complaint = await process.communicate(given)
    except BaseException as error:
        with suppress(ProcessLookupError):  # Git may just have exited
            process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise InvalidRequestError(f"git took longer than {LIMIT_SECONDS:.0f} s in {folder}.") from None
        raise
    failure = complaint.decode(errors="replace").strip() or "git failed"
    return GitResult(output, "" if process.returncode == 0 else failure)


def git_command(folder: Path, *arguments: str) -> tuple[str, ...]:
    """Return a git command for a folder, for plumbing that prints stored objects unchanged."""
    return ("git", *_OPTIONS, "-C", str(folder), *arguments)


def git_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _OTHER_PLACES} | _RULES
