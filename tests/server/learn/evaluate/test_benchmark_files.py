"""Tests of the files of benchmarks and prompts."""

from __future__ import annotations

import json
from pathlib import Path

from pellucid.learn.evaluate.benchmark_files import json_lines, rows
from pellucid.learn.review.command import read_prompts

TEXTS = ["a\u2028b", "c\x85d", "e\x0cf"]


def test_json_lines(tmp_path: Path) -> None:
    """JSON allows line and paragraph separators in a string; a line may end in CRLF."""
    path = tmp_path / "lines.jsonl"
    path.write_bytes("\r\n".join(json.dumps({"prompt": text}, ensure_ascii=False) for text in TEXTS).encode())
    assert [one["prompt"] for one in json_lines(path, ("prompt",))] == TEXTS


def test_rows(tmp_path: Path) -> None:
    """A quoted field may contain separators and line breaks."""
    path = tmp_path / "table.csv"
    path.write_bytes('more,less\r\n"a\u2028b",c\x85d\r\n"two\nlines",x\r\n'.encode())
    assert rows(path, ("more", "less")) == [{"more": "a\u2028b", "less": "c\x85d"}, {"more": "two\nlines", "less": "x"}]


def test_prompts(tmp_path: Path) -> None:
    """Prompts of a review may contain separators, too."""
    path = tmp_path / "prompts.jsonl"
    path.write_text(
        "".join(json.dumps({"prompt": text}, ensure_ascii=False) + "\n" for text in TEXTS), encoding="utf-8"
    )
    assert read_prompts(path) == TEXTS
