"""Tests of the edits of a repository or of releases: following edits, right edits, samples."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.edits.candidate import Candidate
from pellucid.errors import InvalidRequestError
from pellucid.learn.next_edits import edit_cases, edit_sample
from pellucid.learn.next_edits.edit_cases import FileChange, Hunk, cases, keystrokes
from pellucid.learn.next_edits.edit_sample import EditKind, draw_edits, weights
from pellucid.learn.next_edits.git_history import commit_changes
from pellucid.learn.next_edits.release_folders import release_changes
from pellucid.system.progress import Silent
from pellucid.system.safe_git import git_environment
from support.learn.edited_repositories import (
    CALLS,
    ONE_RENAMED,
    RENAMED,
    git,
    write_files,
    write_releases,
    write_repository,
)


def change(old: str, new: str) -> FileChange:
    return FileChange("unit", "sub/a b.py", old, new)


def proposal(first: int, old: list[str], new: list[str]) -> Candidate:
    return Candidate("file:///a.py", first, tuple(old), tuple(new), 1.0)


def write_packages(folder: Path, **counts: int) -> Path:
    """Write packages with a function renamed everywhere, or at one place, or with another edit."""
    texts = {"renamed": RENAMED, "one": ONE_RENAMED, "other": ONE_RENAMED.replace("path_d", "elsewhere")}
    packages = {
        f"{name}_{number}": {"1": {"a.py": CALLS}, "2": {"a.py": texts[name]}}
        for name, count in counts.items()
        for number in range(count)
    }
    return write_releases(folder, packages)


def test_a_case_for_each_change() -> None:
    """A case has all changes up to the user's edit, and the following changes at current lines."""
    found = list(cases(change("a\nb\nc\nd\ne\nf\ng\n", "a\nB\nB2\nc\nd\nE\nf\ng\nh\n")))
    assert [case.id for case in found] == [f"unit/sub/a b.py/{number}" for number in range(3)]
    first, second, last = found
    assert first.lines == ("a", "B", "B2", "c", "d", "e", "f", "g", "")
    assert (first.edit.uri, first.edit.first, first.edit.old, first.edit.new) == (
        "file:///sub/a%20b.py",
        1,
        ("b",),
        ("B", "B2"),
    )
    assert first.following == (Hunk(5, ("e",), ("E",)), Hunk(8, (), ("h",)))
    assert second.following == (Hunk(8, (), ("h",)),)
    assert last.lines == ("a", "B", "B2", "c", "d", "E", "f", "g", "h", "")
    assert last.following == ()


def test_right_and_found() -> None:
    """A proposal is right if in the later version, and found if its lines change at all."""
    case = next(cases(change("x\n\n\nfirst\nsecond\n\n\nz\n", "y\n\n\nFIRST\nSECOND\n\n\nnew\nz\n")))
    assert case.following == (Hunk(3, ("first", "second"), ("FIRST", "SECOND")), Hunk(7, (), ("new",)))
    judged = [
        (proposal(3, ["first"], ["FIRST"]), True, True),
        (proposal(3, ["first"], ["other"]), False, True),
        (proposal(7, [], ["new"]), True, True),
        (proposal(7, [], ["other"]), False, True),
        (proposal(7, ["z"], ["new"]), False, False),
        (proposal(0, ["y"], ["FIRST"]), False, False),
        (proposal(3, ["first", "second"], []), True, True),
    ]
    assert [(case.is_right(one), case.is_found(one)) for one, _, _ in judged] == [
        (right, found) for _, right, found in judged
    ]


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        (["f(a)"], ["f(a, b)"], 3),
        (["f(a)", "g"], ["f(a)"], 1),
        (["f(a, b)"], ["f(a)"], 1),
        ([], ["x = 1", "y"], 8),
        (["load(a)"], ["read(a)"], 4),
        (["same"], ["same"], 0),
    ],
)
def test_keystrokes(old: list[str], new: list[str], keys: int) -> None:
    """Typing costs a key for each new character and for each deletion; kept lines are free."""
    assert keystrokes(old, new) == keys


