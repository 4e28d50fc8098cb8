"""The native kernels' library: part of the wheel, or compiled on this machine and kept.

A wheel holds a library of each variant, named after a hash of sources and flags: after a change of
the sources the library is not used. Without a library the kernels are compiled. The sources use no
torch header, so compilation takes seconds and does not depend on torch's ABI.
A compiled library is kept in a cache folder. Its name has hashes of the build, the compiler and the
content. A library is loaded only if the content matches and no other user could have written the
file; otherwise the kernels are compiled again. If the cache folder is unusable, each start compiles
in a temporary folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pellucid.engine.native.kernel_compiler import (
    KernelsUnavailableError,
    build_name,
    compile_kernels,
    compiler_hash,
    find_compiler,
)
from pellucid.engine.native.kernel_variants import KernelVariant
from pellucid.system.trusted_files import UntrustedError, is_private_file, require_private_folder

_PREBUILT = Path(__file__).parent / "prebuilt"
_FROM_WHEEL, _COMPILED = "from the wheel", "compiled on this machine"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Library:
    """A loaded library.

    ``build`` identifies variant, sources and flags. ``origin`` says where the library came from.
    ``warning`` is the reason, with the remedy, why a library could not be kept for the next start,
    else "".
    """

    code: ctypes.CDLL
    build: str
    origin: str
    warning: str = ""


@dataclass(frozen=True, slots=True)
class _Recipe:
    compiler: list[str]
    variant: KernelVariant
    name: str


def load_library(variant: KernelVariant, folder: Path, compiler: str | None = None) -> Library:
    """Load a variant from the wheel or from the folder; compile if neither has the variant.

    A named ``compiler`` always compiles, unless the folder has the result.
    """
    build = build_name(variant)
    if compiler is None and (code := _load_prebuilt(variant, build)):
        return Library(code, build, _FROM_WHEEL)
    command = find_compiler(compiler)
    recipe = _Recipe(command, variant, f"{build}-{compiler_hash(command, variant)}")
    try:
        return Library(_load_from(folder, recipe), build, _COMPILED)
    except (OSError, UntrustedError) as error:
        reason = (
            str(error)
            if isinstance(error, UntrustedError)
            else f"They cannot be saved in {folder} ({_text_of(error)}): make it writable, or set another cache folder."
        )
    try:
        # A loaded library no longer needs the file, but Windows does not delete the file.
        with tempfile.TemporaryDirectory(prefix="pellucid-kernels-", ignore_cleanup_errors=True) as private:
            code = _load_from(Path(private), recipe)
    except (OSError, UntrustedError) as error:
        raise KernelsUnavailableError(
            "The compiled kernels can be loaded neither from the cache folder nor from a temporary one "
            f"({_text_of(error)}). {reason} Use folders whose files may be executed (no noexec mount); "
            "the variable TMPDIR sets another temporary folder."
        ) from error
    warning = f"The native kernels are compiled at every start, which takes longer. {reason}"
    return Library(code, build, _COMPILED, warning)


def _load_prebuilt(variant: KernelVariant, build: str) -> ctypes.CDLL | None:
    """Load the wheel's library of these sources; package files are as trusted as this file."""
    path = _PREBUILT / f"{build}.so"
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError as error:
            _log.warning("The wheel's kernels cannot be loaded, so they are compiled: %s", error)
    elif any(_PREBUILT.glob(f"kernels-{variant.name}-*.so")):
        _log.warning("The kernels' sources differ from those of the library in %s, so they are compiled.", _PREBUILT)
    return None


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
    for path in sorted(folder.glob(f"{recipe.name}-*.so")):
        with suppress(OSError):  # Unreadable, or just replaced by another process.
            if is_private_file(path) and path.name == _name(recipe, path):
                return path
        _log.warning(
            "The compiled kernels in %s are damaged or writable by other users, so they are compiled again.", path
        )
    return None


def _compile(folder: Path, recipe: _Recipe) -> Path:
    """Compile in a temporary folder, move the result into place, and delete older files."""
    old = set(folder.glob(f"{recipe.name}*.so"))
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        built = Path(workspace) / "kernels.so"
        _log.info("Compiling the kernels %s.", recipe.variant.name)
        compile_kernels(recipe.compiler, recipe.variant, built)
        built.chmod(0o755)
        library = folder / _name(recipe, built)
        with built.open("r+b") as file:  # Windows synchronizes only files open for writing.
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
    return f"{recipe.name}-{hashlib.sha256(content.read_bytes()).hexdigest()}.so"


def _text_of(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
