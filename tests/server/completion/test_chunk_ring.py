"""Tests of the ring of chunks: sensible pieces, within the budget, seldom changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, MAX_CANDIDATES, MAX_CHUNK_LINES, ChunkRing, cut
from pellucid.completion.settings import ContextSettings

SETTINGS = ContextSettings(files_tokens=400)
A, B, C, NEW = "file:///a.py", "file:///b.py", "file:///c.py", "file:///new.py"


def function(name: str, lines: int = 3) -> str:
    return f"def {name}():\n" + "".join(f"    {name}_{number} = {number}\n" for number in range(lines)) + "\n\n"


def filled(*names: str, settings: ContextSettings = SETTINGS) -> ChunkRing:
    """A ring with one chunk of each edited file."""
    ring = ChunkRing(settings)
    for name in names:
        ring.note_edit(f"file:///{name}", name, function(name.partition(".")[0]), 0)
        assert ring.promote(NEW)
    return ring


def sent(ring: ChunkRing, exclude: str = "file:///none", around: str = "") -> list[str]:
    return [extra.filename for extra in ring.chunks(around, exclude)]


class TestCut:
    TEXT = (
        '"""A module."""\n\nimport os\n\n\n'
        + function("first", 4)
        + "@cached\n"
        + function("second", 4)
        + function("third", 40)
    )

    def test_from_the_definition_to_a_border(self) -> None:
        """A piece starts at the decorated definition and ends before the next definition."""
        line = self.TEXT.split("\n").index("    second_2 = 2")
        piece = cut(self.TEXT, line, 150)
        assert piece.startswith("@cached\ndef second():\n")
        assert piece.endswith("    second_3 = 3\n")

    def test_the_first_definition(self) -> None:
        """The chunk of an opened document starts at the first definition."""
        assert cut(self.TEXT, -1, 150).startswith("def first():\n")

    def test_ends_of_line(self) -> None:
        """Chunks have the same line ends in all documents."""
        assert cut("a\r\nb\rc\n", 0, 100) == "a\nb\nc\n"

    @pytest.mark.slow
    @given(
        st.lists(st.sampled_from(["", "x = 1", "    y", "def f():", "class A:", "z" * 70]), min_size=1, max_size=80),
        st.data(),
    )
    def test_size_and_place(self, lines: list[str], data: st.DataObject) -> None:
        """A piece is a part of the document, never too long, and contains the given line."""
        lines = [line and f"{line} {number}" for number, line in enumerate(lines)]
        line = data.draw(st.integers(0, len(lines) - 1))
        most = data.draw(st.integers(100, 2_000))
        piece = cut("\n".join(lines), line, most)
        assert piece.strip("\n") in "\n".join(lines)
        assert len(piece) <= most
        assert piece.count("\n") <= MAX_CHUNK_LINES
        assert lines[line] in piece

    def test_a_line_that_is_too_long(self) -> None:
        """A line beyond the budget is cut."""
        assert cut("x" * 500, 0, 100) == "x" * 99 + "\n"


class TestPromotion:
    def test_one_at_a_time(self) -> None:
        """Each call promotes one candidate, and returns False without candidates."""
        ring = ChunkRing(SETTINGS)
        ring.note_edit(A, "a.py", function("one"), 0)
        ring.note_edit(B, "b.py", function("two"), 0)
        assert (ring.promote(NEW), len(sent(ring))) == (True, 1)
        assert (ring.promote(NEW), len(sent(ring))) == (True, 2)
        version = ring.version
        assert (ring.promote(NEW), ring.version) == (False, version)

    def test_what_was_worked_on_comes_first(self) -> None:
        """Edited places are promoted before visited places, and opened documents last."""
        ring = ChunkRing(SETTINGS)
        ring.note_edit(C, "c.py", function("edited"), 0)
        ring.note_visit(B, "b.py", function("visited"), 0)
        ring.note_visit("file:///d.py", "d.py", "", 0)
        ring.note_open(A, "a.py", function("opened"))
        while ring.promote(NEW):
            pass
        assert sent(ring) == ["c.py", "b.py", "a.py"]

    def test_typing_is_one_candidate(self) -> None:
        """Edits near each other are a single candidate with the latest text."""
        ring = ChunkRing(ContextSettings(files_tokens=2_000))
        for lines in range(3, 20):
            ring.note_edit(A, "a.py", function("grows", lines), lines)
        ring.note_open(A, "a.py", function("grows", 20))
        assert ring.promote(NEW)
        assert not ring.promote(NEW)
        (extra,) = ring.chunks("", B)
        assert "grows_19" in extra.text

    def test_an_edited_place_stays_one(self) -> None:
        """A place edited and then visited has the rank of an edited place."""
        ring = ChunkRing(SETTINGS)
        ring.note_edit(B, "b.py", function("edited"), 0)
        ring.note_edit(A, "a.py", function("both"), 0)
        ring.note_visit(A, "a.py", function("both"), 2)
        ring.note_visit(C, "c.py", "", 0)
        assert ring.promote(NEW)
        assert sent(ring) == ["a.py"]

    def test_the_document_of_the_cursor_waits(self) -> None:
        """Candidates in the cursor's document are promoted when the cursor is in a new document."""
        ring = ChunkRing(SETTINGS)
        ring.note_visit(A, "a.py", function("one"), 0)
        ring.note_edit(A, "a.py", function("one"), 1)
        assert not ring.promote(A)
        ring.note_visit(B, "b.py", function("two"), 0)
        assert ring.promote(B)
        assert sent(ring, exclude=B) == ["a.py"]

    def test_a_jump_leaves_a_place(self) -> None:
        """A far jump of the cursor makes the last position a candidate, unlike a short move."""
        text = "".join(function(f"f{number}") for number in range(40))
        ring = ChunkRing(SETTINGS)
        ring.note_visit(A, "a.py", text, 0)
        ring.note_visit(A, "a.py", text, 20)
        ring.note_visit(A, "a.py", text, 150)
        ring.note_visit(B, "b.py", "", 0)
        while ring.promote(NEW):
            pass
        assert [extra.text.split("\n")[0] for extra in ring.chunks("", B)] == ["def f25():", "def f3():"]

    def test_the_queue_is_bounded(self) -> None:
        """A full queue drops the oldest documents that were only opened, not edited places."""
        ring = ChunkRing(ContextSettings(files_tokens=10_000))
        ring.note_edit(A, "a.py", function("edited"), 0)
        for number in range(MAX_CANDIDATES + 5):
            ring.note_open(f"file:///{number}.py", f"{number}.py", function(f"opened_{number}"))
        while ring.promote(NEW):
            pass
        names = sent(ring)
        assert (names[0], len(names)) == ("a.py", MAX_CANDIDATES)
        assert "5.py" not in names
        assert "6.py" in names

    def test_nothing_is_kept_without_a_budget(self) -> None:
        """A budget of 0 sends nothing."""
        ring = ChunkRing(ContextSettings(files_tokens=0))
        ring.note_edit(A, "a.py", function("one"), 0)
        assert (ring.promote(NEW), sent(ring)) == (False, [])


