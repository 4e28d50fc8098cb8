"""The commands on the log of suggestions: hand all of it out, and delete it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pellucid.completion.trust.suggestion_log import FILE, SuggestionLog
from pellucid.config import load_settings
from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.system.atomic_files import write_output


def export(file: Path, data: Path | None) -> None:
    """Write everything that is logged, a line of JSON for each suggestion. Raises NotFoundError where nothing is."""
    log = _log(data)
    rows = list(log.rows())
    if not rows:
        raise NotFoundError(f"There is no log of suggestions at {log.path}: editors keep one where pellucid.completion.log is on.")
    try:
        write_output(file, "".join(json.dumps(row) + "\n" for row in rows))
    except OSError as error:
        raise InvalidRequestError(f"The log cannot be written to {file}: {error.strerror or error}.") from None
    sys.stdout.write(f"{len(rows):,} suggestions are in {file}.\n")


def delete(data: Path | None) -> None:
    """Delete everything that is logged."""
    log = _log(data)
    count = log.delete()
    sys.stdout.write(f"{count:,} suggestions were deleted.\n" if count else "Nothing was logged.\n")


def _log(data: Path | None) -> SuggestionLog:
    return SuggestionLog(load_settings(data=data).data / FILE)
