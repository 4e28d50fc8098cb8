"""The native kernels' library: C compiled once by the system's compiler, and loaded.

The sources lie in ``native/``: no header of torch's, so that they compile in seconds and outlive torch's ABI. The library
is kept in a cache folder. Its name holds two hashes: one of sources, flags, compiler and processor, which says what it was made
of, and the SHA-256 of its content, which says that it is whole. It is loaded only if its content matches and no other user
of the machine could have put it there; else it is compiled again. Where the cache folder cannot be used, it is compiled in
a temporary folder at each start.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pellucid.system.trusted_files import UntrustedError, is_private_file, require_private_folder

_SOURCES = Path(__file__).parent
# Sums are taken in the order they are written in: a result must not depend on how a loop was compiled.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_TARGETS = {"native": (), "avx2": ("-march=x86-64-v3",), "portable": ()}
_LONGEST_COMPILATION = 600.0
"""Seconds, many times what a compiler needs: one that hangs must not keep a server from starting."""

_log = logging.getLogger(__name__)


class KernelsUnavailableError(Exception):
    """Says in one sentence why there are no native kernels here, and in another what helps."""


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library.

    ``build`` tells its sources, flags, compiler and processor from any others. ``warning`` says why it could not be kept for
    the next start, and what helps; it is empty where it was.
    """

    code: ctypes.CDLL
    build: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A command that compiles the kernels once a target file is added to it, and the name of what comes out."""

    command: tuple[str, ...]
    build: str


def load_library(target: str, folder: Path, compiler: str | None) -> Library:
    """Load the library for a target (native, avx2 or portable), compiling it unless a good one lies in the folder.

    Raises KernelsUnavailableError where there is no compiler, or it fails, or nothing can be loaded from any folder.
    """
    recipe = _recipe(target, compiler)
    try:
        return Library(_load_from(folder, recipe), recipe.build)
    except (OSError, UntrustedError) as error:
        reason = (
            str(error)
            if isinstance(error, UntrustedError)
            else f"{folder} cannot hold them ({_said(error)}): make it writable, or set another cache folder."
        )
    try:
        with tempfile.TemporaryDirectory(prefix="pellucid-kernels-") as private:  # a loaded library no longer needs its file
            code = _load_from(Path(private), recipe)
    except (OSError, UntrustedError) as error:
        raise KernelsUnavailableError(
            f"The compiled kernels can be loaded neither from the cache folder nor from a temporary one ({_said(error)}). {reason} "
            "Files must be executable there (no noexec mount), and the variable TMPDIR names another temporary folder."
        ) from error
    return Library(code, recipe.build, f"The native kernels are compiled at every start, which takes longer. {reason}")


def _recipe(target: str, compiler: str | None) -> _Recipe:
    command = [*_compiler(compiler), *_FLAGS, *_TARGETS[target]]
    if target == "native":
        command.append("-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native")
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".c", ".h"))
    # The predefined macros tell the compiler's version and the instructions that "native" means here.
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([*command, macros, *(path.read_text() for path in sources)]).encode()).hexdigest()[:20]
    return _Recipe((*command, str(_SOURCES / "kernels.c"), "-lm", "-o"), f"kernels-{target}-{key}")


def _load_from(folder: Path, recipe: _Recipe) -> ctypes.CDLL:
    """Load the library from a folder, compiled into it where no good one is there.

    Because the folder was checked first, no other user can replace the file between its check and its loading.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = folder.resolve()
    require_private_folder(folder)
    found = _find(folder, recipe)
    if found is None:
        with FileLock(folder / "kernels.lock", mode=0o600):  # a lock that others can open they can also hold
            found = _find(folder, recipe) or _compile(folder, recipe)
    return ctypes.CDLL(str(found))


def _find(folder: Path, recipe: _Recipe) -> Path | None:
    """Return a library whose content matches the hash in its name; None if there is none."""
    for path in sorted(folder.glob(f"{recipe.build}-*.so")):
        with suppress(OSError):  # it cannot be read, or another process has just replaced it
            if is_private_file(path) and path.name == _name(recipe, path):
                return path
        _log.warning("The compiled kernels in %s are damaged, or other users can write to them: they are compiled again.", path)
    return None


def _compile(folder: Path, recipe: _Recipe) -> Path:
    """Compile in a temporary folder and move the result into place; older files of this build are deleted."""
    old = set(folder.glob(f"{recipe.build}*.so"))
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        built = Path(workspace) / "kernels.so"
        _run([*recipe.command, str(built)], TMPDIR=workspace)
        built.chmod(0o755)
        library = folder / _name(recipe, built)
        with built.open("rb") as file:
            os.fsync(file.fileno())
        built.replace(library)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for path in old - {library}:
        path.unlink(missing_ok=True)
    return library


def _name(recipe: _Recipe, content: Path) -> str:
    return f"{recipe.build}-{hashlib.sha256(content.read_bytes()).hexdigest()}.so"


def _compiler(compiler: str | None) -> list[str]:
    named = compiler or os.environ.get("CC")
    if named is not None:
        return shlex.split(named)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise KernelsUnavailableError(
        "No C compiler was found: install gcc or clang (Debian: apt-get install gcc libc6-dev), or name one in the variable CC."
    )


def _run(command: list[str], **environment: str) -> str:
    try:
        return subprocess.run(  # noqa: S603 (the user's own compiler)
            command, check=True, capture_output=True, text=True, env=os.environ | environment, timeout=_LONGEST_COMPILATION
        ).stdout
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr.strip()[-200:])
        reason = f"fails on the kernels: {said}"
    except subprocess.TimeoutExpired:
        reason = f"takes longer than {_LONGEST_COMPILATION:.0f} seconds."
    except OSError as error:
        reason = f"cannot be run: {_said(error)}."
    raise KernelsUnavailableError(
        f"The C compiler {command[0]!r} {reason} Install another one (Debian: apt-get install gcc libc6-dev) or name it in the variable CC."
    )


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
