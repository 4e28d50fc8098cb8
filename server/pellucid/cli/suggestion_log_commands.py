"""The work of ``pellucid suggestions``: export and delete the log."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pellucid.completion.trust.suggestion_log import FILE, SuggestionLog
from pellucid.config import load_settings
from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.system.atomic_files import write_output


def export(file: Path, data: Path | None) -> None:
    log = _log(data)
    rows = list(log.rows())
    if not rows:
        raise NotFoundError(
            f"There is no suggestion log at {log.path}: editors write one if pellucid.completion.log is on."
        )
    try:
        write_output(file, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise InvalidRequestError(f"The log cannot be written to {file}: {error.strerror or error}.") from None
    sys.stdout.write(f"Wrote {len(rows):,} suggestions to {file}.\n")


def delete(data: Path | None) -> None:
    log = _log(data)
    count = log.delete()
    sys.stdout.write(f"Deleted {count:,} suggestions.\n" if count else "The log is empty.\n")


def _log(data: Path | None) -> SuggestionLog:
    return SuggestionLog(load_settings(data=data).data / FILE)
