"""Runs a program that a model wrote in a process of its own, and says how it ended. This is no security boundary.

What it does against accidents, which models' programs are full of: no environment, no site packages, a folder of its own that is
deleted, limits on memory, processor time, processes and the size of files, a limit on time and on output, and what it started is
killed. Where the system permits it there is no network, no other process is visible to it, and a superuser's program runs as nobody;
anybody else's runs with all rights that its user has over files. What it can still do: read what that user may read, write where
that user may write, and fill the disk with many small files. Without namespaces a process outlives it that left its session, on
macOS always, on Linux if the program also killed the process that watches it. Whoever has to keep a program in needs a virtual machine.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import IO, Final

from pellucid.errors import NotSupportedError

NOBODY: Final = 65534
DRIVER: Final = Path(__file__).with_name("confined.py")
BLOCK: Final = 65536
LINES: Final = 2
"""Of what a program's process says about its end: the secret, and a message."""

GRACE: Final = 5.0
"""Seconds that a killed process has to be gone."""

PROBE: Final = "import ast, datetime, decimal, hashlib, heapq, random, socket, sqlite3\n"
"""Modules in Python and in C: where they cannot be read, programs fail that are right."""

NAMESPACES: Final = ("--net", "--pid", "--ipc", "--fork", "--kill-child")
OWN_PROC: Final = "--mount-proc"
"""Without it /proc shows the processes of the whole system."""

OWN_USERS: Final = ("--user", "--map-current-user")


class End(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    """It ran to its end."""
    RAISED = "raised"
    """An exception ended it: a test that failed, as a rule."""
    LEFT = "left"
    """It left before its end, or something killed it."""
    LATE = "late"
    """The time was over."""
    LOUD = "loud"
    """It wrote more than it may."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, and in which words."""

    end: End
    message: str = ""

    def __str__(self) -> str:
        return f"{self.end}: {self.message}".rstrip(": ")

    @property
    def passed(self) -> bool:
        """Whether it ran to its end, its tests included."""
        return self.end is End.PASSED


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds`` of the clock and of the processor each; ``memory``, ``file`` and ``output`` in bytes; ``processes`` at a time."""

    seconds: float = 10.0
    memory: int = 1 << 30
    file: int = 1 << 20
    output: int = 1 << 20
    processes: int = 64


LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this system permits: the command in front of the interpreter, the user, and whether that one may read everything."""

    wrapper: tuple[str, ...] = ()
    user: int | None = None
    reads: bool = False

    def __str__(self) -> str:
        view = "no view of other processes" if OWN_PROC in self.wrapper else "a view of all processes"
        kept = f"with no network and {view}" if self.wrapper else "with the network, as this system lets nobody take it away"
        whom = "nobody, who may read every file" if self.reads else "nobody"
        if self.user is None:
            whom = "the user who started it, with that user's rights over files"
        return f"{kept}, as {whom}"


def run_program(program: str, limits: Limits = LIMITS) -> Outcome:
    """Run a program with this interpreter and the standard library; blocks.

    Raises NotSupportedError on a system without the limits that this rests on.
    """
    return _run(program, limits, confinement())


@cache
def confinement() -> Confinement:
    """The strictest confinement in which a harmless program runs; found by trying, once."""
    if os.name != "posix" or not hasattr(os, "fork"):
        raise NotSupportedError("Programs of models are run on Linux and macOS only, where a process can be limited: leave --run-code out.")
    for wrapper in _wrappers():
        for user, reads in _users(wrapper):
            found = Confinement(wrapper, user, reads)
            if _run(PROBE, LIMITS, found).passed:
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


def _run(program: str, limits: Limits, confined: Confinement) -> Outcome:
    secret = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as script:
        if confined.user is not None:
            os.chown(folder, confined.user, confined.user)
        order = asdict(limits) | {"secret": secret, "user": confined.user, "reads": confined.reads, "present": _present(confined)}
        script.write(json.dumps(order).encode() + b"\n" + program.encode())
        script.seek(0)
        return _watch(folder, script, secret, limits, confined)


def _watch(folder: str, script: IO[bytes], secret: str, limits: Limits, confined: Confinement) -> Outcome:
    said, saying = os.pipe()
    with os.fdopen(said, "rb", buffering=0) as verdicts:
        try:
            process = subprocess.Popen(  # noqa: S603 - to run it is the purpose
                [*confined.wrapper, sys.executable, "-I", "-S", str(DRIVER), str(saying)],
                cwd=folder,
                env={},
                stdin=script,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(saying,),
                start_new_session=True,
            )
        finally:
            os.close(saying)
        try:
            assert process.stdout is not None, "it is a pipe"
            end, verdict = _listen(process.stdout, verdicts.fileno(), limits)
            return end or _judge(verdict, secret)
        finally:
            if not confined.wrapper and sys.platform == "linux":
                _kill_strays(process.pid)
            _kill(process)


def _listen(output: IO[bytes], said: int, limits: Limits) -> tuple[Outcome | None, bytes]:
    """What it says about its end, until that is said or can be said no more, and why it had to be ended if it had to.

    Output is read to keep the program going, and thrown away.
    """
    written, verdict, late = 0, b"", time.monotonic() + limits.seconds
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(said, selectors.EVENT_READ)
        while verdict.count(b"\n") < LINES and said in selector.get_map():
            left = late - time.monotonic()
            if left <= 0:
                return Outcome(End.LATE, f"It took longer than {limits.seconds:g} seconds."), b""
            for key, _ in selector.select(left):
                block = os.read(key.fd, BLOCK)
                if not block:
                    selector.unregister(key.fileobj)
                elif key.fd == said:
                    verdict += block
                else:
                    written += len(block)
                if written > limits.output or len(verdict) > BLOCK:
                    return Outcome(End.LOUD, f"It wrote more than {limits.output} bytes."), b""
    return None, verdict


def _judge(verdict: bytes, secret: str) -> Outcome:
    """Only who says the secret has come to the end: leaving early, with whatever status, is no success."""
    first, _, rest = verdict.partition(b"\n")
    if first != secret.encode():
        return Outcome(End.LEFT, "It left before its end.")
    message = rest.decode(errors="replace").strip()
    return Outcome(End.RAISED, message) if message else Outcome(End.PASSED)


def _kill_strays(driver: int) -> None:
    """End what left the driver's group, for as long as the driver is there, whose children orphans become: then nobody knows them."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(driver, signal.SIGSTOP)  # nothing of the group runs off meanwhile
    late = time.monotonic() + GRACE
    while (groups := _groups_below(driver) - {driver}) and time.monotonic() < late:
        for group in groups:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)


def _groups_below(ancestor: int) -> set[int]:
    """The groups of all processes that live and descend from one."""
    children: dict[int, list[tuple[int, int, str]]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent, leader = path.read_text(errors="replace").rpartition(")")[2].split()[:3]
            children.setdefault(int(parent), []).append((int(path.parent.name), int(leader), state))
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        for process, group, state in children.get(waiting.pop(), ()):
            waiting.append(process)
            if state != "Z":
                found.add(group)
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, which began as a session of its own; with it ends the namespace of processes, where there is one."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # all gone, or (macOS) only ended ones left
        process.kill()
    process.wait(GRACE)
    if process.stdout is not None:
        process.stdout.close()


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
