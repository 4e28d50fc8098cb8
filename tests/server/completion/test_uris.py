"""Tests of URIs: every rule treats a file the same, however the URI is spelled."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.context import uris
from pellucid.completion.context.privacy import MAX_PATH, Privacy
from pellucid.completion.context.uris import Address, file_path, read, windows_path

CODE = "x = 1\n"

FORMS = [
    *(
        "file://{}",
        "file:{}",
        "FILE://{}",
        "File:{}",
        "file://localhost{}",
        "file://LOCALHOST{}",
        "file://localhost.{}",
    ),
    *(
        "file://127.0.0.1{}",
        "file://127.8.8.8{}",
        "file://[::1]{}",
        "file://%6cocalhost{}",
        f"file://{socket.gethostname()}{{}}",
    ),
    *("file:///{}", "file:////{}", "file://{}?x", "file://{}#x", "file://{}/", "file://{}//", "file://{}%00"),
]
"""URIs of a file of this machine by its path."""

WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": lambda path: path,
    "encoded": lambda path: (
        "/" + "/".join("".join(f"%{byte:02x}" for byte in os.fsencode(part)) for part in path.split("/")[1:])
    ),
    "slashes encoded": lambda path: "/" + path[1:].replace("/", "%2F"),
    "doubled slashes": lambda path: "/" + path[1:].replace("/", "//"),
    "a dot": lambda path: f"{Path(path).parent}/./{Path(path).name}",
    "dots": lambda path: f"{Path(path).parent}/x/../{Path(path).name}",
    "encoded dots": lambda path: f"{Path(path).parent}/x/%2e%2E/{Path(path).name}",
    "encoded dots and slashes": lambda path: f"{Path(path).parent}/x%2f..%2F{Path(path).name}",
}
"""Ways to write a path in a URI."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    top = tmp_path.resolve() / "project"
    (top / "out").mkdir(parents=True)
    (top / ".gitignore").write_bytes(b"/ignored.py\n/out\n*.key;old\n\xff.py\n")
    (top / ".pellucidignore").write_text("/private.py\n")
    for name in ("ignored.py", "private.py", "open.py", "out/a.py"):
        (top / name).write_text(CODE)
    return top


