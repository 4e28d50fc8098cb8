"""The wheel is complete, and the installed command runs without the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.models.catalog import DEFAULT_MODEL

pytestmark = pytest.mark.process

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PACKAGES = ("server/pellucid", "lsp/pellucid_lsp", "webui/pellucid_webui")
LIMIT = 120.0
"""Seconds for a command on a busy machine; a command needs a few seconds."""


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder, without the settings of these tests, and return the stdout."""
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PELLUCID_", "COV_"))
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables | {"PELLUCID_CACHE": str(folder / "cache"), "XDG_CONFIG_HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this source tree."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        ROOT,
        folder=folder,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


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


def test_contents(wheel: Path) -> None:
    """The wheel holds exactly the files of the three packages, with C sources and assets."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == set(source_files())
    assert {f"{Path(package).name}/py.typed" for package in PACKAGES} <= names
    assert {Path(name).suffix for name in names} >= {".py", ".c", ".h", ".toml", ".js", ".css"}


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
