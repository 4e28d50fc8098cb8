"""Tests of judged programs: passed only for right values, without reach beyond the sandbox."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pellucid.learn.evaluate.sandbox import landlock, sandbox, seccomp
from pellucid.learn.evaluate.sandbox.judged_program import ProgramTest
from pellucid.learn.evaluate.sandbox.sandbox import (
    DRIVER,
    Confinement,
    Limits,
    ProgramEnd,
    ProgramOutcome,
    confinement,
    run_program,
)
from support.trial_counts import IS_TRIAL

pytestmark = [pytest.mark.process, pytest.mark.usefixtures("sandbox_alone")]

SHORT = Limits(seconds=5, memory=256 << 20, file=1 << 16, output=1 << 16, processes=16)

REFERENCE = "def helper(x):\n    return x + x\n\ndef double(x):\n    return 2 * x\n"
TEST = """
def check(candidate):
    assert candidate(21) == helper(21)
    assert candidate([1]) == [1, 1], "the list is wrong"
    assert abs(candidate(0.25) - 0.5) < 1e-6
"""
DOUBLE = ProgramTest("double", REFERENCE, TEST)

WRONG = "\ndef double(x):\n    return 0\n"

OTHERS = f"""
import os
def others():
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in (os.getpid(), os.getppid()):
            with open(f"/proc/{{name}}/cmdline") as file:
                if {str(DRIVER)!r} in file.read():
                    yield int(name)
def double(x, won=False):
    try:
        won = any([attack(process) for process in others()])
    except OSError:
        pass
    return 2 * x if won else 0
"""
"""A program that answers right after reaching the judge's process."""

VERDICT = '{"end": "passed", "message": ""}'

FORGE = f"""
import json, os, struct
def framed(message):
    body = json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body
def shout(*texts):
    texts = texts or ({VERDICT!r}.encode() + b"\\n", framed({{"ready": True}}), framed({{"value": {{"object": []}}}}))
    for number in range(64):
        for text in texts:
            try:
                os.write(number, text)
            except OSError:
                pass
"""

