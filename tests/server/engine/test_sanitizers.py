"""The kernels' tests, repeated on kernels compiled with AddressSanitizer and UBSan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.required_programs import require_program
from support.trial_counts import IS_TRIAL

pytestmark = pytest.mark.process

HERE = Path(__file__).parent
TESTS = ("test_kernel_shapes.py", *(("test_kernels.py",) if IS_TRIAL else ()))
REPEATED_WORK = "company_changes or the_base_is_unchanged or merged_weights or libraries_are_kept or chunks_change"
"""Slow tests that repeat the work of the remaining tests in a different order or company."""

FLAGS = "-O0 -g1 -fsanitize=address,undefined -fno-sanitize-recover=all"
"""The last -O counts.

Optimised kernels with checks take minutes to compile, and hide accesses with unused results.
"""

LONGEST = 900
"""Time limit in seconds: several times the duration on two busy cores."""


def runtime(name: str) -> str:
    """Return the path of a runtime library of gcc."""
    found = subprocess.run(
        [require_program("gcc"), f"-print-file-name={name}"], check=True, capture_output=True, text=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"gcc has no {name}.")
    return found


def checked(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process with checked kernels, and with the first finding fatal."""
    preloaded = [runtime(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so")]
    environment = {
        "CC": f"""sh -c 'exec gcc "$@" {FLAGS}' cc""",
        "LD_PRELOAD": " ".join(preloaded),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python frees little memory at exit.
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "XDG_CACHE_HOME": str(cache),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "--capture=sys",
        f"--confcutdir={HERE}",
    ]
    return subprocess.run(
        [*command, *arguments], env=os.environ | environment, capture_output=True, text=True, timeout=LONGEST
    )


def test_nothing_is_out_of_bounds_or_undefined(tmp_path: Path) -> None:
    """The kernels' tests pass for every instruction set, with each access and operation checked."""
    done = checked(tmp_path, *(str(HERE / name) for name in TESTS), "-k", f"not ({REPEATED_WORK})")
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    assert " passed" in done.stdout
