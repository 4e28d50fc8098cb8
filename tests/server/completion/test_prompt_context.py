"""Tests of the window around the cursor: typing only appends, budgets hold, moves are seldom."""

import re
from copy import deepcopy
from itertools import pairwise

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, ChunkRing
from pellucid.completion.context.prompt_context import MAX_DOCUMENTS, PromptContext, window_end, window_start
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings
from pellucid.completion.suggestion import Prompt

SMALL = ContextSettings(prefix_tokens=40, suffix_tokens=20, files_tokens=100)
PREFIX, SUFFIX = int(40 * CHARACTERS_PER_TOKEN), int(20 * CHARACTERS_PER_TOKEN)
PIECES = ["x", "word ", "    ", "\n", "\r\n", "\r", "\n\n", "\f", "漢", "😋", "return value\n", "y" * 90]
texts = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
typings = st.lists(st.sampled_from(["a", "b", "(", " ", "\n", "\n    ", "\r\n", "漢", "😋"]), max_size=60)
CODE = "".join(f"def function_{number}(argument):\n    return argument + {number}\n\n\n" for number in range(400))


def cursor(before: str, after: str = "", uri: str = "file:///a.py") -> DocumentCursor:
    return DocumentCursor(uri, before, after, "python", "/a.py")


def context(some: ContextSettings = SMALL) -> PromptContext:
    return PromptContext(some, ChunkRing(some))


class TestTyping:
    @settings(max_examples=15)
    @given(texts, texts, st.lists(st.sampled_from([*"abc(): =.", "\n", "\n    "]), min_size=300, max_size=300))
    def test_each_prompt_begins_with_the_one_before(self, before: str, after: str, typed: list[str]) -> None:
        """300 keystrokes at one place, with new lines, append to the prompt and keep the suffix."""
        ours = context(ContextSettings())
        last = ours.prompt(cursor(CODE + before, after + CODE))
        for key in typed:
            before += key
            prompt = ours.prompt(cursor(CODE + before, after + CODE))
            assert prompt.prefix.startswith(last.prefix)
            assert (prompt.suffix, prompt.extra) == (last.suffix, last.extra)
            last = prompt

    @given(texts, texts, typings)
    def test_the_window_slides_seldom(self, before: str, after: str, typed: list[str]) -> None:
        """The window's start moves at most once for each half of the budget that is typed."""
        ours = context()
        starts = [len(before) - len(ours.prompt(cursor(before, after)).prefix)]
        for key in typed:
            before += key
            prompt = ours.prompt(cursor(before, after))
            assert len(prompt.prefix) <= 1.5 * PREFIX + 1
            starts.append(len(before) - len(prompt.prefix))
        moves = sum(one != other for one, other in pairwise(starts))
        assert moves <= 1 + len("".join(typed)) / (PREFIX / 2)

    def test_the_window_keeps_its_size(self) -> None:
        """Typing keeps the window between 0.5 and 1.5 of the budget, and moves by halves."""
        ours, typed = context(), "word\n" * 200
        sizes = [len(ours.prompt(cursor(CODE + typed[:length])).prefix) for length in range(len(typed))]
        assert min(sizes) >= PREFIX / 2
        assert PREFIX * 1.4 <= max(sizes) <= PREFIX * 1.5
        assert sum(later < earlier for earlier, later in pairwise(sizes)) <= 1_000 / (PREFIX / 2)

    def test_a_file_of_long_lines_is_appended_to_as_well(self) -> None:
        """A window that begins within a line is kept like any window."""
        ours, line = context(), "x" * 5_000
        first = ours.prompt(cursor(line))
        assert ours.prompt(cursor(line + "yz")).prefix == first.prefix + "yz"

    def test_taking_back_what_was_typed_gives_the_same_prompt(self) -> None:
        """A backspace restores the cached prompt."""
        ours = context()
        first = ours.prompt(cursor(CODE, CODE))
        ours.prompt(cursor(CODE + "abc", CODE))
        assert ours.prompt(cursor(CODE, CODE)) == first


