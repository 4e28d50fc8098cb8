"""Which names near a cursor are looked up, and in which order."""

from __future__ import annotations

from pellucid.completion.context.names_near_cursor import MAX_NAMES, names_near
from pellucid.completion.document_cursor import DocumentCursor


def names(before: str, after: str = "", language: str = "python") -> list[str]:
    cursor = DocumentCursor("file:///p/a", before, after, language)
    places = names_near(cursor)
    lines = (before + after).split("\n")
    assert all(lines[one.line].startswith(one.name, one.column) for one in places)
    return [one.name for one in places]


def test_order() -> None:
    """The cursor's line comes first, then unused imports, lines above, blocks, and lines below."""
    above = "".join(f"    line{number} = 1\n" for number in range(20))
    imports = "import unused, used_above\nfrom shop import (\n    total,\n)\n\n\n"
    before = f"{imports}def run(book: Book):\n{above}    used_above()\n"
    found = names(before + "    book.pages.", "later\n    below()\n", "python")
    assert found[:7] == ["pages", "book", "later", "unused", "total", "used_above", "line19"]
    assert found[-4:] == ["line9", "run", "Book", "below"]


def test_no_code() -> None:
    """Names in comments and strings, keywords, and the modules of Python's imports are left out."""
    assert names('from a.b import Thing\n"""A doc\nwith words"""\n# comment\nx = "text" if Thing else yes.') == [
        "yes",
        "Thing",
    ]
    assert names("/* one\n two */ const three = `four` // five\nthree.", "", "typescript") == ["three"]


def test_many_names() -> None:
    """The number of names is limited, and each name is asked for once."""
    found = names("\n".join(f"alpha, beta{number}, gamma{number}, delta{number}" for number in range(40)))
    assert len(found) == len(set(found)) == MAX_NAMES


def test_an_empty_document() -> None:
    """Without text there are no names."""
    assert names("") == []
