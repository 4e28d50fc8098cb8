"""Runs a program that a model wrote, has another process judge it, and says how it ended. This is no real sandbox.

The program cannot reach its verdict: the tests run in a process of their own (``check.py``) that only sees the values which the
program's function returns. Against the rest of what a program may do there are walls, each as far as the system has it:

- Everywhere: no environment, no site packages, a folder of its own that is deleted, limits on processor time, on the size of files and
  on the memory of each process, a limit on time and on output; what it started is killed.
- With /proc: memory and processes of all that it started are counted together, twenty times a second, and end it over the limit.
- With control groups: the kernel enforces the same limits at once, and all of it ends with its group. (Where the groups belong to its own
  user and there is no Landlock, it can leave its group.)
- With Landlock: it reads the standard library, the system's libraries and its own folder, writes to its own folder, executes nothing.
  Without it, it has all rights over files that its user has.
- With seccomp: no socket, no new namespace, no look into another process, no signal to one.
- With namespaces: no network, and no other process is visible.
- A superuser's program runs as nobody.

It can still fill the disk with many small files, and exploit bugs of the kernel. Without control groups, namespaces and seccomp a
process outlives it that left its session, on macOS always, on Linux if the program also killed the process that watches it. Containing
a hostile program takes a virtual machine.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import IO, Any, Final

from pellucid.errors import NotSupportedError
from pellucid.learn.evaluate.sandbox import cgroup, landlock, process_tree, seccomp
from pellucid.learn.evaluate.sandbox.check import ProgramTest

logger = logging.getLogger(__name__)

NOBODY: Final = 65534
DRIVER: Final = Path(__file__).with_name("confined.py")
BLOCK: Final = 65536
POLL_SECONDS: Final = 0.05
"""How often memory and processes are counted."""

OWN_MEMORY: Final = 64 << 20
OWN_PROCESSES: Final = 8
"""Allowance on top of the limits for the judge and the drivers of both sides."""

PROBE: Final = "import ast, datetime, decimal, hashlib, heapq, random, socket, sqlite3\n"
"""Modules in Python and in C: where they cannot be read, programs fail that are right."""

NAMESPACES: Final = ("--net", "--pid", "--ipc", "--fork", "--kill-child")
OWN_PROC: Final = "--mount-proc"
"""Without it /proc shows the processes of the whole system."""

OWN_USERS: Final = ("--user", "--map-current-user")


class ProgramEnd(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    """It ran to its end, and its tests passed."""
    RAISED = "raised"
    """An exception ended it: a test that failed, as a rule."""
    LEFT = "left"
    """It left before its end, or something killed it."""
    LATE = "late"
    """The time was over."""
    LOUD = "loud"
    """It wrote more than it may."""
    LARGE = "large"
    """All its processes together used more memory than they may, or were too many."""


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """How a program ended, and in which words."""

    end: ProgramEnd
    message: str = ""

    def __str__(self) -> str:
        return f"{self.end}: {self.message}".rstrip(": ")

    @property
    def passed(self) -> bool:
        """Whether it ran to its end, its tests included."""
        return self.end is ProgramEnd.PASSED


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds`` of the clock and of the processor each; ``memory``, ``file`` and ``output`` in bytes.

    ``memory`` and ``processes`` are those of all that a program starts, together; ``files`` are open ones of one process.
    """

    seconds: float = 10.0
    memory: int = 1 << 30
    file: int = 1 << 20
    output: int = 1 << 20
    processes: int = 64
    files: int = 64


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this system permits: the command in front of the interpreter, the user, and whether that one may read everything.

    ``landlock`` and ``seccomp`` say whether the kernel has them, ``groups`` whether control groups can be made.
    """

    wrapper: tuple[str, ...] = ()
    user: int | None = None
    reads: bool = False
    landlock: bool = False
    seccomp: bool = False
    groups: bool = False

    def __str__(self) -> str:
        return f"{self._network}, {self._view} and {self._files}, as {self._user}, {self._limited}"

    @property
    def _limited(self) -> str:
        return "limited by a control group" if self.groups else "limited by counting"

    @property
    def _network(self) -> str:
        return "with no network" if self.wrapper or self.seccomp else "with the network, which this system cannot take away"

    @property
    def _view(self) -> str:
        return "no view of other processes" if OWN_PROC in self.wrapper or self.landlock else "a view of all processes"

    @property
    def _files(self) -> str:
        return "no files but Python's, the system's libraries and their own" if self.landlock else "all files that their user has"

    @property
    def _user(self) -> str:
        if self.user is None:
            return "the user who started it"
        return "nobody, who may read every file" if self.reads and not self.landlock else "nobody"


def run_program(program: str, limits: Limits = LIMITS, check: ProgramTest = ProgramTest()) -> ProgramOutcome:  # noqa: B008 - it cannot be changed
    """Run a program with this interpreter and the standard library, and judge it; blocks.

    Raises NotSupportedError on a system without the limits that this rests on.
    """
    return _run(program, check, limits, confinement())


@cache
def confinement() -> Confinement:
    """The strictest confinement in which a harmless program runs; found by trying, once."""
    if os.name != "posix" or not hasattr(os, "fork"):
        raise NotSupportedError("Programs of models are run on Linux and macOS only, where a process can be limited: leave --run-code out.")
    filtered, groups = seccomp.available(), cgroup.parent() is not None
    for files in (True, False) if landlock.version() else (False,):
        for wrapper in _wrappers():
            for user, reads in _users(wrapper):
                found = Confinement(wrapper, user, reads, files, filtered, groups)
                if _run(PROBE, ProgramTest(), LIMITS, found).passed:
                    return found
    raise NotSupportedError("This system cannot run a program with limits, so none can be judged: leave --run-code out.")


def _wrappers() -> list[tuple[str, ...]]:
    unshare = shutil.which("unshare")
    if unshare is None:
        return [()]
    ways = [(*users, *NAMESPACES, *proc) for proc in ((OWN_PROC,), ()) for users in ((), OWN_USERS)]
    return [*((unshare, *way) for way in ways), ()]


def _users(wrapper: tuple[str, ...]) -> list[tuple[int | None, bool]]:
    """A superuser becomes nobody, who may be in need of a right to read the interpreter's own files."""
    if os.geteuid() != 0 or "--user" in wrapper:
        return [(None, False)]
    return [(NOBODY, False), (NOBODY, True), (None, False)]