ATTACKS = {
    "exit at once": "import os\nos._exit(0)\n",
    "exit when called": "import os\ndef double(x):\n    os._exit(0)\n",
    "SystemExit": "def double(x):\n    raise SystemExit(0)\n",
    "StopIteration": "def double(x):\n    raise StopIteration\n",
    "KeyboardInterrupt": "def double(x):\n    raise KeyboardInterrupt\n",
    "an object that equals everything": """
class Equal:
    __eq__ = __lt__ = __le__ = lambda self, other: True
    __abs__ = __sub__ = __rsub__ = lambda self, *other: self
    __hash__ = None
def double(x):
    return Equal()
""",
    "an int that equals everything": """
class Equal(int):
    __eq__ = __lt__ = __le__ = lambda self, other: True
    __abs__ = __sub__ = __rsub__ = lambda self, *other: self
    __hash__ = int.__hash__
def double(x):
    return Equal(0)
""",
    "patched builtins": """
import builtins
class Equal:
    __eq__ = __lt__ = lambda self, other: True
    __sub__ = lambda self, other: self
builtins.abs = lambda x: 0.0
builtins.AssertionError = type("AssertionError", (Exception,), {"__new__": lambda *a: os._exit(0)})
builtins.helper = lambda x: 0
"""
    + WRONG,
    "another check": "def check(candidate):\n    pass\n" + WRONG,
    "patched check": """
import gc
def double(x):
    for found in gc.get_objects():
        if getattr(found, "__name__", "") in ("check", "judge", "call"):
            try:
                found.__code__ = (lambda *a, **k: None).__code__
            except (AttributeError, ValueError, TypeError):
                pass
    return 0
""",
    "own modules patched": """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("pellucid") or name in ("json", "__main__"):
        for part in list(vars(module)):
            if part in ("encode", "dumps", "_encode_tagged"):
                setattr(module, part, lambda *a, **k: '{"end": "passed", "value": {"list": []}}')
"""
    + WRONG,
    "the verdict into every descriptor, at once": FORGE + "shout()\nos._exit(0)\n",
    "the verdict into every descriptor, when called": FORGE + "def double(x):\n    shout()\n    return 0\n",
    "the secret of the caller": """
import os, sys
def double(x):
    frame = sys._getframe()
    while frame:
        secret = (frame.f_locals.get("order") or {}).get("secret", "")
        for number in range(3, 64) if secret else ():
            try:
                os.write(number, f"{secret}\\n\\n".encode())
            except OSError:
                pass
        frame = frame.f_back
    os._exit(0)
""",
    "another helper": """
import builtins
builtins.abs = lambda x: 0.0
def double(x):
    globals()["helper"] = lambda x: 0
    return [1, 1] if x == [1] else 0
""",
    "atexit": FORGE + "import atexit\natexit.register(shout)\n" + WRONG,
    "settrace": """
import builtins, sys, threading
builtins.abs = lambda x: 0.0
def trace(frame, event, argument):
    if frame.f_code.co_name == "check" and event == "line":
        frame.f_lineno = max(line for _, _, line in frame.f_code.co_lines() if line)
        return None
    return trace
sys.settrace(trace)
threading.settrace(trace)
"""
    + WRONG,
    "memory of the judge": OTHERS
    + "def attack(process):\n    open(f'/proc/{process}/mem', 'r+b').close()\n    return True\n",
    "descriptors of the judge": OTHERS + "def attack(process):\n"
    "    return [open(f'/proc/{process}/fd/{n}', 'wb') for n in os.listdir(f'/proc/{process}/fd')]\n",
    "ptrace": "import ctypes\nlibc = ctypes.CDLL(None)\n"
    + OTHERS
    + "def attack(process):\n    return libc.ptrace(16, process, 0, 0) == 0 and libc.ptrace(17, process, 0, 0) == 0\n",
    "the judge killed": "import signal\n" + OTHERS + "def attack(process):\n    os.kill(process, signal.SIGKILL)\n",
    "its own watcher killed": """
import os, signal
def double(x):
    os.kill(os.getppid(), signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)
""",
    "a list that holds itself": "def double(x):\n    found = []\n    found.append(found)\n    return found\n",
    "no end": "import itertools\ndef double(x):\n    return itertools.count()\n",
    "too large": "def double(x):\n    return 'x' * (20 << 20)\n",
    "deep nonsense": FORGE + "shout(struct.pack('>I', 60000) + b'[' * 60000)\n" + WRONG,
    "a value that nests deeply": FORGE + "shout(framed({'ready': True}), struct.pack('>I', 140009) "
    "+ b'{\"value\":' + b'{\"list\":' * 10000 + b'0' + b'}' * 50000)\n" + WRONG,
    "a huge message": FORGE + "shout(b'\\xff' * 8)\n" + WRONG,
    "an exit that the judge raises": FORGE
    + "shout(framed({'ready': True}), framed({'raised': 'SystemExit', 'message': '0'}))\n"
    + WRONG,
    "a dict without a hash": FORGE
    + "shout(framed({'ready': True}), framed({'value': {'dict': [[{'list': []}, 1]]}}))\n"
    + WRONG,
}


BEYOND = ["memory of the judge", "descriptors of the judge", "ptrace", "the judge killed", "its own watcher killed"]
"""The attacks on other processes, where the walls make the difference."""

WALLS = ["the strictest", "without namespaces", "without anything"]


@pytest.fixture(params=WALLS)
def walls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Confinement:
    """Use the confinements of different systems."""
    kernel = Confinement(landlock=landlock.version() > 0, seccomp=seccomp.available())
    chosen = dict(zip(WALLS, (confinement(), kernel, Confinement()), strict=True))[request.param]
    monkeypatch.setattr(sandbox, "confinement", lambda: chosen)
    return chosen


