"""The cache of the code that attrs compiles."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pellucid_lsp.compiled_methods import cached

ANSWER = "answer = 6 * 7"


@pytest.fixture(autouse=True)
def writes_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def answer_of(source: str, path: Path) -> tuple[Any, int]:
    """Run a source within the cache; return the answer and the number of compilations."""
    compiled: list[str] = []
    real = builtins.compile

    def counted(source: str, filename: str, mode: str) -> Any:
        compiled.append(filename)
        return real(source, filename, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "compile", counted)
        with cached(path):
            names: dict[str, Any] = {}
            exec(compile(source, "<attrs generated test>", "exec"), names)
    return names["answer"], len(compiled)


def test_compiled_once(tmp_path: Path) -> None:
    """The second start compiles nothing, and a changed source is compiled."""
    path = tmp_path / "folder" / "methods.pyc"

    assert answer_of(ANSWER, path) == (42, 1)
    assert answer_of(ANSWER, path) == (42, 0)
    assert answer_of("answer = 6 * 8", path) == (48, 1)
    assert [one.name for one in path.parent.iterdir()] == ["methods.pyc"]


@pytest.mark.parametrize("at", [0, 5, -1])
def test_damaged(tmp_path: Path, at: int) -> None:
    """A file with a changed byte, of the header or the entries, is not read but replaced."""
    path = tmp_path / "methods.pyc"
    answer_of(ANSWER, path)
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)

    assert answer_of(ANSWER, path) == (42, 1)
    assert answer_of(ANSWER, path) == (42, 0)


def test_cut(tmp_path: Path) -> None:
    """A file of any shorter length is not read."""
    path = tmp_path / "methods.pyc"
    answer_of(ANSWER, path)
    whole = path.read_bytes()

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert answer_of(ANSWER, path) == (42, 1)


def test_no_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's switch against .pyc files holds for this file, too."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    assert answer_of(ANSWER, tmp_path / "methods.pyc") == (42, 1)
    assert list(tmp_path.iterdir()) == []


def test_unwritable(tmp_path: Path) -> None:
    """Without a folder to write to, the code is compiled."""
    path = tmp_path / "file"
    path.touch()

    assert answer_of(ANSWER, path / "methods.pyc") == (42, 1)


@pytest.mark.process
def test_attrs_compiles_in_the_cache(tmp_path: Path) -> None:
    """In a second process, attrs compiles none of the methods of lsprotocol's 500 classes."""
    program = f"""
import builtins, pathlib
compiled, real = [], builtins.compile
builtins.compile = lambda *given, **options: compiled.append(given[1]) or real(*given, **options)
from pellucid_lsp.compiled_methods import cached
with cached(pathlib.Path({str(tmp_path / "methods.pyc")!r})):
    import lsprotocol.types
print(sum("attrs generated methods lsprotocol" in str(name) for name in compiled))
from lsprotocol.types import Position
assert Position(1, 2) == Position(1, 2) != Position(1, 3) and repr(Position(1, 2)) == "1:2"
"""

    def compilations() -> int:
        run = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, stdout=subprocess.PIPE, check=True
        )
        return int(run.stdout)

    assert compilations() > 500
    assert compilations() == 0


@pytest.mark.process
@pytest.mark.parametrize("module", ["methods.standard_methods", "copilot.copilot_methods"])
def test_written_once(tmp_path: Path, module: str) -> None:
    """At the second start of a language server, the file stays as written."""
    path = tmp_path / "methods.pyc"
    program = f"""
import pathlib
from pellucid_lsp.compiled_methods import cached
with cached(pathlib.Path({str(path)!r})):
    import pellucid_lsp.{module}
"""
    written = set()
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
        written.add(path.stat().st_ino)
    assert len(written) == 1
