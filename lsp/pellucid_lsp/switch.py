"""The switch: suggestions on or off, everywhere or in some folders, for all editors of this user and for later."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.errors import ConfigError


@dataclass(frozen=True, slots=True)
class _State:
    off: bool = False
    folders_off: tuple[str, ...] = ()


class Switch:
    """Reads its file anew whenever it has changed, so that all editors follow."""

    def __init__(self, file: Path, folders: Sequence[str]) -> None:
        self._file = file
        self.folders = tuple(folders)
        self._seen: tuple[int, int] | None = None
        self._known = _State()

    @property
    def everywhere(self) -> bool:
        """Whether suggestions are on everywhere."""
        return not self._state().off

    @property
    def here(self) -> bool:
        """Whether they are on in this editor's folders."""
        return not set(self.folders) & set(self._state().folders_off)

    def toggle(self) -> None:
        """Switch them off everywhere, or on."""
        state = self._state()
        self._write(replace(state, off=not state.off))

    def toggle_here(self) -> None:
        """Switch them off in this editor's folders, or on. Raises ConfigError where no folder is open."""
        if not self.folders:
            raise ConfigError("No folder is open in this editor: switch suggestions off everywhere, or open a folder.")
        others = tuple(folder for folder in self._state().folders_off if folder not in self.folders)
        self._write(replace(self._state(), folders_off=others + self.folders if self.here else others))

    def _state(self) -> _State:
        try:
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size)
            if seen != self._seen:
                self._known, self._seen = _read(self._file), seen
        except FileNotFoundError:
            self._known, self._seen = _State(), None
        return self._known

    def _write(self, state: _State) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"off": state.off, "folders_off": list(state.folders_off)}, indent=1)
        with tempfile.NamedTemporaryFile("w", dir=self._file.parent, encoding="utf-8", delete=False) as whole:
            whole.write(text)
        os.replace(whole.name, self._file)  # noqa: PTH105 -- whole.name is a str
        self._seen = None


def _read(file: Path) -> _State:
    """What the file says; raises ConfigError if it is not one of ours."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return _State(bool(found["off"]), tuple(map(str, found["folders_off"])))
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"The switch in {file} cannot be read ({error}): delete the file.") from error
