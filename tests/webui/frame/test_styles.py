"""Tests the page's styles for speed."""

from __future__ import annotations

import re

from pellucid_webui.frame.app import css


def test_hovering_restyles_few_elements() -> None:
    """No rule reaches any kind of element below a hovered element.

    Chromium would restyle all elements below the pointer, at every move: 0.3 s for a long text.
    """
    # Without the comma in `:is(:hover, …)`, a comma ends a selector.
    plain = re.sub(r"/\*.*?\*/", "", css(), flags=re.DOTALL).replace(":hover, ", ":hover ")
    slow = re.findall(r"[^{},;]*:(?:hover|focus-within)[^{},;]*\*[^{},;]*(?=[{,])", plain)
    assert slow == []
