"""Compiles the native kernels once with the system's C compiler, and loads them.

The sources are in ``native/``. They use no header of torch, so that they compile in seconds and do
not depend on torch's ABI. The library is kept in a cache folder. Its name has two hashes: one of
sources, flags, compiler and processor, which identifies the build, and the SHA-256 of its content,
which shows that it is intact. It is loaded only if its content matches and no other user of the
machine could have written it; otherwise it is compiled again. Where the cache folder cannot be
used, it is compiled in a temporary folder at each start.
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
# Sums keep the order of the source: a result must not depend on how a loop was compiled.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_TARGETS = {"native": (), "avx2": ("-march=x86-64-v3",), "portable": ()}
_COMPILATION_SECONDS = 600.0
"""Many times what a compiler needs: one that hangs must not keep a server from starting."""

_log = logging.getLogger(__name__)


class KernelsUnavailableError(Exception):
    """There are no native kernels here.

    The message gives the reason in one sentence and the remedy in another.
    """


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library.

    ``build`` identifies its sources, flags, compiler and processor. ``warning`` gives the reason
    why it could not be kept for the next start, and the remedy; it is empty where the library was
    kept.
    """

    code: ctypes.CDLL
    build: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """A command that compiles the kernels once a target file is appended, and the name of its result."""

    command: tuple[str, ...]
    build: str


def load_library(target: str, folder: Path, compiler: str | None) -> Library:
    """Load the library for a target (native, avx2 or portable), compiling it unless the folder has a valid one.

    Raises KernelsUnavailableError where there is no compiler, or it fails, or nothing can be loaded
    from any folder.
    """
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
        with tempfile.TemporaryDirectory(
            prefix="pellucid-kernels-"
        ) as private:  # a loaded library no longer needs its file
            code = _load_from(Path(private), recipe)
    except (OSError, UntrustedError) as error:
        raise KernelsUnavailableError(
            f"The compiled kernels can be loaded neither from the cache folder nor from a temporary one ({_text_of(error)}). {reason} "
            "Use folders whose files may be executed (no noexec mount); the variable TMPDIR sets another temporary folder."
        ) from error
    return Library(code, recipe.build, f"The native kernels are compiled at every start, which takes longer. {reason}")


def _recipe(target: str, compiler: str | None) -> _Recipe:
    command = [*_compiler(compiler), *_FLAGS, *_TARGETS[target]]
    if target == "native":
        command.append("-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native")
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".c", ".h"))
    # The predefined macros give the compiler's version and the instructions that "native" means
    # here.
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([*command, macros, *(path.read_text() for path in sources)]).encode()).hexdigest()[
        :20
    ]
    return _Recipe((*command, str(_SOURCES / "kernels.c"), "-lm", "-o"), f"kernels-{target}-{key}")


def _load_from(folder: Path, recipe: _Recipe) -> ctypes.CDLL:
    """Load the library from a folder, compiling it there if the folder has no valid one.

    Because the folder was checked first, no other user can replace the file between its check and
    its loading.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder = folder.resolve()
    require_private_folder(folder)
    library = _find(folder, recipe)
    if library is None:
        with FileLock(folder / "kernels.lock", mode=0o600):  # a user who can open a lock can also hold it
            library = _find(folder, recipe) or _compile(folder, recipe)
    return ctypes.CDLL(str(library))


def _find(folder: Path, recipe: _Recipe) -> Path | None:
    """Return a library whose content matches the hash in its name; None if there is none."""
    for path in sorted(folder.glob(f"{recipe.build}-*.so")):
        with suppress(OSError):  # it cannot be read, or another process has just replaced it
            if is_private_file(path) and path.name == _name(recipe, path):
                return path
        _log.warning(
            "The compiled kernels in %s are damaged or writable by other users, so they are compiled again.", path
        )
    return None


def _compile(folder: Path, recipe: _Recipe) -> Path:
    """Compile in a temporary folder, move the result into place and delete older files of this build."""
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
        "No C compiler was found: install gcc or clang (Debian: apt-get install gcc libc6-dev), or set the variable CC to one."
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
        f"The C compiler {command[0]!r} {reason} Install another one (Debian: apt-get install gcc libc6-dev), or set the variable CC to it."
    )


def _text_of(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
