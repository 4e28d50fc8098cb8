"""The C compiler, and the compilation of the kernels. A build without dependencies imports this."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from pellucid.engine.native.kernel_variants import KernelVariant

COMPILERS = ("clang",) if sys.platform == "win32" else ("cc", "gcc", "clang")  # GCC there misaligns AVX variables.
_SOURCES = Path(__file__).parent
# Sums keep the order of the source: results must not depend on the compiler.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_SYSTEM_FLAGS = {"darwin": ("-mmacosx-version-min=11.0",), "win32": ("-static",)}.get(sys.platform, ())
_COMPILATION_SECONDS = 600.0
"""A generous limit: a compiler that hangs must not keep a server from starting."""


class KernelsUnavailableError(Exception):
    """Missing native kernels. The message has a sentence with the reason, and a remedy."""


def find_compiler(named: str | None = None) -> list[str]:
    """Return the command of the named compiler, of the variable CC's, or of the first found."""
    named = named or os.environ.get("CC")
    if named is not None:
        return shlex.split(named)
    for name in COMPILERS:
        if shutil.which(name):
            return [name]
    raise KernelsUnavailableError(
        "No C compiler was found: install gcc or clang (Debian: apt-get install gcc libc6-dev), "
        "or set the variable CC to one."
    )


def build_name(variant: KernelVariant) -> str:
    """Return the name of a variant of these sources: a library of this name is up to date."""
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".c", ".h"))
    return f"kernels-{variant.name}-{_hash(*_FLAGS, *_SYSTEM_FLAGS, *variant.flags, *map(_text, sources))}"


def compiler_hash(compiler: list[str], variant: KernelVariant) -> str:
    """Return a hash of the compiler's command and version."""
    macros = run([*compiler, *variant.flags, "-dM", "-E", "-x", "c", os.devnull])
    return _hash(*compiler, macros)


def compile_kernels(compiler: list[str], variant: KernelVariant, library: Path) -> None:
    """Compile a library; the compiler's temporary files are next to it."""
    source = str(_SOURCES / "kernels.c")
    command = [*compiler, *_FLAGS, *_SYSTEM_FLAGS, *variant.flags, source, "-lm", "-o", str(library)]
    run(command, TMPDIR=str(library.parent))


def run(command: list[str], **environment: str) -> str:
    """Run a compiler, and return the output. Raise KernelsUnavailableError on failure."""
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
        reason = f"cannot be run: {error.strerror or error}."
    raise KernelsUnavailableError(
        f"The C compiler {command[0]!r} {reason} "
        "Install another one (Debian: apt-get install gcc libc6-dev), or set the variable CC to it."
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