def test_generated_files_are_left_out() -> None:
    """A file with very many changes or very many lines has no cases."""
    lines = [f"{number}\n\n\n" for number in range(41)]
    assert not list(cases(change("".join(lines), "".join("x" + line for line in lines))))
    assert not list(cases(change("\n" * 3000, "x" + "\n" * 3000)))


class TestRepository:
    def test_consecutive_commits(self, tmp_path: Path) -> None:
        """Each changed source file of a commit is a change, unlike new, deleted or binary files."""
        versions: list[dict[str, str | bytes]] = [
            {
                "a.py": "a = 1\r\n",
                "b.js": "b\n",
                "data.bin": b"\0x",
                "picture.py": b"\0picture",
                "data.csv": "1\n",
                "late.py": b"\xff",
            },
            {
                "a.py": "a = 2\n",
                "b.js": "c\n",
                "data.bin": b"\0y",
                "picture.py": b"\0other",
                "data.csv": "2\n",
                "late.py": b"\xfe",
            },
            {"a.py": "a = 3\n", "new.py": "n\n"},
        ]
        folder = write_repository(tmp_path / "r", versions)
        head, middle = git(folder, "rev-list", "HEAD").split()[:2]
        assert list(commit_changes(folder, Silent())) == [
            FileChange(head[:12], "a.py", "a = 2\n", "a = 3\n"),
            FileChange(middle[:12], "a.py", "a = 1\n", "a = 2\n"),
            FileChange(middle[:12], "b.js", "b\n", "c\n"),
        ]

    def test_ignored_files_are_left_out(self, tmp_path: Path) -> None:
        """A committed file that the worktree ignores now is not read."""
        folder = write_repository(
            tmp_path / "r", [{"secret/a.py": "1\n", "a.py": "1\n"}, {"secret/a.py": "2\n", "a.py": "2\n"}]
        )
        write_files(folder, {".gitignore": "secret/\n"})
        assert [found.name for found in commit_changes(folder, Silent())] == ["a.py"]

    def test_no_program_of_the_repository_runs(self, tmp_path: Path) -> None:
        """Reading the history runs no command that a downloaded repository names."""
        folder = write_repository(
            tmp_path / "r", [{"a.py": "1\n", ".gitattributes": "*.py diff=own filter=own\n"}, {"a.py": "2\n"}]
        )
        commands = (
            "diff.own.textconv",
            "diff.external",
            "filter.own.smudge",
            "core.fsmonitor",
            "gpg.program",
            "core.pager",
            "pager.diff-tree",
        )
        for name in commands:
            git(folder, "config", name, f"touch {tmp_path}/ran; cat")
        git(folder, "config", "log.showSignature", "true")
        (folder / ".git/hooks").mkdir(exist_ok=True)
        hook = folder / ".git/hooks/post-index-change"
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
        assert [found.new for found in commit_changes(folder, Silent())] == ["2\n"]
        assert not (tmp_path / "ran").exists()

    def test_a_missing_content_is_left_out(self, tmp_path: Path) -> None:
        """Files with missing contents in a partial clone are left out, and nothing is fetched."""
        folder = write_repository(tmp_path / "r", [{"a.py": "1\n", "b.py": "3\n"}, {"a.py": "2\n", "b.py": "4\n"}])
        blob = git(folder, "rev-parse", "HEAD:a.py").strip()
        (folder / ".git/objects" / blob[:2] / blob[2:]).unlink()
        settings = {
            "core.repositoryFormatVersion": "1",
            "extensions.partialClone": "origin",
            "remote.origin.url": "ssh://example.invalid/a",
            "remote.origin.promisor": "true",
            "core.sshCommand": f"touch {tmp_path}/ran; false",
            "protocol.ssh.allow": "always",
        }
        for name, value in settings.items():
            git(folder, "config", name, value)
        assert [found.name for found in commit_changes(folder, Silent())] == ["b.py"]
        assert not (tmp_path / "ran").exists()

    def test_a_file_named_head(self, tmp_path: Path) -> None:
        """A file with the name of the last commit does not keep git from reading the history."""
        folder = write_repository(tmp_path / "r", [{"HEAD": "x\n", "a.py": "1\n"}, {"a.py": "2\n"}])
        assert [found.name for found in commit_changes(folder, Silent())] == ["a.py"]

    def test_commits_of_very_many_files_are_left_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A commit of more than a hundred source files is left out without being read."""
        versions = [
            {f"{number}.py": f"{version}\n" for number in range(count)} for version, count in enumerate((101, 101, 100))
        ]
        folder = write_repository(tmp_path / "r", versions)
        swept = git(folder, "rev-parse", "HEAD~2:0.py").encode()
        asked: list[bytes] = []
        run = subprocess.run

        def recorded(command: Sequence[str], *, input: bytes = b"", **options: Any) -> Any:
            asked.append(input)
            return run(command, input=input, **options)

        monkeypatch.setattr("pellucid.learn.next_edits.git_history.subprocess.run", recorded)
        found = list(commit_changes(folder, Silent()))
        assert len(found) == 100
        assert {(change.old, change.new) for change in found} == {("1\n", "2\n")}
        assert swept not in b"".join(asked)

    def test_the_places_of_another_repository(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The named repository is read although git's environment names a different repository."""
        folder = write_repository(tmp_path / "r", [{"a.py": "1\n"}, {"a.py": "2\n"}])
        other = write_repository(tmp_path / "other", [{"b.py": "1\n"}, {"b.py": "2\n"}]) / ".git"
        places = {
            "DIR": other,
            "COMMON_DIR": other,
            "WORK_TREE": other.parent,
            "INDEX_FILE": other / "index",
            "NAMESPACE": "other",
        }
        places |= {"OBJECT_DIRECTORY": other / "objects", "ALTERNATE_OBJECT_DIRECTORIES": other / "objects"}
        for name, value in places.items():
            monkeypatch.setenv(f"GIT_{name}", str(value))
        assert [found.name for found in commit_changes(folder, Silent())] == ["a.py"]
        assert not {f"GIT_{name}" for name in places} & git_environment().keys()

    def test_no_commits(self, tmp_path: Path) -> None:
        """An empty repository is refused with the reason."""
        git(tmp_path, "init", "-q")
        with pytest.raises(InvalidRequestError, match="it has no commits"):
            draw_edits(tmp_path, None, Silent())


