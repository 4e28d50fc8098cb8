"""The wheel is complete, and the installed command runs without the source tree."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pellucid.engine.native.kernel_compiler import build_name
from pellucid.engine.native.kernel_variants import PORTABLE, VARIANT_VARIABLE, variants_of
from pellucid.models.catalog import DEFAULT_MODEL
from support.models.quick_compiler import QUICK
from support.required_programs import require_program

pytestmark = pytest.mark.process

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PACKAGES = ("server/pellucid", "lsp/pellucid_lsp", "webui/pellucid_webui")
PREBUILT = "pellucid/engine/native/prebuilt/"
LIMIT = 120.0
"""Seconds for a command on a busy machine; a command needs a few seconds."""

NOTHING: Mapping[str, str] = {}


def finished(
    *command: str | Path, folder: Path, more: Mapping[str, str] = NOTHING, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command with ``more`` variables but without the settings of these tests."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PELLUCID_", "COV_"))
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env={**variables, "PELLUCID_CACHE": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder), **more},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def run(*command: str | Path, folder: Path, more: Mapping[str, str] = NOTHING) -> str:
    return finished(*command, folder=folder, more=more).stdout


def build(folder: Path, compiler: str) -> tuple[Path, str]:
    """Return the wheel of this source tree, and the messages of the build."""
    command = (sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-build-isolation", "--wheel-dir")
    messages = finished(*command, folder, ROOT, folder=folder, more={"CC": compiler}).stderr
    (wheel,) = folder.glob("*.whl")
    return wheel, messages


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this source tree, with native kernels."""
    require_program("cc")
    return build(tmp_path_factory.mktemp("wheel"), QUICK)[0]


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with the wheel and the already installed dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
        wheel,
        folder=folder,
    )
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    # Python ignores the .pth files of a folder named by a .pth file, so an editable install there
    # has no effect.
    dependencies = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "dependencies.pth").write_text("".join(f"{path}\n" for path in dependencies))
    return folder


def source_files() -> Iterator[str]:
    """Yield the wheel's path of every file of the packages."""
    for package in (ROOT / name for name in PACKAGES):
        for path in package.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(package.parent).as_posix()


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_contents(wheel: Path) -> None:
    """The wheel holds the files of the three packages, with C sources and assets, and kernels."""
    libraries = {f"{PREBUILT}{build_name(variant)}.so" for variant in variants_of(platform.machine())}
    names = names_in(wheel)

    assert names == {*source_files(), *libraries}
    assert {f"{Path(package).name}/py.typed" for package in PACKAGES} <= names
    assert {Path(name).suffix for name in names} >= {".py", ".c", ".h", ".toml", ".js", ".css"}


def test_tag(wheel: Path) -> None:
    """The wheel suits every Python 3, but only this platform."""
    assert "-py3-none-" in wheel.name
    assert wheel.name.endswith(f"_{platform.machine()}.whl")


def test_without_a_compiler(tmp_path: Path) -> None:
    """Without a compiler the wheel suits all platforms, and the build says what is missing."""
    wheel, messages = build(tmp_path, "no-such-compiler")

    assert wheel.name.endswith("-py3-none-any.whl")
    assert names_in(wheel) == set(source_files())
    assert "The wheel holds no native kernels. The C compiler 'no-such-compiler' cannot be run" in messages


def test_editable_installs_compile_nothing(tmp_path: Path) -> None:
    """An editable install suits all platforms: a library would be stale after the next change."""
    code = (
        "import os, sys; os.chdir(sys.argv[1]); from hatchling.build import build_editable; build_editable(sys.argv[2])"
    )
    run(sys.executable, "-c", code, ROOT, tmp_path, folder=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")

    assert wheel.name.endswith("-py3-none-any.whl")


def test_kernels_need_no_compiler(environment: Path) -> None:
    """The installed package uses the kernels of the wheel."""
    variables = {"PATH": "", VARIANT_VARIABLE: PORTABLE.name}
    findings = json.loads(run(environment / "bin" / "pellucid", "doctor", "--json", folder=environment, more=variables))

    assert findings["native kernel"].startswith("used, portable, from the wheel;")
    assert "kernels" not in {path.name for path in (environment / "cache").glob("*")}


def test_imports(environment: Path) -> None:
    """With the wheel installed, all three packages are imported from the wheel."""
    packages = [Path(package).name for package in PACKAGES]
    code = f"import {', '.join(packages)}\nfor package in ({', '.join(packages)}): print(package.__file__)"
    files = run(environment / "bin" / "python", "-c", code, folder=environment).split()

    assert len(files) == len(packages)
    assert all(Path(file).is_relative_to(environment) for file in files)


def test_command(environment: Path) -> None:
    """The installed command shows the help, the version and the models of the catalog."""
    pellucid = environment / "bin" / "pellucid"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert "serve" in run(pellucid, "--help", folder=environment)
    assert run(pellucid, "--version", folder=environment) == f"pellucid {version}\n"
    assert DEFAULT_MODEL in run(pellucid, "models", "list", folder=environment)