class TestLikeness:
    def test_what_is_there_already_is_dropped(self) -> None:
        """A copy of a chunk from any file changes nothing."""
        ring = filled("a.py")
        version = ring.version
        ring.note_edit(B, "b.py", function("a"), 0)
        assert (ring.promote(NEW), sent(ring), ring.version) == (False, ["a.py"], version)

    def test_a_newer_state_takes_over(self) -> None:
        """A chunk replaces a similar older chunk of the same document."""
        ring = filled("a.py", "b.py")
        ring.note_edit(A, "a.py", function("a", 5), 1)
        assert ring.promote(NEW)
        assert sent(ring) == ["b.py", "a.py"]
        assert "a_4 = 4" in ring.chunks("", B)[0].text

    def test_too_little_to_say(self) -> None:
        """A chunk with fewer than three lines of letters or digits is not sent."""
        ring = ChunkRing(SETTINGS)
        ring.note_edit(A, "a.py", "x = 1\n}\n{\n\n)\ny = 2\n", 0)
        assert not ring.promote(NEW)

    def test_what_stands_around_the_cursor_is_left_out(self) -> None:
        """A chunk with mostly the cursor's text is not sent, whatever the indentation."""
        ring = filled("a.py", "b.py")
        assert sent(ring, around=function("a").replace("    ", "\t")) == ["b.py"]
        assert sent(ring, around="a_0 = 0\n") == ["a.py", "b.py"]

    def test_cells_are_one_document(self) -> None:
        """Cells of a notebook are not sent together with cells of the same notebook."""
        ring = ChunkRing(SETTINGS)
        ring.note_edit("vscode-notebook-cell:/n.ipynb#1", "n.ipynb", function("cell"), 0)
        ring.promote(NEW)
        assert sent(ring, exclude="vscode-notebook-cell:/n.ipynb#2") == []
        assert sent(ring, exclude="vscode-notebook-cell:/m.ipynb#2") == ["n.ipynb"]


