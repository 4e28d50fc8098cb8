"""Tests the parser of unified diffs."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid_webui.inspection import unified_diff
from pellucid_webui.inspection.unified_diff import is_diff, parse_diff

DIFF = """diff --git a/src/mean.py b/src/mean.py
index 111..222 100644
--- a/src/mean.py
+++ b/src/mean.py
@@ -10,3 +10,4 @@ def mean(values):
     total = 0
-    return total
+    --count
+    return total / count

@@ -40 +41,0 @@
--- a comment of SQL
diff --git a/new.txt b/new.txt
--- /dev/null
+++ b/new.txt
@@ -0,0 +1 @@
+first
\\ No newline at end of file
"""


def test_hunks() -> None:
    """A hunk has a file, a section and numbered lines, even lines that look like headers."""
    first, second, third = parse_diff(DIFF)
    assert (first.file, first.section) == ("src/mean.py", "def mean(values):")
    assert [(line.kind, line.text, line.old, line.new) for line in first.lines] == [
        (" ", "    total = 0", 10, 10),
        ("-", "    return total", 11, None),
        ("+", "    --count", None, 11),
        ("+", "    return total / count", None, 12),
        (" ", "", 12, 13),
    ]
    assert [line.text for line in first.old] == ["    total = 0", "    return total", ""]
    assert [line.text for line in first.new] == ["    total = 0", "    --count", "    return total / count", ""]
    assert [(line.kind, line.text, line.old) for line in second.lines] == [("-", "-- a comment of SQL", 40)]
    assert (third.file, [line.text for line in third.new], third.old) == ("new.txt", ["first"], [])


def test_a_deleted_file() -> None:
    """A deleted file has the old name."""
    (hunk,) = parse_diff("--- a/gone.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-last\n")
    assert (hunk.file, [line.text for line in hunk.old]) == ("gone.txt", ["last"])


@pytest.mark.parametrize("text", ["", "a\n--- b\nc\n", "--- a\n+++ b\n", "@@ -1 +1 @@\n-a\n+b\n"])
def test_what_is_not_a_diff(text: str) -> None:
    """A text without the headers of a file and a hunk is not a diff."""
    assert not is_diff(text)
    assert is_diff(DIFF)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("words", "This diff has no changed lines"),
        ("--- a\n+++ b\n@@ -1,2 +1 @@\n-a\n+b\n", "Line 5 does not fit the line counts of its @@ header"),
        ("--- a\n+++ b\n@@ -1 +1 @@\n-a\n-b\n", "Line 5 does not fit"),
        ("--- a\n+++ b\n@@ -1,2 +1,2 @@\n a\n", "Line 4 does not fit"),
    ],
)
def test_damaged(text: str, sentence: str) -> None:
    """A damaged diff is refused in a sentence with the line."""
    with pytest.raises(InvalidRequestError, match=sentence):
        parse_diff(text)


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A diff with too many hunks is refused."""
    monkeypatch.setattr(unified_diff, "MAX_HUNKS", 2)
    with pytest.raises(InvalidRequestError, match="has 3 hunks, and 2 are read at most"):
        parse_diff(DIFF)


@given(st.text("@-+ 0123,\n\\ab", max_size=200))
def test_any_text(text: str) -> None:
    """Any text is parsed or refused."""
    with suppress(InvalidRequestError):
        parse_diff(text)
