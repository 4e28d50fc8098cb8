"""Tests of the repository index: pieces with names near the cursor, and no private files."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from pellucid.completion.context import ignore_files, repository_index
from pellucid.completion.context.privacy import Privacy
from pellucid.completion.context.repository_index import MAX_BYTES, PIECE_LINES, RepositoryIndex
from pellucid.completion.context.search_budget import SearchBudget
from pellucid.completion.context.workspace_files import SharedThread, WorkspaceFiles
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings

ORDERS = "class OrderBook:\n    def add_order(self, order, price_limit):\n        self.open_orders.append(order)\n"
SHAPES = "class Polygon:\n    def area_of(self, corner_points):\n        return sum_of_triangles(corner_points)\n"
BEFORE = "from orders import OrderBook\n\nbook = OrderBook()\nbook.add_order("


def refresh(index: RepositoryIndex) -> None:
    """Find and read the files, even shortly after the last refresh."""
    index._next_walk = 0.0
    index.walk()
    index.read()


def indexed(folder: Path, exclude: tuple[str, ...] = ()) -> RepositoryIndex:
    privacy = Privacy([folder], exclude)
    index = RepositoryIndex([folder], privacy.permits)
    refresh(index)
    return index


def found(index: RepositoryIndex, exclude: Path | None = None) -> list[str]:
    refresh(index)
    return [piece.path.name for piece in index.related(BEFORE, "", exclude)]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)


def test_shared_names(tmp_path: Path) -> None:
    """The piece that defines the names at the cursor is first, and shared names are required."""
    write(tmp_path, orders=ORDERS, shapes=SHAPES, usage=f"{SHAPES}\nbook = None\n")
    pieces = indexed(tmp_path).related(BEFORE, "", None)
    assert [piece.path.name for piece in pieces] == ["orders.py", "usage.py"]
    assert (pieces[0].line, pieces[0].text) == (0, ORDERS)


def test_files_with_a_name(tmp_path: Path) -> None:
    """All files with a whole name are found with their present texts, however short."""
    short = "from orders import OrderBook\n"
    write(tmp_path, orders=ORDERS, exports=short, shapes=SHAPES, longer="OrderBooks = a_name\n", php="$OrderBook = 1\n")
    index = indexed(tmp_path)
    assert {path.name for path, _ in index.files_with({"OrderBook"}, SearchBudget(60.0))} == {
        "orders.py",
        "exports.py",
        "php.py",
    }
    write(tmp_path, exports=short.upper())
    assert dict(index.files_with({"OrderBook"}, SearchBudget(60.0)))[tmp_path / "exports.py"] == short.upper()
    assert list(index.files_with({"größe", 'x" OR "orders'}, SearchBudget(60.0))) == []
    assert list(index.files_with({"corner"}, SearchBudget(60.0))) == []
    index.close()
    assert list(index.files_with({"OrderBook"}, SearchBudget(60.0))) == []


def test_files_that_are_not_indexed_yet(tmp_path: Path) -> None:
    """A name is found in walked files and in files changed after indexing, in any alphabet."""
    write(tmp_path, orders=ORDERS, shapes=SHAPES, third="größe = OrderBook\n")
    privacy = Privacy([tmp_path])
    index = RepositoryIndex([tmp_path], privacy.permits)
    index.walk()
    assert names_of(index, "OrderBook") == (["orders.py", "third.py"], "3 of 3 files")
    index.read(counted(steps := [0], 2))
    assert steps == [3]  # The function was asked before each file, and stopped the third.
    assert names_of(index, "OrderBook") == (["orders.py", "third.py"], "3 of 3 files")
    assert names_of(index, "größe") == (["third.py"], "3 of 3 files")
    index.read()
    write(tmp_path, shapes=f"{SHAPES}\nbook = OrderBook()\n")
    index._next_walk = 0.0
    index.walk()
    assert names_of(index, "OrderBook") == (["orders.py", "shapes.py", "third.py"], "3 of 3 files")


def names_of(index: RepositoryIndex, name: str) -> tuple[list[str], str]:
    """Return the files with a name, and the numbers of files searched."""
    budget = SearchBudget(60.0)
    return sorted(path.name for path, _ in index.files_with({name}, budget)), str(budget)


def counted(steps: list[int], allowed: int) -> Callable[[], bool]:
    """Return a function that counts its calls, and allows this number."""

    def may_continue() -> bool:
        steps[0] += 1
        return steps[0] <= allowed

    return may_continue


def test_a_search_ends_early(tmp_path: Path) -> None:
    """A search whose time is over reads no further file, and reports the number of files read."""
    write(tmp_path, **{f"file{number:02}": ORDERS for number in range(40)})
    index = RepositoryIndex([tmp_path], lambda uri, text: True)
    index.walk()
    budget = SearchBudget(60.0)
    found = index.files_with({"OrderBook"}, budget)
    for _ in range(3):
        next(found)
    budget.stopped.set()
    assert list(found) == []
    assert (str(budget), budget.is_complete) == ("3 of 40 files", False)


def test_a_stopped_walk(tmp_path: Path) -> None:
    """A stopped walk ends soon and changes nothing, and the next walk finds all files."""
    write(tmp_path, **{f"file{number:02}": ORDERS for number in range(40)})
    index = RepositoryIndex([tmp_path], lambda uri, text: True)
    index.walk(counted(steps := [0], 10))
    assert steps[0] <= 13
    assert names_of(index, "OrderBook") == ([], "0 of 0 files")
    index.walk()
    assert len(names_of(index, "OrderBook")[0]) == 40


def test_each_ignore_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk reads the ignore files of each folder once, and no content of the files."""
    (tmp_path / ".git").mkdir()
    for folder in ("a", "a/b", "c"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / ".gitignore").write_text("*.log\n")
        write(tmp_path / folder, **{f"file{number:02}": ORDERS for number in range(50)})
    looked: list[Path] = []
    stamp = ignore_files.file_stamp

    def counting(file: Path) -> ignore_files.Stamp | None:
        looked.append(file)
        return stamp(file)

    monkeypatch.setattr(ignore_files, "file_stamp", counting)
    index = RepositoryIndex([tmp_path], lambda uri, text: pytest.fail("a file was read"))
    index.walk()
    assert sorted(Counter(path.parent for path in looked if path.name == ".gitignore").values()) == [1, 1, 1, 1]
    assert len(looked) < 20


