"""The kernels' variant follows from the processor's features, or from the environment."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from pellucid.config import load_settings
from pellucid.engine.native import calls, kernel_variants
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError
from pellucid.engine.native.kernel_variants import VARIANT_VARIABLE, runnable_variants
from pellucid.errors import ConfigError

V3 = "avx2 fma f16c bmi1 bmi2 abm movbe "
V4 = V3 + "avx512f avx512bw avx512cd avx512dq avx512vl "
V8_2 = "asimd atomics crc32 asimdrdm asimddp "


@pytest.mark.parametrize(
    ("machine", "features", "names"),
    [
        ("x86_64", "sse4_2", ["portable"]),
        ("x86_64", "avx2 f16c", ["portable"]),
        ("AMD64", V3, ["portable", "avx2"]),
        ("x86_64", V3 + "avx_vnni", ["portable", "avx2", "avx-vnni"]),
        ("x86_64", V4, ["portable", "avx2"]),
        ("x86_64", V4 + "avx512_vnni", ["portable", "avx2", "avx512-vnni"]),
        ("x86_64", V4 + "avx512_vnni amx_int8", ["portable", "avx2", "avx512-vnni"]),
        ("x86_64", V4 + "avx512_vnni amx_int8 amx_tile", ["portable", "avx2", "amx-int8", "avx512-vnni"]),
        ("arm64", "asimd", ["portable", "neon"]),
        ("aarch64", V8_2, ["portable", "neon", "dotprod"]),
        ("aarch64", V8_2 + "i8mm", ["portable", "neon", "dotprod", "i8mm"]),
        ("riscv64", "", ["portable"]),
    ],
)
def test_runnable_variants(monkeypatch: pytest.MonkeyPatch, machine: str, features: str, names: list[str]) -> None:
    """A variant is runnable if the processor has all features; slow variants come first."""
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(kernel_variants, "processor_features", lambda: frozenset(features.split()))
    assert [variant.name for variant in runnable_variants()] == names


def test_a_variant_refused_by_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """AMX needs the permission of Linux, which is requested only for the named variant."""
    features = frozenset(f"{V4} avx512_vnni amx_int8 amx_tile".split())
    requests: list[bool] = []

    def refuse() -> bool:
        requests.append(True)
        return False

    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(kernel_variants, "processor_features", lambda: features)
    monkeypatch.setattr(kernel_variants, "_may_use_amx", refuse)
    assert runnable_variants()[-1].name == "avx512-vnni"
    assert kernel_variants.runnable_variant("avx512-vnni")
    assert not requests
    with pytest.raises(ConfigError, match=r"^PELLUCID_KERNELS is 'amx-int8', but Linux does not allow this process"):
        kernel_variants.runnable_variant("amx-int8")
    assert requests


@pytest.mark.process
def test_forced_variants_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runnable variant can be forced, and the code is compiled for the variant."""
    for variant in runnable_variants():
        monkeypatch.setenv(VARIANT_VARIABLE, variant.name)
        forced = calls.shared_kernels.__wrapped__()
        assert isinstance(forced, Kernels)
        assert forced.variant.lower().endswith(variant.name)


def test_a_variant_of_other_processors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, the unknown variant and the runnable variants."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(kernel_variants, "processor_features", lambda: frozenset(V3.split()))
    for name in ("avx512-vnni", "i8mm", "fastest"):
        monkeypatch.setenv(VARIANT_VARIABLE, name)
        with pytest.raises(ConfigError, match=f"^PELLUCID_KERNELS is '{name}', .* only the kernels portable and avx2:"):
            calls.shared_kernels.__wrapped__()


def test_portable_code_is_used_only_if_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that runs only the portable variant uses torch, which is faster."""
    monkeypatch.setattr(kernel_variants, "processor_features", lambda: frozenset())
    assert isinstance(calls.shared_kernels.__wrapped__(), KernelsUnavailableError)


def test_the_variable_is_no_unknown_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings accept the variable, although no setting has this name."""
    monkeypatch.setenv(VARIANT_VARIABLE, "portable")
    load_settings()
