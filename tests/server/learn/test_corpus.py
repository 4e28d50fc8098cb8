"""Tests of a corpus: the right files, and the right parts held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn import corpus
from pellucid.learn.corpus import FEW_FILES, Corpus, CorpusBudget, Document, gather, split
from pellucid.system.progress import Noted, Silent, Work


def write(folder: Path, **files: str) -> None:
    """Write files by names: two underscores are a slash, and the last underscore is the dot."""
    for name, text in files.items():
        path = folder / ".".join(name.replace("__", "/").rsplit("_", 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(corpus: Corpus) -> list[str]:
    return [document.name for document in corpus.documents]


class TestGather:
    def test_a_folder(self, tmp_path: Path) -> None:
        """Files are sorted by names below the folder, without hidden files and tool folders."""
        write(tmp_path, b_py="b", a__c_txt="c", a__b__d_py="d")
        write(tmp_path / ".hidden", x_py="x")
        write(tmp_path / "node_modules", y_py="y")
        assert names(gather([tmp_path])) == ["a/b/d.py", "a/c.txt", "b.py"]

    def test_suffixes(self, tmp_path: Path) -> None:
        """Files of unwanted suffixes are skipped and counted; a named file is always read."""
        write(tmp_path, a_py="a", b_md="b")
        found = gather([tmp_path], suffixes=[".py"])
        assert (names(found), found.skipped) == (["a.py"], {"of other kinds": 1})
        assert names(gather([tmp_path / "b.md"], suffixes=[".py"])) == ["b.md"]

    def test_gitignore(self, tmp_path: Path) -> None:
        """Files that git ignores are not read; the innermost matching .gitignore decides."""
        write(tmp_path, a_py="a", b_log="b", c__d_log="d", c__e_log="e", build__f_py="f")
        (tmp_path / ".gitignore").write_text("*.log\n/build/\n")
        (tmp_path / "c" / ".gitignore").write_text("!d.log\n")
        found = gather([tmp_path])
        assert names(found) == ["a.py", "c/d.log"]
        assert found.skipped == {"ignored by git": 2, "folders ignored by git": 1}

    def test_a_folder_that_git_ignores(self, tmp_path: Path) -> None:
        """A named folder is read even if ignored by the repository, by its own rules within."""
        (tmp_path / ".git").mkdir()
        write(tmp_path, _gitignore="env/\n")
        package = tmp_path / "env" / "package"
        package.mkdir(parents=True)
        write(package, a_py="a", b_log="b", _gitignore="*.log\n")
        assert names(gather([package])) == ["a.py"]

    def test_without_a_folder(self, tmp_path: Path) -> None:
        """Output next to the text is not read."""
        write(tmp_path, a_py="a", run__plan_json="b")
        assert names(gather([tmp_path], without=tmp_path / "run")) == ["a.py"]
        assert names(gather([tmp_path])) == ["a.py", "run/plan.json"]

    def test_what_is_no_text(self, tmp_path: Path) -> None:
        """Files that are not text are skipped, and counted by reason."""
        write(tmp_path, a_py="a", b_py="a", c_py=" \n", d_py="d" * 101)
        (tmp_path / "e.bin").write_bytes(b"a\0b")
        (tmp_path / "f.txt").write_bytes(b"caf\xe9")
        (tmp_path / "g.txt").symlink_to(tmp_path / "a.py")
        found = gather([tmp_path], largest=100)
        assert names(found) == ["a.py"]
        assert found.skipped == {
            "duplicates": 1,
            "empty": 1,
            "larger than 100 bytes": 1,
            "not text": 1,
            "not in UTF-8": 1,
        }
        assert (
            str(found)
            == "1 file, 1 bytes; skipped: 1 duplicates, 1 empty, 1 larger than 100 bytes, 1 not in UTF-8, 1 not text"
        )

    def test_a_large_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A sample of the files within the budget is read, by hashes of names, and is reported."""
        write(tmp_path, **{f"{number:03}_py": f"x = {number}\n" for number in range(300)})
        read: list[Path] = []

        def counting(path: Path, largest: int) -> bytes:
            read.append(path)
            return path.read_bytes()

        monkeypatch.setattr(corpus, "read_bytes", counting)
        found = gather([tmp_path], budget=CorpusBudget(20, 1_000_000))
        assert len(read) == len(found.documents) == 20
        assert found.skipped == {"of 300 beyond a sample of 20 files or 1.0 MB": 280}
        assert "skipped: 280 of 300 beyond a sample of 20 files or 1.0 MB" in str(found)
        assert gather([tmp_path], budget=CorpusBudget(20, 1_000_000)) == found
        assert set(names(found)) < set(names(gather([tmp_path], budget=CorpusBudget(40, 1_000_000))))
        assert gather([tmp_path], budget=CorpusBudget(1000, 100)).size <= 100
        write(tmp_path, **{"999_py": "a new file"})
        assert len({*names(gather([tmp_path], budget=CorpusBudget(20, 1_000_000)))} & {*names(found)}) >= 19

    def test_progress(self, tmp_path: Path) -> None:
        """Each found or read file is a step, and Ctrl-C between steps ends the work at once."""
        write(tmp_path, **{f"{number:03}_py": f"x = {number}\n" for number in range(30)})
        shown = Noted(Silent())
        gather([tmp_path], progress=shown)
        assert shown.now == Work("reading files", 30, 30)

        class Interrupted(Silent):
            steps = 0

            def advance(self, count: int) -> None:
                self.steps += 1
                if self.steps == 10:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            gather([tmp_path], progress=(progress := Interrupted()))
        assert progress.steps == 10

    def test_a_folder_that_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder with very many names, as the file system's root, is refused in one sentence."""
        write(tmp_path, **{f"{number:03}_py": "x" for number in range(30)})
        monkeypatch.setattr(corpus, "MAX_WALKED", 20)
        with pytest.raises(
            InvalidRequestError, match=r"contains more than 20 files and folders: name a smaller folder\."
        ):
            gather([tmp_path])