def test_further_files_are_searched_but_not_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files beyond the limit of the index are found by searching their texts."""
    monkeypatch.setattr(repository_index, "MAX_FILES", 2)
    write(tmp_path, a=SHAPES, b=SHAPES, c=SHAPES, orders=ORDERS)
    index = indexed(tmp_path)
    assert index.related(BEFORE, "", None) == []
    assert names_of(index, "OrderBook") == (["orders.py"], "4 of 4 files")


def test_names_after_the_cursor_and_of_imports(tmp_path: Path) -> None:
    """Names count in the next lines and in imports, but not in lines far above."""
    write(tmp_path, orders=ORDERS)
    index = indexed(tmp_path)
    far = "\n" * 30
    assert index.related(f"x = 1{far}y = ", "\nbook.add_order(y)\n", None)
    assert index.related(f"from orders import OrderBook{far}y = ", "", None)
    assert not index.related(f"x = OrderBook(){far}y = ", "", None)


def test_rare_names_count_most(tmp_path: Path) -> None:
    """A name in many files counts less than a name in a single file."""
    write(
        tmp_path,
        orders=ORDERS,
        **{f"many{number}": f"book = 1\nother = {number}\nthird = fourth_name(book)\n" for number in range(9)},
    )
    assert found(indexed(tmp_path))[0] == "orders.py"


def test_own_document_is_left_out(tmp_path: Path) -> None:
    """The document of the cursor is left out."""
    write(tmp_path, orders=ORDERS)
    assert found(indexed(tmp_path), tmp_path / "orders.py") == []


def test_changes_are_seen(tmp_path: Path) -> None:
    """A refresh reads new and changed files, and forgets deleted files."""
    write(tmp_path, orders=ORDERS)
    index = indexed(tmp_path)
    write(tmp_path, orders=SHAPES, more=ORDERS + "# changed\n")
    assert found(index) == ["more.py"]
    (tmp_path / "more.py").unlink()
    assert found(index) == []


def test_private_files_are_never_found(tmp_path: Path) -> None:
    """Ignored, excluded, secret and hidden files are not indexed, nor are folders of packages."""
    (tmp_path / ".gitignore").write_text("ignored.py\nbuild/\n")
    for folder in ("build", "node_modules", ".hidden"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, orders=ORDERS)
    write(tmp_path, ignored=ORDERS, excluded=ORDERS, key=f"{ORDERS}\n-----BEGIN PRIVATE KEY-----\n{'a' * 64}\n")
    assert found(indexed(tmp_path, ("excluded.py",))) == []


def test_what_became_private_is_not_returned(tmp_path: Path) -> None:
    """An indexed file that is ignored now is not returned, even before the next refresh."""
    write(tmp_path, orders=ORDERS)
    index = indexed(tmp_path)
    (tmp_path / ".gitignore").write_text("orders.py\n")
    assert index.related(BEFORE, "", None) == []


def test_odd_files(tmp_path: Path) -> None:
    """Files in unknown encodings, unreadable folders and pipes do not hide the remaining files."""
    write(tmp_path, orders=ORDERS)
    (tmp_path / "latin.py").write_bytes(ORDERS.encode() + b"# caf\xe9\n")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py")).write_text(ORDERS)
    os.mkfifo(tmp_path / "pipe.py")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o400)
    deep = tmp_path
    for _ in range(60):
        deep /= "deeper"
    deep.mkdir(parents=True)
    assert found(indexed(tmp_path)) == ["orders.py"]


@pytest.mark.parametrize("change", ["link", "folder link", "pipe", "large"])
def test_what_became_something_else(tmp_path: Path, change: str) -> None:
    """An indexed file is not read after becoming an outside link, a pipe or a huge file."""
    (workspace := tmp_path / "workspace" / "inner").mkdir(parents=True)
    (outside := tmp_path / "outside").mkdir()
    write(outside, orders=ORDERS)
    write(workspace, orders=ORDERS)
    index = indexed(tmp_path / "workspace")
    (workspace / "orders.py").unlink()
    match change:
        case "link":
            (workspace / "orders.py").symlink_to(outside / "orders.py")
        case "folder link":
            workspace.rmdir()
            workspace.symlink_to(outside)
        case "pipe":
            os.mkfifo(workspace / "orders.py")
        case _:
            (workspace / "orders.py").write_text(ORDERS + "#" * MAX_BYTES)
    assert index.related(BEFORE, "", None) == []


def test_walk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk ends after a number of names, and a search reports that more files exist."""
    monkeypatch.setattr(repository_index, "MAX_WALKED", 40)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, **{f"orders_{folder}": ORDERS})
        for number in range(30):
            (tmp_path / folder / f"{number}.png").touch()
    index = indexed(tmp_path)
    assert found(index) == ["orders_a.py"]
    assert names_of(index, "OrderBook") == (["orders_a.py"], "1 of more than 1 files")