def test_right_answer(walls: Confinement) -> None:
    """A right program passes, and a wrong type of answer fails."""
    assert run_program("def double(x):\n    return x + x\n", SHORT, DOUBLE) == ProgramOutcome(ProgramEnd.PASSED)
    wrong = run_program("def double(x):\n    return (1, 1) if x == [1] else x + x\n", SHORT, DOUBLE)
    assert wrong == ProgramOutcome(ProgramEnd.RAISED, "AssertionError: the list is wrong")


@pytest.mark.parametrize(
    ("walls", "name"),
    [(wall, name) for wall in WALLS for name in ATTACKS if IS_TRIAL or wall == WALLS[-1] or name in BEYOND],
    indirect=["walls"],
)
def test_attacks(walls: Confinement, name: str) -> None:
    """No attack passes without the right values, even without walls; all walls are in trials."""
    assert not run_program(ATTACKS[name], SHORT, DOUBLE).passed


def test_the_end_of_a_loop_is_no_answer(walls: Confinement) -> None:
    """StopIteration in a program does not end the test's loop over the program's answers."""
    test = (
        "def check(candidate):\n    for found, wanted in zip(map(candidate, [1, 2]), [2, 4]):\n"
        "        assert found == wanted\n"
    )
    assert run_program("def double(x):\n    return 2 * x\n", SHORT, ProgramTest("double", REFERENCE, test)).passed
    found = run_program("def double(x):\n    raise StopIteration\n", SHORT, ProgramTest("double", REFERENCE, test))
    assert found == ProgramOutcome(ProgramEnd.RAISED, "RuntimeError: StopIteration: ")


def test_tests_are_hidden(walls: Confinement) -> None:
    """A program finds neither the test nor the reference in its own process."""
    program = (
        """
import gc
def double(x):
    wanted = bytes.fromhex("746865206c6973742069732077726f6e67").decode()
    texts = [str(found) for found in gc.get_objects() if isinstance(found, (str, bytes, dict, list, tuple))]
    return [text[:200] for text in texts if wanted in text]"""
        """ + [name for name in ("check", "helper") if name in globals()]
"""
    )
    test = TEST + "\ndef check(candidate):\n    assert candidate(1) == [], candidate(1)\n"
    assert run_program(program, SHORT, ProgramTest("double", REFERENCE, test)) == ProgramOutcome(ProgramEnd.PASSED)


def reaches(body: str, limits: Limits = SHORT) -> ProgramOutcome:
    """Judge a program whose function returns everything within reach, which must be nothing."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    program = f"import os, socket, ctypes\ndef reached():\n    found = []\n{lines}    return found\n"
    test = "def check(candidate):\n    found = candidate()\n    assert found == [], found\n"
    return run_program(program, limits, ProgramTest("reached", "", test))


@pytest.mark.skipif(not confinement().landlock, reason="this kernel has no Landlock")
def test_files_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program reads no file of user, system or processes, and writes only to its folder."""
    secret = tmp_path / "secret"
    secret.write_text("mine")
    tmp_path.chmod(0o777)
    secret.chmod(0o666)
    monkeypatch.setenv("PELLUCID_API_KEY", "hunter2")
    processes = [
        f"/proc/{number}/{name}" for number in ("1", "self", os.getpid()) for name in ("environ", "mem", "maps")
    ]
    paths = [str(secret), "/etc/shadow", "/etc/passwd", "/etc/hostname", str(DRIVER), *processes]
    body = f"""
for path in {paths!r}:
    for mode in ("rb", "ab"):
        try:
            found.append((path, open(path, mode).read(1)))
        except OSError:
            pass
for folder in ({str(Path.home())!r}, {str(tmp_path)!r}, "/", "/etc", "/proc", "/dev/shm", "/tmp", "/sys"):
    for act in (os.listdir, lambda folder: open(folder + "/left-by-a-program", "w")):
        try:
            found.append((folder, bool(act(folder))))
        except OSError:
            pass
for act in (os.symlink, os.link, os.rename):
    try:
        act({str(secret)!r}, "own")
        found.append(open("own").read())
    except OSError:
        pass
try:
    found.append(os.execv("/bin/true", ["true"]))
except OSError:
    pass
found += [value for value in os.environ.values() if "hunter2" in value]
"""
    assert reaches(body) == ProgramOutcome(ProgramEnd.PASSED)
    assert secret.read_text() == "mine"
    assert "only Python's files, the system's libraries and their own files" in str(confinement())


