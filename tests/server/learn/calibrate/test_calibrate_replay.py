"""Tests of replayed cursors, and of records of right and wrong suggestions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.calibrate import cursors as replay
from pellucid.learn.calibrate.cursors import CursorKind, ReplayCursor, cursors, divide, draw
from pellucid.learn.calibrate.replay import is_right
from pellucid.learn.calibrate.replay_records import open_records
from pellucid.learn.corpus import Document
from support.learn.calibration_records import record


@pytest.mark.parametrize(
    ("text", "truth", "right"),
    [
        ("urn total", "urn total\n\nx", True),
        ("urn total  ", "urn total", True),
        ("a\nb", "a  \nb\n", True),
        ("foo(a)", "foo(a).bar()", True),
        ("foo(", "foo(a)", True),
        ("tot", "total", False),
        ("total", "total_of", False),
        ("é", "été", False),
        ("1", "12", False),
        ("urn a", "urn total", False),
        ("urn total\nx", "urn total", False),
        ("a\n\nb", "a\nb", False),
    ],
)
def test_right(text: str, truth: str, *, right: bool) -> None:
    """A prefix of the file's text is right, ignoring trailing blanks, unless a word is cut."""
    assert is_right(text, truth) is right


TEXT = """\
import os

def add(first, second):
    total = first + second
    if total:
        print(total)
    return total

x = add(1, 2)
"""


def of(kind: CursorKind, text: str = TEXT) -> list[tuple[str, str]]:
    """Return the text before each cursor of a kind on its line, and the missing text."""
    found = [cursor for cursor in cursors(Document("a.py", text)) if cursor.kind is kind]
    return [(cursor.place(text, suffix=True).left, cursor.truth(text, suffix=True)) for cursor in found]


def test_parts_make_the_file() -> None:
    """Text before, missing text and text after a cursor make the file, with or without suffix."""
    for cursor in cursors(Document("a.py", TEXT)):
        place = cursor.place(TEXT, suffix=True)
        assert place.before + cursor.truth(TEXT, suffix=True) + place.after == TEXT
        alone = cursor.place(TEXT, suffix=False)
        assert (alone.before + cursor.truth(TEXT, suffix=False), alone.after) == (TEXT, "")
        assert place.language == "python"


def test_kinds() -> None:
    """Each kind of cursor is at the place of its name."""
    assert ("    ", "return total") in of(CursorKind.LINE_START)
    assert ("x = ", "add(1, 2)") in of(CursorKind.WORD_START)
    assert ("x = add(1, ", "2)") in of(CursorKind.OPERATOR)
    assert ("    retu", "rn total") not in of(CursorKind.MID_WORD)
    assert ("    ret", "urn total") in of(CursorKind.MID_WORD)
    assert ("x = add(", "1, 2") in of(CursorKind.BRACKETS)


def test_bracket_stays() -> None:
    """A cursor between brackets has the closing bracket on the right."""
    (cursor,) = [
        one
        for one in cursors(Document("a.py", TEXT))
        if one.kind is CursorKind.BRACKETS and TEXT[one.at :].startswith("1, 2")
    ]

    assert cursor.place(TEXT, suffix=True).right == ")"


def test_block_is_not_written_yet() -> None:
    """At the head of a block or its first line, the rest of the block is missing."""
    body = "    total = first + second\n    if total:\n        print(total)\n    return total"
    (head,) = [truth for left, truth in of(CursorKind.LINE_START) if truth.startswith("def")]
    (first,) = [truth for left, truth in of(CursorKind.LINE_START) if truth.startswith("total =")]
    (inner,) = [truth for left, truth in of(CursorKind.LINE_START) if truth.startswith("if total")]

    assert head == f"def add(first, second):\n{body}"
    assert first == body.lstrip()
    assert inner == "if total:\n        print(total)"


def test_drawn() -> None:
    """Each chosen line has one cursor of each kind, the same every time, in the file's order."""
    documents = [Document(f"{number}.py", TEXT * 5) for number in range(3)]

    drawn = draw(documents, 50)

    lines = Counter((cursor.document, (TEXT * 5).count("\n", 0, cursor.at), cursor.kind) for cursor in drawn)
    assert len(drawn) == len(set(drawn)) == 50
    assert set(lines.values()) == {1}
    assert {cursor.kind for cursor in drawn} == set(CursorKind)
    assert drawn == sorted(draw(documents, 50), key=lambda cursor: (cursor.document, cursor.at, cursor.kind))
    assert drawn != draw(documents, 50, seed=1)


def test_more_are_the_same_and_others() -> None:
    """A larger count keeps the earlier cursors, so replayed cursors are reused."""
    documents = [Document(f"{number}.py", TEXT * 5) for number in range(3)]

    assert set(draw(documents, 20)) < set(draw(documents, 40)) < set(draw(documents, 300))


def test_fewer_than_asked_for() -> None:
    """A small file has as many cursors as kinds in its lines, without repetition."""
    drawn = draw([Document("a.py", "x = 123\nword\n")], 50)

    assert len(drawn) == len(set(drawn)) == 6


def test_line_ends() -> None:
    """Cursors refer to the text with line feeds, as in the language server."""
    crlf = Document("a.py", TEXT.replace("\n", "\r\n"))

    assert draw([crlf], 1000) == draw([Document("a.py", TEXT)], 1000)


def test_divided_by_file() -> None:
    """No file is in both parts, and about four tenths of the text are for measuring."""
    documents = [Document(f"{number}.py", "x" * 1000) for number in range(50)]

    fit, test = divide(documents)

    assert sorted(fit + test, key=lambda one: one.name) == sorted(documents, key=lambda one: one.name)
    assert len(test) == 20
    assert divide(documents[::-1]) == (fit, test)


def test_only_drawn_lines_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursors of a line are found only when drawn, and each file is measured once."""
    looked, measured = 0, 0
    columns = replay._columns

    def counting(line: str) -> object:
        nonlocal looked
        looked += 1
        return columns(line)

    class Text(str):
        def encode(self, *_: object, **__: object) -> bytes:
            nonlocal measured
            measured += 1
            return super().encode()

    monkeypatch.setattr(replay, "_columns", counting)
    documents = [Document(f"{number}.py", Text(TEXT * 20)) for number in range(100)]
    fit, test = divide(documents)
    assert len(draw([*fit, *test], 30)) == 30
    assert looked <= 30
    assert measured == 100


def test_too_few_files() -> None:
    """Three files are too few to fit on two and measure on two."""
    with pytest.raises(InvalidRequestError, match=r"There are 3 source files, but .* take 4: name a larger folder\."):
        divide([Document(f"{number}.py", "x") for number in range(3)])


def test_unknown_language() -> None:
    """A file of unknown type has no language, and is still replayed."""
    assert ReplayCursor("Makefile", CursorKind.MID_WORD, 1, 2).place("all:", suffix=True).language == ""


def test_records_are_read_again(tmp_path: Path) -> None:
    """A suggestion's parts and levels are stored."""
    records = [record(1, 0.5, True, True), record(2, 0.25, False), record(3, 0.5)]
    for kept in ([], records):
        with open_records(tmp_path / "records.jsonl", {"model": "m"}) as file:
            assert file.records == kept
            for one in records[len(kept) :]:
                file.append(one)