def test_names_of_secrets(tmp_path: Path) -> None:
    """A file that was never opened and is named like a secret is left out, even if code."""
    for name in ("secrets.py", "db_credentials.py", "env.sh", "secretary.py"):
        (tmp_path / name).write_text(ORDERS)
    assert found(indexed(tmp_path)) == ["secretary.py"]


def test_overlapping_pieces_are_one(tmp_path: Path) -> None:
    """Only the best of pieces that share lines is returned."""
    write(tmp_path, orders="\n" * (PIECE_LINES // 2) + ORDERS + "\n" * PIECE_LINES + ORDERS)
    lines = [piece.line for piece in indexed(tmp_path).related(BEFORE, "", None)]
    assert len(lines) == 2
    assert abs(lines[0] - lines[1]) >= PIECE_LINES


def test_refreshes_are_seldom(tmp_path: Path) -> None:
    """A file that was written just after a refresh waits for the next refresh."""
    index = RepositoryIndex([tmp_path], lambda uri, text: True)
    index.walk()
    write(tmp_path, orders=ORDERS)
    index.walk()
    index.read()
    assert index.related(BEFORE, "", None) == []


def test_closed(tmp_path: Path) -> None:
    """A late refresh after closing does nothing, and nothing is found."""
    write(tmp_path, orders=ORDERS)
    index = indexed(tmp_path)
    index.close()
    assert found(index) == []


def test_names_are_no_queries(tmp_path: Path) -> None:
    """Words of SQLite's query language, and signs in names, are ordinary names."""
    write(tmp_path, js="const $near = NEAR(AND, NOT);\n")
    assert [piece.path.name for piece in indexed(tmp_path).related("$near NEAR AND NOT OR", "", None)] == ["js.py"]


class Endless:
    """Work that continues as long as permitted."""

    def __init__(self) -> None:
        self.begun = 0
        self.running, self.ended = Event(), Event()

    def __call__(self, may_continue: Callable[[], bool]) -> None:
        self.begun += 1
        self.ended.clear()
        self.running.set()
        while may_continue():
            pass
        self.ended.set()


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_thread_for_all_who_wait() -> None:
    """A second request shares the first's work, and the work ends when both are cancelled."""
    work, shared = Endless(), SharedThread()
    first, second = (asyncio.create_task(shared.wait(work)) for _ in range(2))
    await asyncio.to_thread(work.running.wait)
    await cancel(first)
    assert not await asyncio.to_thread(work.ended.wait, 0.05)
    await cancel(second)
    assert await asyncio.to_thread(work.ended.wait, 60)
    assert work.begun == 1
    work.running.clear()
    third = asyncio.create_task(shared.wait(work))
    await asyncio.to_thread(work.running.wait)
    assert work.begun == 2
    await cancel(third)
    assert await asyncio.to_thread(work.ended.wait, 60)


async def test_a_cancelled_request_stops_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No further folder is read when the request that began a walk is cancelled."""
    for number in range(50):
        (tmp_path / f"{number:02}").mkdir()
        (tmp_path / f"{number:02}" / "orders.py").write_text(ORDERS)
    read: list[str] = []
    reached, go_on = Event(), Event()
    scandir = os.scandir

    def slow(folder: str) -> object:
        read.append(folder)
        if len(read) == 5:
            reached.set()
            go_on.wait()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", slow)
    files = WorkspaceFiles([tmp_path], ContextSettings())
    request = asyncio.create_task(files.finder({}))
    await asyncio.to_thread(reached.wait)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    go_on.set()
    find = await files.finder({})  # The next request looks for all files.
    assert len(read) == 5 + 51
    budget = SearchBudget(60.0)
    assert len(list(find({"OrderBook"}, budget))) == 50
    assert str(budget) == "50 of 50 files"
    files.close()


async def test_a_search_does_not_wait_for_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for a name neither checks files without the name nor indexes files."""
    for number in range(200):
        (tmp_path / f"other{number}.py").write_text(f"number = {number}\n")
    (tmp_path / "orders.py").write_text(ORDERS)
    checked: list[str] = []
    refusal = WorkspaceFiles._privacy

    def counting(self: WorkspaceFiles) -> object:
        privacy = refusal(self)
        asked = privacy.refusal

        def note(path: str | None, text: str, uri: str = "") -> str | None:
            checked.append(uri)
            return asked(path, text, uri)

        monkeypatch.setattr(privacy, "refusal", note)
        return privacy

    monkeypatch.setattr(WorkspaceFiles, "_privacy", counting)
    files = WorkspaceFiles([tmp_path], ContextSettings())
    find = await files.finder({})
    assert [Path(uri).name for uri, _ in find({"OrderBook"}, SearchBudget(60.0))] == ["orders.py"]
    assert len(checked) == 1
    cursor = DocumentCursor((tmp_path / "new.py").as_uri(), "book = OrderBook()\nbook.add_order(", "", "python")
    assert [piece.path.name for piece in await files.related(cursor)] == ["orders.py"]
    assert len(checked) > 200
    files.close()
