"""Tests of the sandbox: programs end in time, and pass only at their end."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.errors import NotSupportedError
from pellucid.learn.evaluate.sandbox import process_tree, sandbox
from pellucid.learn.evaluate.sandbox.sandbox import (
    DRIVER,
    Confinement,
    Limits,
    ProgramEnd,
    ProgramOutcome,
    confinement,
    run_program,
)

pytestmark = pytest.mark.usefixtures("sandbox_alone")

SHORT = Limits(seconds=1.5, memory=256 << 20, file=1 << 16, output=1 << 16, processes=16)

PATIENT = replace(SHORT, seconds=30)
"""Limits for programs with a normal, but on a busy machine slow, end."""

SOON = 50
"""Seconds: fewer than programs and children sleep."""

FORKS = """
import os, time
started = 0
for _ in range(200):
    try:
        child = os.fork()
    except OSError:
        break
    if not child:
        time.sleep(60)
        os._exit(0)
    started += 1
else:
    raise AssertionError("nothing bounded it")
assert 0 < started < 200, started
"""

BOMB = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"

FILE = """
import os

try:
    with open("large", "wb", buffering=0) as file:
        while True:
            assert file.write(b"x" * 4096)
except OSError:
    size = os.stat("large").st_size
assert 0 < size <= 1 << 16, size
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "end", "message"),
    [
        ("x = 1\n", ProgramEnd.PASSED, ""),
        ("import sys\nprint('loud' * 100)\nsys.stderr.write('louder' * 100)\n", ProgramEnd.PASSED, ""),
        ("assert 1 == 2, 'no'\n", ProgramEnd.RAISED, "AssertionError: no"),
        ("def broken(:\n", ProgramEnd.RAISED, "SyntaxError"),
        ("import sys\nsys.exit(0)\nassert False\n", ProgramEnd.RAISED, "SystemExit: 0"),
        ("import os\nos._exit(0)\n", ProgramEnd.LEFT, "It exited before its end."),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", ProgramEnd.LEFT, "It exited"),
        ("while True:\n    pass\n", ProgramEnd.LATE, "It took longer than 1.5 seconds."),
        ("input()\n", ProgramEnd.RAISED, "EOFError"),
        ("import os\nos.read(os.pipe()[0], 1)\n", ProgramEnd.LATE, "It took longer"),
        ("import os\nos.close(1)\nos.close(2)\nos.closerange(0, 3)\n", ProgramEnd.PASSED, ""),
        ("import os\nos.closerange(0, 256)\n", ProgramEnd.LEFT, "It exited"),
        ("while True:\n    print('x' * 1000)\n", ProgramEnd.LOUD, "It wrote more than 65536 bytes."),
        ("held = []\nwhile True:\n    held.append(bytearray(1 << 20))\n", ProgramEnd.RAISED, "MemoryError"),
        ("import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time\ntime.sleep(60)\n", None, ""),
        (FILE, ProgramEnd.PASSED, ""),
        (
            "import os\nassert set(os.environ) <= {'LC_CTYPE'}, os.environ\n",
            ProgramEnd.PASSED,
            "",
        ),  # Python itself sets this variable.
        ("import pytest\n", ProgramEnd.RAISED, "ModuleNotFoundError"),
        ("import os\nopen('own', 'w').write('mine')\nassert os.listdir() == ['own']\n", ProgramEnd.PASSED, ""),
        ("assert __name__ != '__main__'\n", ProgramEnd.PASSED, ""),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: 'int' = 1\nassert A().x == 1\n",
            ProgramEnd.PASSED,
            "",
        ),
    ],
)
def test_programs(program: str, end: ProgramEnd | None, message: str) -> None:
    """Each program ends in time and passes only at the end; None accepts any failure."""
    begun = time.monotonic()
    outcome = run_program(program, SHORT if end in (ProgramEnd.LATE, None) else PATIENT)
    assert time.monotonic() - begun < SOON
    assert outcome.end is end if end is not None else not outcome.passed
    assert outcome.message.startswith(message)


