"""Tests of control groups: limits for a program with all processes, ended together."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.learn.evaluate.sandbox import cgroup
from pellucid.learn.evaluate.sandbox.cgroup import ControlGroup, limited
from pellucid.learn.evaluate.sandbox.judged_program import ProgramTest
from pellucid.learn.evaluate.sandbox.sandbox import Limits, ProgramEnd, ProgramOutcome, _run, confinement

SMALL = Limits(seconds=10, memory=200 << 20)
TOGETHER = """
import os, time
for _ in range(8):
    if not os.fork():
        held = bytearray(150 << 20)
        time.sleep(5)
        os._exit(0)
time.sleep(5)
"""
"""Eight processes, each below the memory limit."""

STAYS = (
    "import os, time\nif not os.fork():\n    os.setsid()\n"
    "    if not os.fork():\n        time.sleep(600)\n    os._exit(0)\nos.wait()\n"
)
"""Code of a process that starts its own session and outlives its parent."""

PARENT = cgroup.parent()


def run(program: str, *, groups: bool, wrapper: bool = True) -> ProgramOutcome:
    found = replace(confinement(), groups=groups)
    return _run(program, ProgramTest(), SMALL, found if wrapper else replace(found, wrapper=()))


@pytest.mark.process
@pytest.mark.parametrize("groups", [False, True] if PARENT else [False])
def test_memory_of_all_together(groups: bool) -> None:
    """Processes with too much memory together end the program with the same message."""
    assert run(TOGETHER, groups=groups) == ProgramOutcome(
        ProgramEnd.LARGE, f"Its processes used more than {SMALL.memory} bytes of memory together."
    )


if PARENT is not None:  # Many containers may not create groups.

    @pytest.fixture
    def parent() -> ControlGroup:
        """Return the group in which groups are created."""
        assert PARENT is not None
        return PARENT

    class TestAGroup:
        def test_the_end_of_a_group_is_that_of_its_processes(self, parent: ControlGroup) -> None:
            """A program's remaining processes end with the group, even without namespaces."""
            assert run(STAYS, groups=True, wrapper=False).passed
            assert not [
                one for folder in (parent.memory, parent.pids) for one in folder.glob(f"pellucid-{os.getpid()}-*")
            ]

        def test_processes_are_limited(self, parent: ControlGroup) -> None:
            """A group starts no more processes than its limit."""
            program = "for n in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait"
            with limited(parent, 1 << 28, 4) as made:
                shell = subprocess.run([*made.command, "/bin/sh", "-c", program], stderr=subprocess.DEVNULL, timeout=30)
                assert 1 <= len((made.pids / "cgroup.procs").read_text().split()) <= 4
            assert shell.returncode  # The shell could not start all processes.
            assert not made.memory.exists()
            assert not made.pids.exists()

        def test_no_process_leaves_its_group(self, parent: ControlGroup) -> None:
            """A program cannot move itself into a different group."""
            for folder in (parent.memory, parent.pids):
                outcome = run(f"open({str(folder / 'cgroup.procs')!r}, 'w').write('0')", groups=True)
                assert outcome.end is ProgramEnd.RAISED
                assert "PermissionError" in outcome.message

        def test_what_a_killed_process_left(self, parent: ControlGroup) -> None:
            """Groups of a killed process are removed with their processes, and live groups stay."""
            dead = subprocess.Popen(["/bin/true"])
            dead.wait()
            left = [folder / f"pellucid-{dead.pid}-{secrets.token_hex(4)}" for folder in parent.folders]
            for folder in left:
                folder.mkdir()
            group = ControlGroup(left[0], left[-1])
            with subprocess.Popen([*group.command, "sleep", "600"]) as sleeper, limited(parent, 1 << 28, 4) as ours:
                while str(sleeper.pid) not in (group.pids / "cgroup.procs").read_text().split():
                    assert sleeper.poll() is None
                cgroup._sweep(parent)
                assert sleeper.wait(30) == -signal.SIGKILL
                assert not any(folder.exists() for folder in left)
                assert all(folder.exists() for folder in ours.folders)


class TestPlaces:
    def test_version_1(self, tmp_path: Path) -> None:
        """Each controller has a hierarchy, mounted from the root or from a container's group."""
        for name in ("memory/a/b", "pids"):
            (tmp_path / name).mkdir(parents=True)
        mounts = (
            f"31 22 0:27 / {tmp_path}/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
            f"32 22 0:28 /a/b {tmp_path}/pids rw,relatime - cgroup cgroup rw,pids\n"
        )
        own = "5:memory:/a/b\n4:pids:/a/b\n0::/\n"
        assert list(cgroup._candidates(mounts, own)) == [ControlGroup(tmp_path / "memory/a/b", tmp_path / "pids")]

    def test_version_2(self, tmp_path: Path) -> None:
        """A single hierarchy may have limits in the parent if the own group has processes."""
        own = tmp_path / "user.slice/app.scope"
        own.mkdir(parents=True)
        for folder in (own, own.parent):
            (folder / "cgroup.procs").touch()
        mounts = f"30 22 0:26 / {tmp_path} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        found = list(cgroup._candidates(mounts, "0::/user.slice/app.scope\n"))
        assert found == [ControlGroup(own, own), ControlGroup(own.parent, own.parent)]

    def test_the_root_of_a_mount(self, tmp_path: Path) -> None:
        """No group is expected above the root of a mounted hierarchy."""
        root = tmp_path / "cgroup"
        root.mkdir()
        (root / "cgroup.procs").touch()
        mounts = f"30 22 0:26 / {root} rw - cgroup2 cgroup2 rw\n"
        assert list(cgroup._candidates(mounts, "0::/\n")) == [ControlGroup(root, root)]

    def test_no_groups(self) -> None:
        """A system without control groups has no parent group."""
        assert list(cgroup._candidates("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "")) == []

    def test_an_ordinary_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder that is not a group has no limits, kills no process, and stays empty."""
        killed: list[int] = []
        monkeypatch.setattr(os, "kill", lambda process, _: killed.append(process))
        with pytest.raises(FileNotFoundError), limited(ControlGroup(tmp_path, tmp_path), 1 << 28, 4):
            pass
        assert list(tmp_path.iterdir()) == []
        # A process of a foreign namespace is read as 0.
        (tmp_path / "cgroup.procs").write_text("0\n")
        cgroup._remove(tmp_path, within=0.01)
        assert killed == []
