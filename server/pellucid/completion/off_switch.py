"""Switch for suggestions, everywhere or in some folders, for all editors of this user."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG

from pellucid.errors import ConfigError
from pellucid.system.private_files import make_private_folder


@dataclass(frozen=True, slots=True)
class _State:
    off: bool = False
    folders_off: tuple[str, ...] = ()


class Switch:
    """The switch of an editor, and the editor's setting ``enabled``.

    The file is read again after every change, so that all editors follow. While the file is
    unreadable, suggestions are off, because the file may say so.
    """

    def __init__(self, file: Path, folders: Sequence[str], *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._file = file
        self.folders = tuple(folders)
        self._seen: tuple[int, int, int] | None = None
        self._known = _State()

    @property
    def is_on(self) -> bool:
        return self.enabled and self.everywhere and self.here

    @property
    def why_off(self) -> str:
        if not self.enabled:
            return "The setting pellucid.enabled is false."
        where = "everywhere" if not self.everywhere else "in this workspace"
        return self.why or f"Suggestions are switched off {where}."

    @property
    def everywhere(self) -> bool:
        state = self._state()
        return state is not None and not state.off

    @property
    def here(self) -> bool:
        state = self._state()
        return state is not None and not set(self.folders) & set(state.folders_off)

    @property
    def why(self) -> str | None:
        """One sentence about an unreadable file and the remedy, or None."""
        try:
            self._read()
        except ConfigError as error:
            return str(error)
        return None

    def set_folders(self, folders: Sequence[str]) -> None:
        self.folders = tuple(folders)

    def toggle(self) -> None:
        """Switch suggestions off everywhere, or on."""
        state = self._state() or _State(off=True)
        self._write(replace(state, off=not state.off))

    def toggle_here(self) -> None:
        """Switch suggestions off in this editor's folders, or on."""
        if not self.folders:
            raise ConfigError("No folder is open in this editor: switch suggestions off everywhere, or open a folder.")
        state = self._state() or _State(off=True, folders_off=self.folders)
        others = tuple(folder for folder in state.folders_off if folder not in self.folders)
        self._write(
            replace(state, folders_off=others if set(self.folders) & set(state.folders_off) else others + self.folders)
        )

    def _state(self) -> _State | None:
        try:
            return self._read()
        except ConfigError:
            return None

    def _read(self) -> _State:
        try:
            stat = self._file.stat()
            if not S_ISREG(stat.st_mode):
                raise _unreadable(self._file, "it is not a file")
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._known, self._seen = _parsed(self._file), seen
        except FileNotFoundError:
            self._known, self._seen = _State(), None
        except OSError as error:
            raise _unreadable(self._file, error.strerror or str(error)) from error
        return self._known

    def _write(self, state: _State) -> None:
        text = json.dumps({"off": state.off, "folders_off": list(state.folders_off)}, indent=1)
        try:
            make_private_folder(self._file.parent)
            _replace(self._file, text)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                f"The switch in {self._file} cannot be written ({reason}): make it writable for this user."
            ) from error
        self._seen = None


def _parsed(file: Path) -> _State:
    """Return the file's state.

    Raise ConfigError for a foreign file, OSError for an unreadable file.
    """
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _unreadable(file, "it is not JSON") from error
    match found:
        case {"off": bool(off), "folders_off": [*folders]} if all(isinstance(folder, str) for folder in folders):
            return _State(off, tuple(folders))
    raise _unreadable(file, "Pellucid did not write it")


def _replace(file: Path, text: str) -> None:
    """Replace a file atomically, so that no editor reads half of the text."""
    handle, whole = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as new:
            new.write(text)
        Path(whole).replace(file)
    except OSError:
        Path(whole).unlink(missing_ok=True)
        raise


def _unreadable(file: Path, reason: str) -> ConfigError:
    return ConfigError(
        f"The switch in {file} cannot be read ({reason}): switch suggestions on to replace it, or delete it."
    )
