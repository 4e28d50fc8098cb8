"""Lines of a file that differ from the last commit, found with git's own command."""

from __future__ import annotations

from difflib import SequenceMatcher
from io import StringIO
from itertools import accumulate
from pathlib import Path

from pellucid.completion.document_cursor import normalize_newlines
from pellucid.completion.surprise.code_lexer import Part
from pellucid.errors import InvalidRequestError
from pellucid.system.common_prefix import common_prefix
from pellucid.system.safe_git import run_git

_NEW_FILE = ("exists on disk, but not in", "does not exist in", "invalid object name", "Not a valid object name")
"""Messages of git about an uncommitted file."""


async def committed_text(path: Path) -> str:
    r"""Return a file's text in HEAD, with ``\n`` line ends; empty if the file is not in HEAD.

    Raise InvalidRequestError if git fails. The file is printed as stored: no filter of the
    repository runs.
    """
    result = await run_git(path.parent, "cat-file", "blob", f"HEAD:./{path.name}")
    if not result.failure:
        return normalize_newlines(result.output.decode("utf-8-sig", errors="replace"))
    if any(sign in result.failure for sign in _NEW_FILE):
        return ""
    raise InvalidRequestError(
        f"git cannot compare {path.name} with its last commit: {result.reason}.", param="textDocument"
    )


def changed_parts(old: str, new: str) -> list[Part]:
    """Return the offsets of the new text's lines that differ from the old text."""
    before, after = StringIO(old).readlines(), StringIO(new).readlines()
    starts = [0, *accumulate(map(len, after))]
    first = common_prefix(before, after)
    last = common_prefix(before[first:][::-1], after[first:][::-1])
    # Frequent lines are junk to the matcher, because comparing all pairs takes minutes. At worst, a
    # frequent line counts as changed.
    matcher = SequenceMatcher(None, before[first : len(before) - last], after[first : len(after) - last])
    changes = matcher.get_opcodes()
    return [
        (starts[first + begin], starts[first + end])
        for kind, _, _, begin, end in changes
        if kind != "equal" and end > begin
    ]
