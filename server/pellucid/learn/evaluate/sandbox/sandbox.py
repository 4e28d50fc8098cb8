"""Runs a program that a model wrote, has another process judge it, and reports how it ended.

This is not a real sandbox.

The program cannot reach its verdict: the tests run in their own process (``program_test.py``),
which only sees the values that the program's function returns. Everything else is limited as far as
the system allows:

- Everywhere: no environment, no site packages, a temporary working folder, limits on processor
  time, file size and memory of each process, on time and on output. Its child processes are killed.
- With /proc: the memory and the number of all its processes are counted together, twenty times a
  second, and end it above the limit.
- With control groups: the kernel enforces the same limits at once, and everything ends with the
  group. (If the groups belong to its own user and there is no Landlock, it can leave its group.)
- With Landlock: it reads the standard library, the system's libraries and its own folder, writes to
  its own folder, and executes nothing. Without it, it has its user's rights over files.
- With seccomp: no socket, no new namespace, no access to another process, no signal to one.
- With namespaces: no network, and no other process is visible.
- A superuser's program runs as nobody.

It can still fill the disk with many small files, and exploit bugs of the kernel. Without control
groups, namespaces and seccomp, a process that left its session survives: on macOS always, on Linux
if the program also killed the process that watches it. A hostile program needs a virtual machine.
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
from pellucid.learn.evaluate.sandbox.program_test import ProgramTest

logger = logging.getLogger(__name__)

NOBODY: Final = 65534
DRIVER: Final = Path(__file__).with_name("inside_sandbox.py")
BLOCK: Final = 65536
POLL_SECONDS: Final = 0.05
"""Interval at which memory and processes are counted."""

OWN_MEMORY: Final = 64 << 20
OWN_PROCESSES: Final = 8
"""Allowance on top of the limits for the judge and the drivers of both sides."""

PROBE: Final = "import ast, datetime, decimal, hashlib, heapq, random, socket, sqlite3\n"
"""Modules in Python and in C. If they cannot be read, correct programs fail."""

NAMESPACES: Final = ("--net", "--pid", "--ipc", "--fork", "--kill-child")
OWN_PROC: Final = "--mount-proc"
"""Without it /proc shows the processes of the whole system."""

OWN_USERS: Final = ("--user", "--map-current-user")


class ProgramEnd(StrEnum):
    """The ends of a program."""

    PASSED = "passed"
    """It ran to its end, and its tests passed."""
    RAISED = "raised"
    """An exception ended it, usually a failed test."""
    LEFT = "left"
    """It exited before its end, or was killed."""
    LATE = "late"
    """It exceeded its time."""
    LOUD = "loud"
    """It exceeded its output."""
    LARGE = "large"
    """Its processes together exceeded their memory or their number."""


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """The end of a program, with a message."""

    end: ProgramEnd
    message: str = ""

    def __str__(self) -> str:
        return f"{self.end}: {self.message}".rstrip(": ")

    @property
    def passed(self) -> bool:
        """True if it ran to its end, its tests included."""
        return self.end is ProgramEnd.PASSED


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a program: ``seconds`` of the clock and of the processor each; ``memory``, ``file`` and ``output`` in bytes.

    ``memory`` and ``processes`` count all processes of the program together; ``files`` are the open
    ones of one process.
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
    """The confinement that this system permits: the command in front of the interpreter, the user, and if that user may read everything.

    ``landlock`` and ``seccomp`` are True if the kernel has them, ``groups`` if control groups can
    be made.
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
        return "with no network" if self.wrapper or self.seccomp else "with the network, which this system cannot block"

    @property
    def _view(self) -> str:
        return "no view of other processes" if OWN_PROC in self.wrapper or self.landlock else "a view of all processes"

    @property
    def _files(self) -> str:
        return (
            "only Python's files, the system's libraries and their own files"
            if self.landlock
            else "all files of their user"
        )

    @property
    def _user(self) -> str:
        if self.user is None:
            return "the user who started it"
        return (
            "nobody, who may read every file" if self.reads and not self.landlock else "nobody"
        )  # plain-english: allow


def run_program(program: str, limits: Limits = LIMITS, check: ProgramTest = ProgramTest()) -> ProgramOutcome:  # noqa: B008 - it cannot be changed
    """Run a program with this interpreter and the standard library, and judge it. Blocks.

    Raises NotSupportedError on a system without the required limits.
    """
    return _run(program, check, limits, confinement())


@cache
def confinement() -> Confinement:
    """Return the strictest confinement in which a harmless program runs, found by trying once."""
    if os.name != "posix" or not hasattr(os, "fork"):
        raise NotSupportedError(
            "Models' programs run only on Linux and macOS, where processes can be limited: omit --run-code."
        )
    filtered, groups = seccomp.available(), cgroup.parent() is not None
    for files in (True, False) if landlock.version() else (False,):
        for wrapper in _wrappers():
            for user, reads in _users(wrapper):
                found = Confinement(wrapper, user, reads, files, filtered, groups)
                if _run(PROBE, ProgramTest(), LIMITS, found).passed:
                    return found
    raise NotSupportedError("This system cannot limit programs, so none can be tested: omit --run-code.")