def _run(program: str, check: ProgramTest, limits: Limits, confined: Confinement) -> ProgramOutcome:
    """Run the program in one process and its test in another, with pipes for calls, for answers and for the verdict."""
    order = asdict(limits) | asdict(confined) | {"present": _present(confined)}
    with ExitStack() as stack:
        calls, answers, verdict, output = (_pipe(stack) for _ in range(4))
        # The program's process is told nothing of the test, and gets no end of the pipe for the verdict.
        serving = order | {"program": program, "check": ProgramTest(check.entry_point)._asdict(), "verdict": None}
        judging = order | {"check": check._asdict(), "verdict": verdict[1].fileno()}
        group = _group(limits, confined, stack)
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, running, confined)
        for one, incoming, outgoing, kept in ((serving, calls[0], answers[1], ()), (judging, answers[0], calls[1], (verdict[1],))):
            one |= {"incoming": incoming.fileno(), "outgoing": outgoing.fileno()}
            entering = group.command if one is serving and group is not None else ()
            running.append(_start(one, (incoming, outgoing, *kept), output[1], (*entering, *confined.wrapper), confined.user, stack))
        for pipe in (*calls, *answers, verdict[1], output[1]):
            pipe.close()
        found = _listen(output[0], verdict[0], limits, running)
        return _too_much_memory(limits) if group is not None and group.ran_out_of_memory else found