class TestReleases:
    def test_the_last_two_versions(self, tmp_path: Path) -> None:
        """The last two releases by version are compared, and a single release is skipped."""
        versions = {
            "1.9": {"p/a.py": "old\n"},
            "1.10": {"p/a.py": "new\n", "p/b.py": "b\n"},
            "1.2": {"p/a.py": "oldest\n"},
        }
        folder = write_releases(tmp_path, {"one": versions, "two": {"1.0": {"p/a.py": "a\n"}}})
        assert list(release_changes(folder, Silent())) == [FileChange("one", "p/a.py", "old\n", "new\n")]

    def test_folders_that_are_no_versions(self, tmp_path: Path) -> None:
        """Only names that begin with a digit, or with v and a digit, are versions."""
        versions = {
            "v1.9": {"a.py": "old\n"},
            "v1.10": {"a.py": "new\n"},
            "zoo": {"a.py": "z\n"},
            "vendor": {"a.py": "v\n"},
        }
        folder = write_releases(tmp_path / "releases", {"one": versions})
        assert list(release_changes(folder, Silent())) == [FileChange("one", "a.py", "old\n", "new\n")]
        tree = write_releases(tmp_path / "tree", {"src": {"app": {"a.py": "1\n"}, "library": {"a.py": "2\n"}}})
        with pytest.raises(InvalidRequestError, match=r"neither the top folder .*: name one of the two\.$"):
            list(release_changes(tree, Silent()))

    def test_below_the_top_of_a_repository(self, tmp_path: Path) -> None:
        """A folder within a repository is refused, and the top folder is the remedy."""
        folder = write_repository(tmp_path / "r", [{"src/app/a.py": "1\n", "src/app/b/a.py": "1\n"}])
        with pytest.raises(InvalidRequestError, match=re.escape(f"name {folder}, the top folder of its repository.")):
            draw_edits(folder / "src", None, Silent())


