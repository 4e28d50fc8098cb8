"""The switch holds for all editors."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.errors import ConfigError
from pellucid_lsp.switch import Switch


def test_on_at_first(tmp_path: Path) -> None:
    """Without a file everything is on."""
    switch = Switch(tmp_path / "none" / "switch.json", ["/a"])

    assert (switch.everywhere, switch.here) == (True, True)


def test_everywhere(tmp_path: Path) -> None:
    """Switched off in one editor it is off in all, and on again likewise."""
    one, other = (Switch(tmp_path / "state" / "switch.json", [folder]) for folder in ("/a", "/b"))

    one.toggle()
    assert (one.everywhere, other.everywhere, other.here) == (False, False, True)
    other.toggle()
    assert (one.everywhere, other.everywhere) == (True, True)


def test_here(tmp_path: Path) -> None:
    """Switched off in a folder it is off for all editors of that folder, and on elsewhere."""
    one, same, other = (Switch(tmp_path / "switch.json", folders) for folders in (["/a", "/c"], ["/c"], ["/b"]))

    one.toggle_here()
    assert (one.here, same.here, other.here, other.everywhere) == (False, False, True, True)
    one.toggle_here()
    assert (one.here, same.here) == (True, True)


def test_no_folder(tmp_path: Path) -> None:
    """Without a folder there is no here, which is said."""
    with pytest.raises(ConfigError, match="No folder is open"):
        Switch(tmp_path / "switch.json", []).toggle_here()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"off": true}'])
def test_spoilt_file(tmp_path: Path, text: str) -> None:
    """A file that is not ours is named, and what to do about it."""
    file = tmp_path / "switch.json"
    file.write_text(text)

    with pytest.raises(ConfigError, match=r"switch.json cannot be read .*: delete the file"):
        _ = Switch(file, []).everywhere
