"""A message is shown once on a machine, and never if that cannot be remembered."""

from __future__ import annotations

from pathlib import Path

from pellucid_lsp.shown_once import ShownOnce


def test_first_of_each_name(tmp_path: Path) -> None:
    """Each name is the first once, whatever process asks; names may have any characters."""
    one, other = ShownOnce(tmp_path / "offers"), ShownOnce(tmp_path / "offers")

    assert [one.is_first("org/a:Q8"), one.is_first("org/a:Q8"), other.is_first("org/a:Q8")] == [True, False, False]
    assert other.is_first("../b")
    assert len(list(tmp_path.rglob("*"))) == 3


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Without a folder, a message is not shown, because every start would show the message."""
    (tmp_path / "file").touch()

    assert not ShownOnce(tmp_path / "file" / "offers").is_first("a")
