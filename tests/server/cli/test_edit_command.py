"""`pellucid edit` shows the diff, and writes the file only after consent."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.cli import edit_file
from pellucid.cli.edit_file import lines_of
from pellucid.completion.edits.by_instruction.hunk_syntax import BROKEN
from pellucid.completion.edits.by_instruction.instructed_edits import UNCHANGED
from support.editors.scripted_editor import LocalEditor, load_here

Run = Callable[..., tuple[int, str, str]]
TEXT = "a = 1\nb = 2\nc = 3\n"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> LocalEditor:
    """A model loaded in this process, without a server; the edit sets b to 9."""
    editor = LocalEditor("b = 9\n```\n")
    load_here(monkeypatch, editor)
    return editor


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.py"
    path.write_text(TEXT)
    return path


def answer(monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    monkeypatch.setattr("typer.confirm", lambda *_, **__: given)


def test_the_diff_is_shown_and_written(
    run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hunks are shown; after the user's yes the file is written in the same mode."""
    answer(monkeypatch, given=True)
    file.chmod(0o640)
    code, out, _ = run("edit", file, "Set b to 9.", "--lines", "2:2")

    assert code == 0
    assert out == f"--- {file}\n+++ {file}\n@@ -2,1 +2,1 @@\n-b = 2\n+b = 9\n"
    assert file.read_text() == "a = 1\nb = 9\nc = 3\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["a.py"]
    assert model.asked[0].messages[2].content.startswith("```py\nb = 2\n```")


@pytest.mark.parametrize(("flags", "written"), [((), False), (("--dry-run",), False), (("--yes",), True)])
def test_when_it_is_written(
    run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], written: bool
) -> None:
    """A no and `--dry-run` leave the file unchanged, and `--yes` does not ask."""
    answer(monkeypatch, given=False)
    code, out, _ = run("edit", file, "Set b to 9.", "--lines", "2", *flags)
    assert (code, "+b = 9" in out, file.read_text() != TEXT) == (0, True, written)


@pytest.mark.parametrize(("flags", "written"), [((), False), (("--yes",), True)])
def test_records(run: Run, model: LocalEditor, file: Path, flags: tuple[str, ...], written: bool) -> None:
    """`--json` prints the lines and the edit without a question, and writes only with `--yes`."""
    code, out, _ = run("edit", file, "Set b to 9.", "--lines", "2", "--json", *flags)
    lines, last = map(json.loads, out.splitlines())
    assert (code, lines, last["edit"]["text"]) == (0, {"lines": ["b = 9"]}, "b = 9\n")
    assert last["edit"]["hunks"][0]["breaks_syntax"] is False
    assert (file.read_text() != TEXT) is written


def test_no_change(run: Run, model: LocalEditor, file: Path) -> None:
    """An answer without a change exits with 1 and a sentence."""
    model.answer = "b = 2\n```\n"
    code, out, err = run("edit", file, "Set b to 9.", "--lines", "2", "--yes")
    assert (code, out, UNCHANGED in err) == (1, "", True)
    assert file.read_text() == TEXT