def _wrappers() -> list[tuple[str, ...]]:
    unshare = shutil.which("unshare")
    if unshare is None:
        return [()]
    ways = [(*users, *NAMESPACES, *proc) for proc in ((OWN_PROC,), ()) for users in ((), OWN_USERS)]
    return [*((unshare, *way) for way in ways), ()]


def _users(wrapper: tuple[str, ...]) -> list[tuple[int | None, bool]]:
    """Return the users to try.

    A superuser becomes nobody, who may need a right to read the interpreter's own files.
    """
    if os.geteuid() != 0 or "--user" in wrapper:
        return [(None, False)]
    return [(NOBODY, False), (NOBODY, True), (None, False)]


def _run(program: str, check: ProgramTest, limits: Limits, confined: Confinement) -> ProgramOutcome:
    """Run the program in one process and its test in another, with pipes for calls, for answers and for the verdict."""
    order = asdict(limits) | asdict(confined) | {"present": _present(confined)}
    with ExitStack() as stack:
        calls, answers, verdict, output = (_pipe(stack) for _ in range(4))
        # The program's process gets neither the test nor an end of the verdict's pipe.
        serving = order | {"program": program, "check": ProgramTest(check.entry_point)._asdict(), "verdict": None}
        judging = order | {"check": check._asdict(), "verdict": verdict[1].fileno()}
        group = _group(limits, confined, stack)
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, running, confined)
        for one, incoming, outgoing, kept in (
            (serving, calls[0], answers[1], ()),
            (judging, answers[0], calls[1], (verdict[1],)),
        ):
            one |= {"incoming": incoming.fileno(), "outgoing": outgoing.fileno()}
            entering = group.command if one is serving and group is not None else ()
            running.append(
                _start(
                    one, (incoming, outgoing, *kept), output[1], (*entering, *confined.wrapper), confined.user, stack
                )
            )
        for pipe in (*calls, *answers, verdict[1], output[1]):
            pipe.close()
        found = _listen(output[0], verdict[0], limits, running)
        return _too_much_memory(limits) if group is not None and group.ran_out_of_memory else found


def _group(limits: Limits, confined: Confinement, stack: ExitStack) -> cgroup.ControlGroup | None:
    """Return a control group for the program.

    Its judge stays outside, so that the program cannot have it killed.
    """
    parent = cgroup.parent() if confined.groups else None
    if parent is None:
        return None
    try:
        return stack.enter_context(cgroup.limited(parent, limits.memory + OWN_MEMORY, limits.processes + OWN_PROCESSES))
    except OSError as error:  # not worth losing an evaluation of hours: the limits are counted as well
        logger.warning(
            "No control group can be made for one program (%s): its memory and processes are only monitored.",
            error.strerror,
        )
        return None


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Return the reading and the writing end, which are closed with the stack at the latest."""
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
    """Start one side in its own folder."""
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
    """Kill both sides and their child processes."""
    if not confined.wrapper and sys.platform == "linux":
        for process in running:
            process_tree.kill_strays(process.pid)
    process_tree.kill(running)


def _listen(
    output: IO[bytes], verdict: IO[bytes], limits: Limits, running: Sequence[subprocess.Popen[bytes]]
) -> ProgramOutcome:
    """Wait for the verdict, and end both sides at a limit.

    Output is read and dropped, so that the program never blocks on it.
    """
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
                        return ProgramOutcome(ProgramEnd.LEFT, "It exited before its end.")
                elif block:
                    written += len(block)
                else:
                    selector.unregister(output)
                if written > limits.output:
                    return ProgramOutcome(ProgramEnd.LOUD, f"It wrote more than {limits.output} bytes.")
    report = json.loads(line)
    return ProgramOutcome(ProgramEnd(report["end"]), report["message"])


def _excess(running: Sequence[subprocess.Popen[bytes]], limits: Limits) -> ProgramOutcome | None:
    """Return the outcome if all processes together exceed a limit."""
    found = [process for one in running for process in process_tree.below(one.pid)]
    if sum(process.memory for process in found) > limits.memory + OWN_MEMORY:
        return _too_much_memory(limits)
    if sum(process.threads for process in found) > limits.processes + OWN_PROCESSES:
        return ProgramOutcome(ProgramEnd.LARGE, f"It had more than {limits.processes} processes and threads.")
    return None


def _too_much_memory(limits: Limits) -> ProgramOutcome:
    return ProgramOutcome(ProgramEnd.LARGE, f"Its processes used more than {limits.memory} bytes of memory together.")


def _present(confined: Confinement) -> int:
    """Return the processes and threads that already count against the limit: all of the user's, if the program runs as the same user."""
    if confined.user is not None or "--user" in confined.wrapper:
        return 0
    own, count = os.getuid(), 0
    for _, text in process_tree.all_processes("status"):
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if int(fields["Uid"].split()[0]) == own:
            count += int(fields["Threads"])
    return count