class TestMoving:
    def test_an_edit_above_the_window_leaves_the_prompt_as_it_is(self) -> None:
        """Adding or deleting lines above the window moves the window along."""
        ours, typed = context(), CODE + "x" * (PREFIX // 4)
        ours.prompt(cursor(CODE))
        first = ours.prompt(cursor(typed))
        assert ours.prompt(cursor("import os\n" + typed)) == first
        assert ours.prompt(cursor(typed)) == first

    def test_a_window_found_again_is_not_moved_to_the_same_text_elsewhere(self) -> None:
        """The window stays in place after an edit above, even among equal lines."""
        ours, lines = context(), "same line\n" * 100
        first = ours.prompt(cursor(lines))
        assert ours.prompt(cursor("x = 1\n" + lines)).prefix == first.prefix

    def test_a_window_that_lost_its_beginning_is_given_up(self) -> None:
        """The whole text is read if more text was deleted than was above the window."""
        ours = context(ContextSettings(prefix_tokens=400))
        ours.prompt(cursor("same line\n" * 1_000))
        left = "\n" + "same line\n" * 128
        assert ours.prompt(cursor(left)).prefix == left

    def test_a_jump_up_takes_a_new_window(self) -> None:
        """A new window of the budget's size is far above the old window."""
        ours = context()
        ours.prompt(cursor(CODE, ""))
        half = CODE.index("def function_200")
        prompt = ours.prompt(cursor(CODE[:half], CODE[half:]))
        assert CODE[:half].endswith(prompt.prefix)
        assert PREFIX / 2 <= len(prompt.prefix) <= PREFIX

    def test_back_from_a_jump(self) -> None:
        """A jump back to a recent position restores the earlier prompt."""
        ours, typed = context(), "x" * (PREFIX // 4)
        up_there = CODE.index("def function_200")
        ours.prompt(cursor(CODE, "\n"))
        first = ours.prompt(cursor(CODE + typed, "\n"))
        up = ours.prompt(cursor(CODE[:up_there], CODE[up_there:] + typed + "\n"))
        edited = ours.prompt(cursor(CODE[:up_there] + "y = 1\n", CODE[up_there:] + typed + "\n"))
        back = ours.prompt(cursor(CODE[:up_there] + "y = 1\n" + CODE[up_there:] + typed, "\n"))
        assert edited.prefix == up.prefix + "y = 1\n"
        assert back == first

    def test_a_step_up_within_the_window_does_not_starve_the_prefix(self) -> None:
        """The window moves up rather than holding less than half of the budget."""
        ours = context()
        ours.prompt(cursor(CODE))
        assert len(ours.prompt(cursor(CODE[:-PREFIX])).prefix) >= PREFIX / 2

    def test_a_closed_document_is_forgotten(self) -> None:
        """A document that is opened again gets a new window."""
        ours = context()
        ours.prompt(cursor(CODE))
        typed = "x" * (PREFIX // 3)
        grown = ours.prompt(cursor(CODE + typed)).prefix
        ours.forget("file:///a.py")
        assert ours.prompt(cursor(CODE + typed)).prefix == context().prompt(cursor(CODE + typed)).prefix != grown

    def test_the_latest_documents_are_remembered(self) -> None:
        """Only the windows of the most recent documents are kept, however many are opened."""
        ours, typed = context(), CODE + "x" * (PREFIX // 3)
        for number in range(MAX_DOCUMENTS + 2):
            ours.prompt(cursor(CODE, uri=f"file:///{number}.py"))
            ours.prompt(cursor(CODE, uri="file:///0.py"))
        fresh = context().prompt(cursor(typed)).prefix
        grown = [
            deepcopy(ours).prompt(cursor(typed, uri=f"file:///{number}.py")).prefix != fresh
            for number in range(MAX_DOCUMENTS + 2)
        ]
        kept = [number for number, more in enumerate(grown) if more]
        assert kept == [0, *range(3, MAX_DOCUMENTS + 2)]

    def test_documents_have_windows_of_their_own(self) -> None:
        """Work in a second document does not move the window of the first."""
        ours = context()
        ours.prompt(cursor(CODE))
        ours.prompt(cursor("other", uri="file:///b.py"))
        typed = "x" * (PREFIX // 3)
        assert len(ours.prompt(cursor(CODE + typed)).prefix) > PREFIX


class TestBudget:
    @given(texts, texts)
    def test_a_fresh_prompt_keeps_to_its_budget(self, before: str, after: str) -> None:
        """The prompt is the text next to the cursor on both sides, within the budgets."""
        prompt = context().prompt(cursor(before, after))
        assert before.endswith(prompt.prefix)
        assert after.startswith(prompt.suffix)
        assert min(len(before), PREFIX // 2 - 1) <= len(prompt.prefix) <= PREFIX
        assert min(len(after), SUFFIX // 2) <= len(prompt.suffix) <= SUFFIX + 1

    @given(texts, st.integers(20, 100))
    def test_windows_are_of_whole_lines(self, text: str, most: int) -> None:
        """A window begins and ends between lines where possible, and never between CR and LF."""
        start, end = window_start(text, most), window_end(text, most)
        for index in (start, end):
            assert text[max(index - 1, 0) : index + 1] != "\r\n"
        borders = {0, len(text), *(match.end() for match in re.finditer(r"\r\n|\r|\n", text))}
        assert start in borders or not borders & set(range(len(text) - most, len(text) - most // 2 + 1))
        assert end in borders or not borders & set(range(most // 2 + 2, most + 1))

    @given(texts)
    def test_no_suffix(self, after: str) -> None:
        """No text after the cursor is sent with a budget of 0."""
        assert context(ContextSettings(suffix_tokens=0)).prompt(cursor("x", after)).suffix == ""


class TestChunks:
    def test_chunks_are_chosen_once_for_a_place(self) -> None:
        """A sent chunk stays while its text is typed, and is left out at a new place."""
        some = ContextSettings()
        ring = ChunkRing(some)
        ours, chunk = (
            PromptContext(some, ring),
            "def area(width, height):\n    checked(width, height)\n    return width * height\n",
        )
        ring.note_edit("file:///b.py", "b.py", chunk, 0)
        assert ring.promote("file:///new.py")
        first = ours.prompt(cursor(CODE))
        assert [extra.text for extra in first.extra] == [chunk]
        assert ours.prompt(cursor(CODE + chunk)).extra == first.extra
        ours.forget("file:///a.py")
        assert ours.prompt(cursor(CODE + chunk)).extra == ()

    def test_a_new_chunk_is_sent_from_the_next_prompt_on(self) -> None:
        """The prompt changes only at the end of its chunks when the ring changes."""
        some = ContextSettings()
        ring = ChunkRing(some)
        ours = PromptContext(some, ring)
        assert ours.prompt(cursor("x")) == Prompt("x", "")
        ring.note_edit("file:///b.py", "b.py", "one = 1\ntwo = 2\nthree = 3\n", 0)
        ring.promote("file:///new.py")
        assert [extra.filename for extra in ours.prompt(cursor("x")).extra] == ["b.py"]
        ring.forget("file:///b.py")
        assert ours.prompt(cursor("x")) == Prompt("x", "")

    def test_each_prompt_is_checked(self) -> None:
        """Chunks of a file that has been ignored since are dropped from the next prompt."""
        some, forbidden = ContextSettings(), set[str]()
        ring = ChunkRing(some, lambda uri, text: uri not in forbidden)
        ours = PromptContext(some, ring)
        for name in ("b", "c"):
            ring.note_edit(f"file:///{name}.py", f"{name}.py", f"{name}1 = 1\n{name}2 = 2\n{name}3 = 3\n", 0)
            assert ring.promote("file:///new.py")
        assert [extra.filename for extra in ours.prompt(cursor("x")).extra] == ["b.py", "c.py"]
        forbidden.add("file:///b.py")
        assert [extra.filename for extra in ours.prompt(cursor("xy")).extra] == ["c.py"]

    @given(texts)
    def test_the_document_itself_is_not_among_them(self, text: str) -> None:
        """Chunks of a document are never sent together with that document."""
        assume(text)
        some = ContextSettings()
        ring = ChunkRing(some)
        ring.note_edit("file:///a.py", "a.py", CODE, 100)
        ring.promote("file:///new.py")
        assert PromptContext(some, ring).prompt(cursor(text)).extra == ()
