"""Runs a program written by a model, with tests in another process. Not a real sandbox.

The tests run in a separate process (``judged_program.py``) that sees only the return values of the
program's function, so the program cannot reach the verdict. Limits:

- Everywhere: no environment, no site packages, a temporary working folder; limits on CPU time, file
  size and memory of each process, on time and output. Child processes are killed.
- With /proc: total memory and processes are checked twenty times per second.
- With control groups: the kernel enforces total memory and processes, and all processes end with
  the
  group. (Without Landlock, the program can leave a group that belongs to the program's user.)
- With Landlock: the program reads the standard library, the system's libraries and the working
  folder, writes to the working folder, and executes nothing.
- With seccomp: no sockets, namespaces, access to other processes or signals to other processes.
- With namespaces: no network, and no other process is visible.
- A superuser's program runs as the user nobody.

Programs can still fill the disk with small files, and exploit kernel bugs. Without control groups,
namespaces and seccomp, a process that left the session survives: on macOS always, on Linux if the
program also killed the watching process. A hostile program needs a virtual machine.
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
from pellucid.learn.evaluate.sandbox.judged_program import ProgramTest

logger = logging.getLogger(__name__)

NOBODY: Final = 65534
DRIVER: Final = Path(__file__).with_name("inside_sandbox.py")
BLOCK: Final = 65536
POLL_SECONDS: Final = 0.05

OWN_MEMORY: Final = 64 << 20
OWN_PROCESSES: Final = 8
"""Allowance for the judge and the drivers of both sides."""

PROBE: Final = "import ast, datetime, decimal, hashlib, heapq, random, socket, sqlite3\n"
"""Modules in Python and in C, required by correct programs."""

NAMESPACES: Final = ("--net", "--pid", "--ipc", "--fork", "--kill-child")
OWN_PROC: Final = "--mount-proc"
"""Without a separate /proc, all processes of the system are visible."""

OWN_USERS: Final = ("--user", "--map-current-user")


class ProgramEnd(StrEnum):
    PASSED = "passed"
    """The program ran to the end, and the tests passed."""
    RAISED = "raised"
    """An exception, usually a failed test."""
    LEFT = "left"
    """The program exited early or was killed."""
    LATE = "late"
    LOUD = "loud"
    LARGE = "large"
    """Exceeded the memory or the number of processes, in total."""


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    end: ProgramEnd
    message: str = ""

    def __str__(self) -> str:
        return f"{self.end}: {self.message}".rstrip(": ")

    @property
    def passed(self) -> bool:
        return self.end is ProgramEnd.PASSED


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds`` limits wall-clock and CPU time; ``memory``, ``file`` and ``output`` are in bytes.

    ``memory`` and ``processes`` limit all processes together; ``files`` are open files per process.
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
    """``wrapper`` is the command before the interpreter.

    ``reads`` is the right of ``user`` to read every file.
    """

    wrapper: tuple[str, ...] = ()
    user: int | None = None
    reads: bool = False
    landlock: bool = False
    seccomp: bool = False
    groups: bool = False

    def __str__(self) -> str:
        network = "no network" if self.wrapper or self.seccomp else "the network, which this system cannot block"
        hides = OWN_PROC in self.wrapper or self.landlock
        view = "no view of other processes" if hides else "a view of all processes"
        own = "only Python's files, the system's libraries and their own files"
        files = own if self.landlock else "all files of their user"
        reads_all = self.reads and not self.landlock
        nobody = "nobody, who may read every file" if reads_all else "nobody"  # plain-english: allow
        user = "the user who started it" if self.user is None else nobody
        limited = "a control group" if self.groups else "counting"
        return f"with {network}, {view} and {files}, as {user}, limited by {limited}"


def run_program(program: str, limits: Limits = LIMITS, check: ProgramTest = ProgramTest()) -> ProgramOutcome:  # noqa: B008 - it cannot be changed
    """Run a program with the standard library, and test the program. Blocks."""
    return _run(program, check, limits, confinement())


@cache
def confinement() -> Confinement:
    """Return the strictest confinement in which a harmless program runs, found by trying."""
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
    """Return the users to try: a superuser becomes nobody, perhaps with read rights."""
    if os.geteuid() != 0 or "--user" in wrapper:
        return [(None, False)]
    return [(NOBODY, False), (NOBODY, True), (None, False)]


def _run(program: str, check: ProgramTest, limits: Limits, confined: Confinement) -> ProgramOutcome:
    order = asdict(limits) | asdict(confined) | {"present": _present(confined)}
    with ExitStack() as stack:
        calls, answers, verdict, output = (_pipe(stack) for _ in range(4))
        # The program's process receives neither the test nor the verdict's pipe.
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
    """Return a control group for the program without the judge.

    The program must not be able to cause the judge to be killed.
    """
    parent = cgroup.parent() if confined.groups else None
    if parent is None:
        return None
    try:
        return stack.enter_context(cgroup.limited(parent, limits.memory + OWN_MEMORY, limits.processes + OWN_PROCESSES))
    # An evaluation of hours should not end here: the limits are counted as well.
    except OSError as error:
        logger.warning(
            "No control group can be made for one program (%s): its memory and processes are only monitored.",
            error.strerror,
        )
        return None


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
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
    if not confined.wrapper and sys.platform == "linux":
        for process in running:
            process_tree.kill_strays(process.pid)
    process_tree.kill(running)


def _listen(
    output: IO[bytes], verdict: IO[bytes], limits: Limits, running: Sequence[subprocess.Popen[bytes]]
) -> ProgramOutcome:
    """Wait for the verdict or a limit. Output is dropped, so that the program never blocks."""
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
    found = [process for one in running for process in process_tree.below(one.pid)]
    if sum(process.memory for process in found) > limits.memory + OWN_MEMORY:
        return _too_much_memory(limits)
    if sum(process.threads for process in found) > limits.processes + OWN_PROCESSES:
        return ProgramOutcome(ProgramEnd.LARGE, f"It had more than {limits.processes} processes and threads.")
    return None


def _too_much_memory(limits: Limits) -> ProgramOutcome:
    return ProgramOutcome(ProgramEnd.LARGE, f"Its processes used more than {limits.memory} bytes of memory together.")


def _present(confined: Confinement) -> int:
    """Return the user's processes and threads, which count against the program's limit."""
    if confined.user is not None or "--user" in confined.wrapper:
        return 0
    own, count = os.getuid(), 0
    for _, text in process_tree.all_processes("status"):
        fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if int(fields["Uid"].split()[0]) == own:
            count += int(fields["Threads"])
    return count