def documents(count: int, lines: int) -> Corpus:
    return Corpus(tuple(Document(f"{number:03}.txt", f"{number} is this line\n" * lines) for number in range(count)))


class TestSplit:
    def test_by_file(self) -> None:
        """Whole files are held out by names if files are many, and each file is in one part."""
        given = documents(100, 50)
        parts = split(given)
        found = [document.name for part in (parts.train, parts.validation, parts.test) for document in part]
        assert sorted(found) == names(given)
        assert [len(part) for part in (parts.train, parts.validation, parts.test)] == [90, 5, 5]
        assert split(Corpus(tuple(reversed(given.documents)))) == parts

    def test_few_files(self) -> None:
        """The end of each file is held out at a line break if files are few."""
        given = documents(FEW_FILES - 1, 100)
        parts = split(given)
        for document, *pieces in zip(given.documents, parts.train, parts.validation, parts.test, strict=True):
            assert "".join(piece.text for piece in pieces) == document.text
            assert all(piece.text.endswith("\n") for piece in pieces)
            assert 0.88 < pieces[0].size / document.size < 0.92

    def test_one_large_file_among_many(self) -> None:
        """A file of nearly all of the text leaves the small files as training text."""
        small = documents(FEW_FILES, 1).documents
        parts = split(Corpus((*small, Document("large.txt", "line\n" * 100_000))))
        assert sum(document.size for document in parts.train) > 400_000

    def test_a_book_among_notes(self) -> None:
        """A file that is a large share of the text is for training, whatever the name."""
        notes = documents(30, 40).documents
        for number in range(20):
            parts = split(Corpus((*notes, Document(f"book {number}.txt", "line\n" * 20_000))))
            assert f"book {number}.txt" in {document.name for document in parts.train}
            assert parts.validation
            assert parts.test

    def test_a_file_of_one_line(self) -> None:
        """Among few files, a file that cannot be cut is for training, and the rest are cut."""
        parts = split(Corpus((Document("a.txt", "line\n" * 4000), Document("b.min.js", "x" * 1_000_000))))
        assert [document.name for document in parts.train] == ["a.txt", "b.min.js"]
        assert [document.name for document in parts.test] == ["a.txt"]
