"""The windows of a text."""

from __future__ import annotations

from common.text_windows import MIN_WINDOW, windows


def test_windows_do_not_overlap() -> None:
    """Windows are disjoint, within a text, and within the token limit together."""
    texts = [list(range(250)), list(range(1000, 1030)), list(range(2000, 2500))]
    found = [list(window) for window in windows(texts, 100, 500)]

    assert [(window[0], len(window)) for window in found] == [
        (0, 100),
        (100, 100),
        (2000, 100),
        (2100, 100),
        (2200, 100),
    ]
    assert all(len(window) >= MIN_WINDOW for window in found)
    assert [len(window) for window in windows(texts, 100, 270)] == [100, 100, 70]
