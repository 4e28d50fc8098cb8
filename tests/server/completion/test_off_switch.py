"""Tests of the off switch of all editors."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from pellucid.completion.off_switch import Switch
from pellucid.errors import ConfigError


def test_on_at_first(tmp_path: Path) -> None:
    """Suggestions are on without a file."""
    switch = Switch(tmp_path / "none" / "switch.json", ["/a"])

    assert (switch.everywhere, switch.here) == (True, True)


def test_everywhere(tmp_path: Path) -> None:
    """Switching off or on in one editor applies to all editors."""
    one, other = (Switch(tmp_path / "state" / "switch.json", [folder]) for folder in ("/a", "/b"))

    one.toggle()
    assert (one.everywhere, other.everywhere, other.here) == (False, False, True)
    other.toggle()
    assert (one.everywhere, other.everywhere) == (True, True)


@pytest.mark.skipif(os.name != "posix", reason="permissions are another matter there")
@pytest.mark.parametrize("there", [False, True])
def test_only_its_owner_reads_it(tmp_path: Path, there: bool) -> None:
    """Only the owner can read the file and its folder, as the file names the user's folders."""
    file = tmp_path / "state" / "switch.json"
    if there:
        file.parent.mkdir()
        file.parent.chmod(0o755)
        file.write_text('{"off": true, "folders_off": []}')
        file.chmod(0o644)

    Switch(file, ["/a"]).toggle_here()

    assert [stat.S_IMODE(one.stat().st_mode) for one in (file.parent, file)] == [0o700, 0o600]


def test_here(tmp_path: Path) -> None:
    """Switching off in a folder applies to all editors of that folder only."""
    one, same, other = (Switch(tmp_path / "switch.json", folders) for folders in (["/a", "/c"], ["/c"], ["/b"]))

    one.toggle_here()
    assert (one.here, same.here, other.here, other.everywhere) == (False, False, True, True)
    one.toggle_here()
    assert (one.here, same.here) == (True, True)


def test_no_folder(tmp_path: Path) -> None:
    """Switching off in the workspace without an open folder raises an error."""
    with pytest.raises(ConfigError, match="No folder is open"):
        Switch(tmp_path / "switch.json", []).toggle_here()


def test_other_folders(tmp_path: Path) -> None:
    """The switch applies to the folders that are open now."""
    switch = Switch(tmp_path / "switch.json", ["/a"])

    switch.toggle_here()
    switch.set_folders(["/b"])
    assert switch.here
    switch.set_folders(["/b", "/a"])
    assert not switch.here


SPOILT = [
    "",
    "[]",
    "{}",
    '{"off": true}',
    '{"off": "false", "folders_off": []}',
    '{"off": false, "folders_off": [1]}',
    "\xff",
    "[" * 99_999,
]


@pytest.mark.parametrize("text", SPOILT, ids=range(len(SPOILT)))
def test_spoilt_file(tmp_path: Path, text: str) -> None:
    """An unreadable file counts as off, the error has the remedy, and a switch repairs the file."""
    file = tmp_path / "switch.json"
    file.write_text(text, encoding="latin-1")
    switch = Switch(file, ["/a"])

    assert (switch.everywhere, switch.here) == (False, False)
    assert switch.why is not None
    assert re.fullmatch(
        rf"The switch in {file} cannot be read \(.+\): switch suggestions on to replace it, or delete it\.", switch.why
    )
    switch.toggle()
    mended = Switch(file, ["/a"])
    assert (mended.everywhere, mended.here, mended.why) == (True, True, None)
    assert switch.everywhere


def test_spoilt_file_here(tmp_path: Path) -> None:
    """Switching a folder rewrites a damaged file, and everything else stays off."""
    file = tmp_path / "switch.json"
    file.write_text("{}")
    switch = Switch(file, ["/a"])

    switch.toggle_here()
    assert (switch.everywhere, switch.here, switch.why) == (False, True, None)


def test_mended_by_hand(tmp_path: Path) -> None:
    """Suggestions are on again when the damaged file is deleted."""
    file = tmp_path / "switch.json"
    file.write_text("{}")
    switch = Switch(file, [])
    assert not switch.everywhere

    file.unlink()
    assert (switch.everywhere, switch.why) == (True, None)


def test_no_file_there(tmp_path: Path) -> None:
    """Suggestions are off if the file cannot exist, and a switch raises an error with a reason."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()

    for file in (tmp_path / "folder", tmp_path / "file" / "switch.json"):
        switch = Switch(file, [])
        assert not switch.everywhere
        assert str(file) in (switch.why or "")
        with pytest.raises(
            ConfigError, match=r"^The switch in .* cannot be written \(.+\): make it writable for this user\.$"
        ):
            switch.toggle()
        # No half-written file is left.
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