class TestRules:
    @pytest.mark.parametrize(
        ("form", "written"), [*((form, "as it is") for form in FORMS), *((FORMS[0], way) for way in list(WRITTEN)[1:])]
    )
    def test_every_address_of_a_file(self, project: Path, form: str, written: str) -> None:
        """Only ignored, secret and excluded files are refused, by every form of their URI."""
        privacy = Privacy([project], ["/excluded.py"])
        for name in ("ignored.py", "private.py", "out/a.py", ".env", "excluded.py"):
            uri = form.format(WRITTEN[written](str(project / name)))
            path = file_path(uri)
            assert path is not None
            assert privacy.refusal(None, CODE, uri), uri
            assert privacy.refusal(str(path), CODE, uri), uri
            assert privacy.refusal(str(path), CODE), uri
        uri = form.format(WRITTEN[written](str(project / "open.py")))
        assert privacy.refusal(None, CODE, uri) is None, uri

    @pytest.mark.parametrize(
        "uri", ["file://other{}", "file://user@localhost{}", "file://10.0.0.1{}", "file://127.0.0.1.example.org{}"]
    )
    def test_files_of_other_machines(self, project: Path, uri: str) -> None:
        """A file of a foreign machine is private, unless the setting allows the file."""
        address = uri.format(project / "open.py")
        host = read(address).host
        assert file_path(address) is None
        reason = Privacy([project]).refusal(None, CODE, address)
        assert reason == (
            f"open.py is never sent to the model: it is on {host}, whose ignore files cannot be read. "
            f"Open it by a path on this machine, or add !/{host}/** to pellucid.context.exclude."
        )
        assert Privacy([project], [f"!/{host}/**"]).refusal(None, CODE, address) is None
        assert Privacy([project], [f"!/{host}/**"]).refusal(None, CODE, uri.format("/a/.env"))

    def test_encoded_once(self, project: Path) -> None:
        """A URI is decoded once, so a doubly encoded name contains a percent sign."""
        assert file_path(f"file://{project}/%2569gnored.py") == project / "%69gnored.py"
        assert Privacy([project]).refusal(None, CODE, f"file://{project}/%2569gnored.py") is None
        (project / ".gitignore").write_text("%69gnored.py\n")
        assert Privacy([project]).refusal(None, CODE, f"file://{project}/%2569gnored.py")

    @pytest.mark.parametrize(
        "name", ["a.key;old", "%FF.py", "a.key%3Bold", "a.py#.env", "a.py?/.env", "b#/.ssh/config"]
    )
    def test_odd_names(self, project: Path, name: str) -> None:
        """A semicolon and bytes that are not UTF-8 are part of a file's name, # and ? perhaps."""
        assert Privacy([project]).refusal(None, CODE, f"file://{project}/{name}")

    def test_links(self, project: Path, tmp_path: Path) -> None:
        """A link is refused like its target file or folder, in any repository."""
        other = tmp_path / "other"
        (other / ".git").mkdir(parents=True)
        (other / ".gitignore").write_text("diary.txt\n")
        for name in ("diary.txt", "notes.txt"):
            (other / name).write_text(CODE)
        targets: dict[str, str | Path] = {"a": "ignored.py", "b": "out", "c": other / "diary.txt", "d": other, "e": "a"}
        for name, target in targets.items():
            (project / name).symlink_to(target)
        privacy = Privacy([project])
        for name in ("a", "b/a.py", "c", "d/diary.txt", "e", "d/../project/a"):
            assert privacy.refusal(None, CODE, f"file://{project}/{name}"), name
        assert privacy.refusal(None, CODE, f"file://{project}/d/notes.txt") is None
        assert privacy.refusal(None, CODE, (other / "diary.txt").as_uri()) is None

    def test_a_file_system_without_cases(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A folder's rules apply to any spelling on a file system that ignores case."""
        monkeypatch.setattr(Path, "samefile", lambda one, other: str(one).lower() == str(other).lower())
        assert Privacy([project]).refusal(None, CODE, f"file://{str(project).upper()}/ignored.py")
        assert Privacy([project]).refusal(None, CODE, f"file://{str(project).upper()}/open.py") is None

    def test_too_long(self, project: Path) -> None:
        """An address longer than any file's is refused without matching rules."""
        reason = Privacy([project]).refusal(None, CODE, f"untitled:{'a' * MAX_PATH}")
        assert reason == f"{'a' * 100} is never sent to the model: its path has more than 4,096 characters."


class TestAddresses:
    @given(
        st.text(st.characters(codec=None, categories=None)),
        st.sampled_from(["", "file:", "file://", "file:///", "git:", "file://["]),
    )
    def test_any_address(self, text: str, begin: str) -> None:
        """Any URI can be judged, even with lone surrogates."""
        Privacy([Path("/nowhere")], ["*.x"]).refusal(None, CODE, begin + text)
        file_path(begin + text)

    @pytest.mark.parametrize(
        ("uri", "path"),
        [
            ("file:///c%3A/Users/a.py", "c:/Users/a.py"),
            ("file:///C:/Users/a.py", "c:/Users/a.py"),
            ("file://localhost/C:/a.py", "c:/a.py"),
            ("file:C:/a.py", "c:/a.py"),
            ("file:///C:", "c:/"),
            ("file://server/share/a.py", "//server/share/a.py"),
            ("file:////server/share/a.py", "//server/share/a.py"),
            ("file:///Users/a.py", "/Users/a.py"),
        ],
    )
    def test_windows(self, uri: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path on Windows has a drive with a small letter, or a host and its share."""
        monkeypatch.setattr(uris, "WINDOWS", True)
        assert windows_path(read.__wrapped__(uri)) == path

    def test_a_drive_elsewhere(self) -> None:
        """A drive letter in a URI is the name of a folder except on Windows."""
        assert file_path("file:///C:/a.py") == Path("/C:/a.py")

    def test_parts(self) -> None:
        """A URI that is not a file keeps its host and its scheme."""
        assert read("Git://host/a%20b?x#y") == Address("git", "host", "/a b", "?x#y")
        assert read("a.py") == Address("", "", "/a.py", "")