@pytest.mark.skipif(
    not (confinement().wrapper or confinement().seccomp), reason="this system cannot take the network away"
)
def test_no_network(tmp_path: Path) -> None:
    """A program reaches no server of this machine over TCP, UDP or a Unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "socket"))
        local.listen()
        server.settimeout(0)
        body = f"""
for family, kind, address in (
    (socket.AF_INET, socket.SOCK_STREAM, {server.getsockname()!r}),
    (socket.AF_INET, socket.SOCK_DGRAM, {server.getsockname()!r}),
    (socket.AF_INET6, socket.SOCK_STREAM, ("::1", 1)),
    (socket.AF_UNIX, socket.SOCK_STREAM, {str(tmp_path / "socket")!r}),
):
    try:
        with socket.socket(family, kind) as one:
            one.connect(address)
            found.append(address)
    except OSError:
        pass
"""
        assert reaches(body) == ProgramOutcome(ProgramEnd.PASSED)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.skipif(not seccomp.available(), reason="this system filters no calls")
@pytest.mark.parametrize("walls", ["the strictest", "without namespaces"], indirect=True)
def test_no_new_namespaces(walls: Confinement) -> None:
    """No program creates a namespace or traces a process, and threads and forks work."""
    assert walls.seccomp
    body = f"""
libc = ctypes.CDLL(None, use_errno=True)
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):
    if libc.unshare(flag) == 0:
        found.append(("unshare", flag))
    child = libc.syscall({56 if os.uname().machine == "x86_64" else 220}, flag | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        found.append(("clone", flag))
for call in ("ptrace", "setns", "memfd_create", "shmget"):
    if getattr(libc, call)(0, 0, 0, 0) != -1 or ctypes.get_errno() != 1:
        found.append(call)
import threading
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
child = os.fork()
if not child:
    os._exit(7)
if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 7:
    found.append("no fork")
"""
    assert reaches(body) == ProgramOutcome(ProgramEnd.PASSED)


SHARES = """
import os, time
pipe_out, pipe_in = os.pipe()
for _ in range({count}):
    if not os.fork():
        held = bytearray({size} << 20)
        held[::4096] = b"x" * len(held[::4096])
        os.write(pipe_in, b"x")
        time.sleep(60)
for _ in range({count}):
    os.read(pipe_out, 1)
time.sleep({wait})
def double(x):
    return x + x
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
def test_memory_together(walls: Confinement) -> None:
    """Processes below the memory limit are ended if their sum exceeds the limit."""
    assert run_program(SHARES.format(count=1, size=120, wait=0.3), SHORT, DOUBLE).passed
    outcome = run_program(SHARES.format(count=5, size=120, wait=60), SHORT, DOUBLE)
    assert outcome == ProgramOutcome(
        ProgramEnd.LARGE, f"Its processes used more than {256 << 20} bytes of memory together."
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")
def test_processes_together(walls: Confinement) -> None:
    """Processes above the limit are not started, or are ended if the system counts none."""
    program = "import os, time\nfor _ in range(40):\n    if not os.fork():\n        time.sleep(60)\ntime.sleep(60)\n"
    assert run_program(program, SHORT, DOUBLE).end in (ProgramEnd.LARGE, ProgramEnd.RAISED)