class TestEviction:
    def test_the_beginning_stays(self) -> None:
        """Chunks are appended up to the budget, and then the older half is dropped at once."""
        ring, before, cuts = ChunkRing(SETTINGS), list[str](), 0
        for number in range(60):
            ring.note_edit(f"file:///{number}.py", f"{number}.py", function(f"f{number}", 6), 0)
            assert ring.promote(NEW)
            now = sent(ring)
            assert now[-1] == f"{number}.py"
            if now[:-1] != before:
                cuts += 1
                assert before[len(before) - len(now) + 1 :] == now[:-1]
                assert len(now) - 1 <= len(before) / 2 + 1
            before = now
        assert 0 < cuts <= 60 / 3

    @pytest.mark.slow
    @given(
        st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60), st.booleans()), max_size=40), st.integers(1, 1_000)
    )
    def test_the_budget_holds(self, edits: list[tuple[int, int, bool]], budget: int) -> None:
        """All chunks together never exceed the budget."""
        ring = ChunkRing(ContextSettings(files_tokens=budget))
        for number, (file, lines, opened) in enumerate(edits):
            uri, name, text = f"file:///{file}.py", f"{file}.py", function(f"f{number}", lines)
            if opened:
                ring.note_open(uri, name, text)
            else:
                ring.note_edit(uri, name, text, lines)
            ring.promote(NEW)
            characters = sum(len(extra.text) + len(extra.filename) for extra in ring.chunks("", "file:///none"))
            assert characters <= budget * CHARACTERS_PER_TOKEN

    def test_what_was_only_opened_goes_first(self) -> None:
        """Chunks of opened documents are dropped before older chunks of edited documents."""
        ring = filled("a.py", "b.py")
        for number in range(10):
            ring.note_open(f"file:///{number}.py", f"{number}.py", function(f"f{number}", 12))
            ring.promote(NEW)
        full = sent(ring)
        assert len(full) > 2
        ring.note_edit(C, "c.py", function("c", 12), 0)
        assert ring.promote(NEW)
        assert sent(ring)[:2] == ["a.py", "b.py"]
        assert len(sent(ring)) < len(full)

    def test_what_was_only_opened_pushes_nothing_out(self) -> None:
        """A full ring accepts an edited document, but no document that was only opened."""
        ring = ChunkRing(SETTINGS)
        for number in range(20):
            ring.note_open(f"file:///{number}.py", f"{number}.py", function(f"f{number}", 12))
            ring.promote(NEW)
        opened = sent(ring)
        assert opened == [f"{number}.py" for number in range(len(opened))]
        assert len(opened) < 20
        for number in range(2):
            ring.note_edit(f"file:///e{number}.py", f"e{number}.py", function(f"e{number}", 12), 0)
            assert ring.promote(NEW)
        assert sent(ring)[-2:] == ["e0.py", "e1.py"]