class TestSample:
    def test_kinds(self, tmp_path: Path) -> None:
        """The kind of an edit depends on its proposals and on the following changes."""
        found = draw_edits(write_packages(tmp_path, renamed=1, one=1, other=1), None, Silent())
        assert dict(found.totals) == dict(zip(EditKind, (3, 1, 1, 0, 2), strict=True))
        assert len(found.cases) == 7
        assert found.units == 3

    def test_a_larger_limit_extends_a_smaller_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Half of the sample has a right proposal, and a larger limit extends the sample."""
        monkeypatch.setattr(edit_sample, "FREE", 2)
        folder = write_packages(tmp_path, renamed=4, one=6)
        small, large = (draw_edits(folder, limit, Silent()) for limit in (4, 8))
        ids = [{case.id for case, _ in found.cases} for found in (small, large)]
        assert ids[0] < ids[1]
        assert small.digest == large.digest
        assert [sum(kind is EditKind.ABLE for _, kind in found.cases) for found in (small, large)] == [2, 4]
        assert sum(kind is EditKind.NONE_LAST for _, kind in small.cases) == 2
        assert large.totals[EditKind.ABLE] == 12

    def test_exactly_the_limit_is_read(self, tmp_path: Path) -> None:
        """The limit is the number of edits read, and free places go to the remaining kinds."""
        folder = write_packages(tmp_path, renamed=2, one=10, other=2)
        kinds = EditKind.ABLE, EditKind.UNABLE, EditKind.UNABLE_LAST
        wanted = {1: [1, 0, 0], 2: [1, 1, 0], 3: [2, 1, 0], 5: [3, 1, 1], 8: [4, 2, 2], 13: [6, 2, 5], 99: [6, 2, 10]}
        for limit, counts in wanted.items():
            found = draw_edits(folder, limit, Silent())
            assert [sum(kind is one for _, kind in found.cases) for one in kinds] == counts, limit
            assert found.has_more_right_ones == (counts[0] < 6)
            assert ("None was drawn of these kinds" in str(found)) == (limit < 4)

    def test_the_digest_covers_lines_and_proposals(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The digest changes with a line far from all edits, and with the proposals."""
        folders = [
            write_releases(
                tmp_path / name,
                {"a": {version: {"a.py": text + end} for version, text in (("1", CALLS), ("2", RENAMED))}},
            )
            for name, end in (("one", ""), ("other", "\n\n# end\n"))
        ]
        digests = {draw_edits(folder, None, Silent()).digest for folder in folders}
        monkeypatch.setattr(edit_cases, "READ", 1)
        digests.add(draw_edits(folders[0], None, Silent()).digest)
        assert len(digests) == 3

    def test_nothing_to_propose(self, tmp_path: Path) -> None:
        """Edits that cannot be repeated anywhere are refused with their number."""
        folder = write_releases(tmp_path, {"one": {"1": {"a.py": "a = 1\n"}, "2": {"a.py": "a = 2\n"}}})
        with pytest.raises(
            InvalidRequestError, match="is the same change possible elsewhere in the file: name a longer history"
        ):
            draw_edits(folder, None, Silent())

    def test_weights(self) -> None:
        """The drawn edits of a kind represent the whole kind."""
        assert weights([("a", 10), ("b", 3), ("a", 10), ("a", 10), ("a", 10)]) == {"a": 2.5, "b": 3.0}
