"""The native kernels' library: C compiled once by the system's compiler.

The sources lie in ``native/``: no header of torch's, so that they compile in seconds and outlive torch's ABI. The library
is kept in a cache folder under the hash of sources, flags, compiler and processor.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

_SOURCES = Path(__file__).parent / "native"
# Sums are taken in the order they are written in: a result must not depend on how a loop was compiled.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_TARGETS = {"native": (), "avx2": ("-march=x86-64-v3",), "portable": ()}


class KernelsUnavailableError(Exception):
    """Says in one sentence why there are no native kernels here."""


def compiled_library(target: str, folder: Path, compiler: str | None) -> Path:
    """The library for a target (native, avx2 or portable), compiled unless it lies in the folder already.

    Raises KernelsUnavailableError where there is no compiler, or it fails.
    """
    command = [*_compiler(compiler), *_FLAGS, *_TARGETS[target]]
    if target == "native":
        command.append("-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native")
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".c", ".h"))
    # The predefined macros tell the compiler's version and the instructions that "native" means here.
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([*command, macros, *(path.read_text() for path in sources)]).encode()).hexdigest()[:20]
    library = folder / f"kernels-{target}-{key}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "kernels.lock"), tempfile.TemporaryDirectory(dir=folder) as workspace:
            if not library.exists():
                built = Path(workspace) / library.name
                _run([*command, str(_SOURCES / "kernels.c"), "-lm", "-o", str(built)])
                built.replace(library)  # under its name there is a whole library or none
    except OSError as error:
        raise KernelsUnavailableError(f"The kernels cannot be kept in {folder}: {error.strerror or error}.") from error
    return library


def _compiler(compiler: str | None) -> list[str]:
    named = compiler or os.environ.get("CC")
    if named is not None:
        return shlex.split(named)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise KernelsUnavailableError("There is no C compiler here: install gcc or clang, or name one in the variable CC.")


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (the user's own compiler)
    except OSError as error:
        raise KernelsUnavailableError(f"The C compiler {command[0]!r} cannot be run: {error.strerror or error}.") from error
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr.strip()[-200:])
        raise KernelsUnavailableError(f"The C compiler {command[0]!r} fails on the kernels: {said}") from error