class TestPermission:
    def test_a_candidate_that_may_not_be_sent(self) -> None:
        """A forbidden candidate is dropped for good, judged by its whole document and URI."""
        asked: list[tuple[str, str]] = []
        forbidden = {"file:///a.py"}

        def may_send(uri: str, text: str) -> bool:
            asked.append((uri, text))
            return uri not in forbidden

        ring = ChunkRing(SETTINGS, may_send)
        cell, text = "vscode-notebook-cell:/n.ipynb#1", function("b", 90)
        ring.note_edit(cell, "n.ipynb", text, 0)
        ring.note_edit(A, "a.py", function("a"), 0)
        assert ring.promote(NEW)
        assert asked == [(A, function("a")), (cell, text)]
        forbidden.clear()
        assert not ring.promote(NEW)
        assert sent(ring) == ["n.ipynb"]

    def test_a_chunk_that_may_not_be_sent_any_more(self) -> None:
        """A document ignored meanwhile is never sent again, and the version changes."""
        forbidden: set[str] = set()
        ring = ChunkRing(SETTINGS, lambda uri, text: uri not in forbidden and "password" not in text)
        for name in ("a.py", "b.py"):
            ring.note_edit(f"file:///{name}", name, function(name[0]), 0)
            assert ring.promote(NEW)
        version = ring.version
        assert (sent(ring), ring.version) == (["a.py", "b.py"], version)
        forbidden.add(A)
        assert sent(ring) == ["b.py"]
        assert ring.version != version
        forbidden.clear()
        assert sent(ring) == ["b.py"]


class TestForgetting:
    def test_a_document_that_became_secret(self) -> None:
        """Forgetting a document drops the chunks and candidates, and changes the version."""
        ring = filled("a.py", "b.py")
        ring.note_visit(A, "a.py", function("elsewhere"), 100)
        ring.note_edit(A, "a.py", function("other"), 200)
        version = ring.version
        ring.forget(A)
        ring.note_visit(C, "c.py", "", 0)
        assert sent(ring) == ["b.py"]
        assert ring.version != version
        assert not ring.promote(NEW)

    def test_a_stranger(self) -> None:
        """Forgetting an unknown document changes nothing."""
        ring = filled("a.py")
        version = ring.version
        ring.forget(B)
        assert (sent(ring), ring.version) == (["a.py"], version)


class TestRelated:
    @staticmethod
    def note(ring: ChunkRing, *names: str) -> None:
        ring.note_related((f"file:///{name}", name, function(name.partition(".")[0], 12), 0) for name in names)

    def test_best_first(self) -> None:
        """The best piece is promoted first."""
        ring = ChunkRing(SETTINGS)
        self.note(ring, "a.py", "b.py")
        ring.promote(NEW)
        assert sent(ring) == ["a.py"]

    def test_newer_ones_take_their_place(self) -> None:
        """New related pieces replace waiting pieces of an earlier cursor."""
        ring = ChunkRing(SETTINGS)
        self.note(ring, "a.py")
        self.note(ring, "b.py")
        while ring.promote(NEW):
            pass
        assert sent(ring) == ["b.py"]

    def test_edited_chunks_stay(self) -> None:
        """Any number of related pieces displaces related pieces only, never edited chunks."""
        ring = filled("edited.py")
        for number in range(20):
            self.note(ring, f"{number}.py")
            ring.promote(NEW)
        assert "edited.py" in sent(ring)
        assert "19.py" in sent(ring)

    def test_unsaved_text_is_newer(self) -> None:
        """The file of an edited document is not read, however the URI is spelled."""
        ring = filled("(group) a.py")
        ring.note_related([("file:///%28group%29%20a.py", "a.py", function("old"), 0)])
        assert not ring.promote(NEW)