STRAYS = """
import os, time
pipe_out, pipe_in = os.pipe()
for number in range(2):  # the second one loses its parent
    if not os.fork():
        os.setsid()
        if number and os.fork():
            os._exit(0)
        os.write(pipe_in, b"x")
        time.sleep(60)
assert os.read(pipe_out, 1) + os.read(pipe_out, 1) == b"xx"
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_children_die() -> None:
    """Child processes do not outlive the program."""
    assert run_program("import os, time\nif not os.fork():\n    time.sleep(60)\n", PATIENT).passed
    assert run_program(STRAYS, PATIENT).passed
    _wait_for_the_end()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes are looked up in /proc")
def test_process_that_ends_while_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without a file is left out, and all live processes are found."""
    listed = [Path("/proc", str(2**22 + 1)), *Path("/proc").iterdir()]
    monkeypatch.setattr(Path, "iterdir", lambda _: listed)
    assert os.getpid() in dict(process_tree.all_processes("stat"))


def _wait_for_the_end() -> None:
    late = time.monotonic() + SOON
    while _running():
        assert time.monotonic() < late, "it lives"
        time.sleep(0.02)


def _running() -> list[Path]:
    """Return the processes of programs, without zombies."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(DRIVER).encode() in file.read_bytes():
                found.append(file)
    return found


@pytest.mark.process
@pytest.mark.skipif(os.geteuid() == 0 and confinement().user is None, reason="a superuser's forks know no limit here")
def test_fork_bomb() -> None:
    """The number of processes is limited, and a fork bomb ends in time."""
    assert run_program(FORKS, PATIENT) == ProgramOutcome(ProgramEnd.PASSED)
    assert run_program(BOMB, SHORT).end is ProgramEnd.LATE
    assert run_program("x = 1", PATIENT).passed  # The machine is as before.


@pytest.mark.process
def test_user() -> None:
    """A superuser's program runs as nobody, and cannot change the user."""
    if confinement().user is None:
        pytest.skip("it is no superuser's")
    assert run_program("import os\nassert os.getuid() == os.geteuid() == 65534").passed
    assert run_program("import os\nos.setuid(0)").message.startswith("PermissionError")
    assert not run_program("open('/etc/passwd', 'a')").passed


@pytest.mark.parametrize(
    ("confined", "words"),
    [
        (
            Confinement(),
            "with the network, which this system cannot block, a view of all processes and all files of their user, "
            "as the user who started it, limited by counting",
        ),
        (
            Confinement(("unshare", *sandbox.NAMESPACES, sandbox.OWN_PROC), 65534, reads=True),
            "with no network, no view of other processes and all files of their user, as nobody, "
            "who may read every file, limited by counting",
        ),
        (
            Confinement(user=65534, reads=True, landlock=True, seccomp=True, groups=True),
            "with no network, no view of other processes and only Python's files, "
            "the system's libraries and their own files, as nobody, limited by a control group",
        ),
    ],
)
def test_words(confined: Confinement, words: str) -> None:
    """The report's description of the confinement names each missing part."""
    assert str(confined) == words


@pytest.mark.process
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who adopts orphans")
@pytest.mark.parametrize("end", ["", "time.sleep(60)"])
def test_strays_without_any_namespace(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """On Linux, an orphan in a new session ends with the program, however the program ends."""
    monkeypatch.setattr(sandbox, "confinement", Confinement)
    begun = time.monotonic()
    assert run_program(STRAYS + end, SHORT if end else PATIENT).end is (ProgramEnd.LATE if end else ProgramEnd.PASSED)
    assert time.monotonic() - begun < SOON
    _wait_for_the_end()


@pytest.mark.process
@pytest.mark.skipif(sandbox.OWN_PROC not in confinement().wrapper, reason="this system has no namespaces for everybody")
def test_processes_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with its own /proc sees only itself and its parent, and cannot restore /proc."""
    without = replace(confinement(), landlock=False)  # Landlock hides all of /proc.
    monkeypatch.setattr(sandbox, "confinement", lambda: without)
    program = "import os\nassert len([name for name in os.listdir('/proc') if name.isdigit()]) <= 2\n"
    program += "import ctypes\nassert ctypes.CDLL(None).umount2(b'/proc', 2)\n"
    assert run_program(program) == ProgramOutcome(ProgramEnd.PASSED)


def test_no_limits_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot limit a process runs no program."""
    confinement.cache_clear()
    monkeypatch.setattr(sandbox, "_run", lambda program, check, limits, confined: ProgramOutcome(ProgramEnd.LEFT))
    with pytest.raises(NotSupportedError, match="omit --run-code"):
        run_program("x = 1")
    confinement.cache_clear()