@pytest.mark.parametrize("flags", [(), ("--yes",), ("--yes", "--json")])
def test_an_edit_that_does_not_parse(
    run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """A hunk that breaks the syntax is named; the user may write the file, but not `--yes`."""
    answer(monkeypatch, given=True)
    model.answer = "b = (9\n```\n"
    code, out, err = run("edit", file, "Set b to 9.", "--lines", "2", *flags)
    assert (code, file.read_text() == TEXT) == ((1, True) if flags else (0, False))
    assert err.splitlines()[1:] == [f"{BROKEN} {edit_file.REFUSED}" if flags else BROKEN]
    assert ('"breaks_syntax": true' if "--json" in flags else "@@ -2,1 +2,1 @@ breaks the syntax\n") in out


def test_imports_above_the_lines(run: Run, model: LocalEditor, file: Path) -> None:
    """An added import is written above lines that were not given."""
    file.write_text("import os\n\n" + TEXT)
    model.answer = "import re\n\nb = re.A\n```\n"
    code, out, _ = run("edit", file, "Set b to A.", "--lines", "4", "--yes")
    assert (code, file.read_text()) == (0, "import os\nimport re\n\na = 1\nb = re.A\nc = 3\n")
    assert "@@ -1,0 +2,1 @@\n+import re\n@@ -4,1 +5,1 @@\n-b = 2\n+b = re.A\n" in out


def test_a_file_that_changes_meanwhile(
    run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text written by another program during the edit is kept."""

    def confirm(*_: object, **__: object) -> bool:
        file.write_text("other\n")
        return True

    monkeypatch.setattr("typer.confirm", confirm)
    code, _, err = run("edit", file, "Set b to 9.", "--lines", "2")
    assert (code, file.read_text()) == (1, "other\n")
    assert "has changed meanwhile" in err


def test_a_file_that_cannot_be_written(
    run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only file or folder and a deleted file get a sentence; no temporary file remains."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda _, mode, **__: mode != os.W_OK)
        assert "is read-only, so nothing was written" in failed(run, file)
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkstemp", refuse)
        assert "cannot be written: Permission denied." in failed(run, file)
    assert (file.read_text(), [path.name for path in file.parent.iterdir()]) == (TEXT, ["a.py"])

    def delete(*_: object, **__: object) -> bool:
        file.unlink()
        return True

    monkeypatch.setattr("typer.confirm", delete)
    assert "cannot be written: No such file or directory." in failed(run, file, ())
    assert list(file.parent.iterdir()) == []


def failed(run: Run, file: Path, flags: tuple[str, ...] = ("--yes",)) -> str:
    """Return the message of a failed edit."""
    code, _, err = run("edit", file, "Set b to 9.", "--lines", "2", *flags)
    assert code == 1
    return " ".join(err.split())


def test_interrupted_while_it_is_written(
    run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C during the write leaves the file unchanged and no temporary file."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edit_file, "publish", interrupt)
    run("edit", file, "Set b to 9.", "--lines", "2", "--yes")
    assert (file.read_text(), [path.name for path in file.parent.iterdir()]) == (TEXT, ["a.py"])


def test_interrupted(run: Run, model: LocalEditor, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during the answer exits with 130 and leaves the file unchanged."""

    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(edit_file, "_ask", interrupted)
    code, _, err = run("edit", file, "Set b to 9.", "--yes")
    assert (code, file.read_text()) == (130, TEXT)
    assert "nothing was written" in err


@pytest.mark.parametrize(
    ("lines", "span"), [(None, (0, 18)), ("1:1", (0, 6)), ("2", (6, 12)), ("2:3", (6, 18)), ("4", (18, 18))]
)
def test_lines(lines: str | None, span: tuple[int, int]) -> None:
    """Lines are counted from 1 and include the line ends; the line after the last end is empty."""
    assert lines_of(TEXT, lines) == span


def test_a_byte_order_mark(run: Run, model: LocalEditor, file: Path) -> None:
    """A byte-order mark stays in the file and is hidden from the model."""
    file.write_text("\ufeff" + TEXT)
    code, _, _ = run("edit", file, "Set b to 9.", "--yes")
    assert (code, file.read_text().count("\ufeff"), file.read_text()[0]) == (0, 1, "\ufeff")
    assert "\ufeff" not in "".join(str(message.content) for message in model.asked[0].messages)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("a", "'a' is not A:B"),
        ("1:", "'1:' is not A:B"),
        ("3:2", "line 2 is before line 3"),
        ("2:9", "there is no line 9: the file has 4."),
    ],
)
def test_no_such_lines(run: Run, file: Path, lines: str, sentence: str) -> None:
    """Lines outside of the file are wrong usage."""
    code, _, err = run("edit", file, "x", "--lines", lines)
    assert code == 2
    assert sentence in " ".join(err.split())


def test_two_flags_that_contradict(run: Run, file: Path) -> None:
    """`--yes` with `--dry-run` is refused, and so is `--top-logprobs` without `--json`."""
    assert run("edit", file, "x", "--yes", "--dry-run")[0] == 2
    assert run("edit", file, "x", "--top-logprobs", "2")[0] == 2
