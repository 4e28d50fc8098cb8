"""Compilation of the native kernels with the system's C compiler, and loading.

The sources use no torch header, so compilation takes seconds and does not depend on torch's ABI.
The library is kept in a cache folder. Its name has two hashes: the build (sources, flags, compiler
and CPU) and the SHA-256 of the content. A library is loaded only if the content matches and no
other user could have written the file; otherwise the kernels are compiled again. If the cache
folder is unusable, each start compiles in a temporary folder.
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
# Sums keep the order of the source: results must not depend on the compiler.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_TARGETS = {"native": (), "avx2": ("-march=x86-64-v3",), "portable": ()}
_COMPILATION_SECONDS = 600.0
"""A generous limit: a compiler that hangs must not keep a server from starting."""

_log = logging.getLogger(__name__)


class KernelsUnavailableError(Exception):
    """Missing native kernels. The message has a sentence with the reason, and a remedy."""


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library.

    ``build`` identifies sources, flags, compiler and CPU. ``warning`` is the reason, with the
    remedy, why the library could not be kept for the next start, else "".
    """

    code: ctypes.CDLL
    build: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class _Recipe:
    command: tuple[str, ...]
    build: str


def load_library(target: str, folder: Path, compiler: str | None) -> Library:
    """Load the library for a target (native, avx2 or portable); compile if not in the folder."""
    recipe = _recipe(target, compiler)
    try:
        return Library(_load_from(folder, recipe), recipe.build)
    except (OSError, UntrustedError) as error:
        reason = (
            str(error)
            if isinstance(error, UntrustedError)
            else f"They cannot be saved in {folder} ({_text_of(error)}): make it writable, or set another cache folder."
        )
    try:
        # A loaded library no longer needs the file.
        with tempfile.TemporaryDirectory(prefix="pellucid-kernels-") as private:
            code = _load_from(Path(private), recipe)
    except (OSError, UntrustedError) as error:
        raise KernelsUnavailableError(
            "The compiled kernels can be loaded neither from the cache folder nor from a temporary one "
            f"({_text_of(error)}). {reason} Use folders whose files may be executed (no noexec mount); "
            "the variable TMPDIR sets another temporary folder."
        ) from error
    return Library(code, recipe.build, f"The native kernels are compiled at every start, which takes longer. {reason}")


def _recipe(target: str, compiler: str | None) -> _Recipe:
    command = [*_compiler(compiler), *_FLAGS, *_TARGETS[target]]
    if target == "native":
        command.append("-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native")
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".c", ".h"))
    # The predefined macros identify the compiler's version and the "native" instructions.
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([*command, macros, *(path.read_text() for path in sources)]).encode()).hexdigest()[
        :20
    ]
    return _Recipe((*command, str(_SOURCES / "kernels.c"), "-lm", "-o"), f"kernels-{target}-{key}")


def _load_from(folder: Path, recipe: _Recipe) -> ctypes.CDLL:
    """Load the library from a folder; compile if the folder has no valid library.

    The folder is checked first, so no other user can replace the file before loading.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = folder.resolve()
    require_private_folder(folder)
    library = _find(folder, recipe)
    if library is None:
        with FileLock(folder / "kernels.lock", mode=0o600):  # A user who can open a lock can also hold it.
            library = _find(folder, recipe) or _compile(folder, recipe)
    return ctypes.CDLL(str(library))


def _find(folder: Path, recipe: _Recipe) -> Path | None:
    """Return a library with content that matches the hash in its name."""
    for path in sorted(folder.glob(f"{recipe.build}-*.so")):
        with suppress(OSError):  # Unreadable, or just replaced by another process.
            if is_private_file(path) and path.name == _name(recipe, path):
                return path
        _log.warning(
            "The compiled kernels in %s are damaged or writable by other users, so they are compiled again.", path
        )
    return None


def _compile(folder: Path, recipe: _Recipe) -> Path:
    """Compile in a temporary folder, move the result into place, and delete older files."""
    old = set(folder.glob(f"{recipe.build}*.so"))
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        built = Path(workspace) / "kernels.so"
        _run([*recipe.command, str(built)], TMPDIR=workspace)
        built.chmod(0o755)
        library = folder / _name(recipe, built)
        with built.open("rb") as file:
            os.fsync(file.fileno())
        built.replace(library)
    if os.name == "posix":  # Other systems cannot open a folder.
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
        "No C compiler was found: install gcc or clang (Debian: apt-get install gcc libc6-dev), "
        "or set the variable CC to one."
    )


def _run(command: list[str], **environment: str) -> str:
    try:
        return subprocess.run(  # noqa: S603 (the user's own compiler)
            command,
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | environment,
            timeout=_COMPILATION_SECONDS,
        ).stdout
    except subprocess.CalledProcessError as error:
        line = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr.strip()[-200:])
        reason = f"fails on the kernels: {line}"
    except subprocess.TimeoutExpired:
        reason = f"takes longer than {_COMPILATION_SECONDS:.0f} seconds."
    except OSError as error:
        reason = f"cannot be run: {_text_of(error)}."
    raise KernelsUnavailableError(
        f"The C compiler {command[0]!r} {reason} "
        "Install another one (Debian: apt-get install gcc libc6-dev), or set the variable CC to it."
    )


def _text_of(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
