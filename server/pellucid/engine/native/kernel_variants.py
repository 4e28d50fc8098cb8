"""The variants of the kernels: names, compiler flags, and the variants that this processor runs."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

from pellucid.errors import ConfigError
from pellucid.system.machine import processor_features

VARIANT_VARIABLE = "PELLUCID_KERNELS"
"""The environment variable with the name of the variant to use."""


@dataclass(frozen=True, slots=True)
class KernelVariant:
    """A way to compile the kernels.

    ``features`` are needed from the processor, in the spelling of /proc/cpuinfo. With flags for
    further instructions, such as AVX-512 VBMI or BF16, GCC 12 emits exactly the same code.
    """

    name: str
    flags: tuple[str, ...]
    features: frozenset[str] = frozenset()


PORTABLE = KernelVariant("portable", ("-DPORTABLE",))
_V3 = frozenset({"avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe"})
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_V8_2 = frozenset({"asimd", "atomics", "crc32", "asimdrdm"})

# Slow variants come first.
_X86_64 = (
    PORTABLE,
    KernelVariant("avx2", ("-march=x86-64-v3",), _V3),
    KernelVariant("avx-vnni", ("-march=x86-64-v3", "-mavxvnni"), _V3 | {"avx_vnni"}),
    # Used only if named, as "avx512-vnni" comes last, until the speed has been measured.
    KernelVariant(
        "amx-int8",
        ("-march=x86-64-v4", "-mavx512vnni", "-mamx-tile", "-mamx-int8"),
        _V4 | {"avx512_vnni", "amx_tile", "amx_int8"},
    ),
    KernelVariant("avx512-vnni", ("-march=x86-64-v4", "-mavx512vnni"), _V4 | {"avx512_vnni"}),
)
_ARM64 = (
    PORTABLE,
    KernelVariant("neon", ("-march=armv8-a",), frozenset({"asimd"})),
    KernelVariant("dotprod", ("-march=armv8.2-a+dotprod",), _V8_2 | {"asimddp"}),
    KernelVariant("i8mm", ("-march=armv8.2-a+dotprod+i8mm",), _V8_2 | {"asimddp", "i8mm"}),
)
_OF_ARCHITECTURE = {"x86_64": _X86_64, "amd64": _X86_64, "arm64": _ARM64, "aarch64": _ARM64}


def variants_of(architecture: str) -> tuple[KernelVariant, ...]:
    """Return an architecture's variants, slow variants first."""
    return _OF_ARCHITECTURE.get(architecture.lower(), (PORTABLE,))


def runnable_variants() -> tuple[KernelVariant, ...]:
    """Return the variants that this processor runs, slow variants first."""
    features = processor_features()
    return tuple(variant for variant in variants_of(platform.machine()) if variant.features <= features)


def _may_use_amx() -> bool:
    """Ask Linux for AMX's tile registers, which a process may not use otherwise."""
    return bool(ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0)  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA)


def runnable_variant(name: str) -> KernelVariant:
    """Return a variant by name. Raise ConfigError if this process cannot run the variant."""
    runnable = {variant.name: variant for variant in runnable_variants()}
    if name not in runnable:
        raise ConfigError(
            f"{VARIANT_VARIABLE} is {name!r}, but this processor runs only the kernels {' and '.join(runnable)}: "
            "set one of these, or unset the variable."
        )
    if "amx_tile" in runnable[name].features and not _may_use_amx():
        raise ConfigError(
            f"{VARIANT_VARIABLE} is {name!r}, but Linux does not allow this process to use AMX: unset the variable."
        )
    return runnable[name]


def forced_variant() -> str | None:
    """Return the variant's name in the environment, or None."""
    return os.environ.get(VARIANT_VARIABLE) or None
