"""Messages that this machine's user sees once, whatever the number of editors and starts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pellucid.system.private_files import make_private_folder


class ShownOnce:
    """The messages shown so far: an empty file in ``folder`` for each message's name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: set[str] = set()

    def is_first(self, name: str) -> bool:
        """Note a message as shown. Return False if the message was shown before.

        Also False if the folder cannot be written to, because every start would show the message.
        """
        if name in self._asked:
            return False
        self._asked.add(name)
        try:
            make_private_folder(self._folder)
            (self._folder / hashlib.sha256(name.encode()).hexdigest()[:16]).touch(exist_ok=False)
        except OSError:
            return False
        return True