def _group(limits: Limits, confined: Confinement, stack: ExitStack) -> cgroup.ControlGroup | None:
    """A control group for the program; its judge stays outside, so that the program cannot have it killed."""
    parent = cgroup.parent() if confined.groups else None
    if parent is None:
        return None
    try:
        return stack.enter_context(cgroup.limited(parent, limits.memory + OWN_MEMORY, limits.processes + OWN_PROCESSES))
    except OSError as error:  # an evaluation of hours is not lost for it: the limits are counted as well
        logger.warning("No control group can be made for one program (%s): its memory and processes are only counted.", error.strerror)
        return None


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """The reading and the writing end, which are closed with the stack at the latest."""
    reading, writing = os.pipe()
    return stack.enter_context(os.fdopen(reading, "rb", 0)), stack.enter_context(os.fdopen(writing, "wb", 0))


def _start(
    order: dict[str, Any],
    pipes: Sequence[IO[bytes]],
    output: IO[bytes],
    wrapper: Sequence[str],
    user: int | None,
    stack: ExitStack,
) -> subprocess.Popen[bytes]:
    """Start one side in a folder of its own."""
    folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
    if user is not None:
        os.chown(folder, user, user)
    with tempfile.TemporaryFile() as script:
        script.write(json.dumps(order).encode())
        script.seek(0)
        return subprocess.Popen(  # noqa: S603 - to run it is the purpose
            [*wrapper, sys.executable, "-I", "-S", str(DRIVER)],
            cwd=folder,
            env={},
            stdin=script,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[pipe.fileno() for pipe in pipes],
            start_new_session=True,
        )


def _end(running: Sequence[subprocess.Popen[bytes]], confined: Confinement) -> None:
    """Kill both sides and what they started."""
    if not confined.wrapper and sys.platform == "linux":
        for process in running:
            process_tree.kill_strays(process.pid)
    process_tree.kill(running)


def _listen(output: IO[bytes], verdict: IO[bytes], limits: Limits, running: Sequence[subprocess.Popen[bytes]]) -> ProgramOutcome:
    """Wait for the verdict, and end both sides at a limit. Output is read and dropped, so that the program is not blocked by it."""
    written, line, late = 0, b"", time.monotonic() + limits.seconds
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(verdict, selectors.EVENT_READ)
        counted = time.monotonic() + POLL_SECONDS
        while not line.endswith(b"\n"):
            now = time.monotonic()
            if now >= late:
                return ProgramOutcome(ProgramEnd.LATE, f"It took longer than {limits.seconds:g} seconds.")
            if now >= counted:
                if (excess := _excess(running, limits)) is not None:
                    return excess
                counted = time.monotonic() + POLL_SECONDS
            for key, _ in selector.select(max(0.0, min(late, counted) - now)):
                block = os.read(key.fd, BLOCK)
                if key.fileobj is verdict:
                    line += block
                    if not block:
                        return ProgramOutcome(ProgramEnd.LEFT, "It left before its end.")
                elif block:
                    written += len(block)
                else:
                    selector.unregister(output)
                if written > limits.output:
                    return ProgramOutcome(ProgramEnd.LOUD, f"It wrote more than {limits.output} bytes.")
    said = json.loads(line)
    return ProgramOutcome(ProgramEnd(said["end"]), said["message"])


def _excess(running: Sequence[subprocess.Popen[bytes]], limits: Limits) -> ProgramOutcome | None:
    """What all processes use together, where that is too much."""
    found = [process for one in running for process in process_tree.below(one.pid)]
    if sum(process.memory for process in found) > limits.memory + OWN_MEMORY:
        return _too_much_memory(limits)
    if sum(process.threads for process in found) > limits.processes + OWN_PROCESSES:
        return ProgramOutcome(ProgramEnd.LARGE, f"It had more than {limits.processes} processes and threads.")
    return None


def _too_much_memory(limits: Limits) -> ProgramOutcome:
    return ProgramOutcome(ProgramEnd.LARGE, f"Its processes used more than {limits.memory} bytes of memory together.")


def _present(confined: Confinement) -> int:
    """Processes and threads that already count against the limit: those of the user, where the program runs as the same one."""
    if confined.user is not None or "--user" in confined.wrapper:
        return 0
    own, count = os.getuid(), 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":\t", 1) for line in status.read_text(errors="replace").splitlines() if ":\t" in line)
        except OSError:  # it has ended meanwhile
            continue
        if int(fields["Uid"].split()[0]) == own:
            count += int(fields["Threads"])
    return count
