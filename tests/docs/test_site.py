"""The site of the documentation builds strictly, and loads no foreign files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mkdocs_outside_pages import OUTSIDE, relinked

ROOT = Path(__file__).parents[2]
LOADS = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "link": "href"}
"""Attributes with an address for the browser to load, except links with ``rel=canonical`` and the
like.
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder


class Loads(HTMLParser):
    """The addresses loaded by a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADS and (address := given.get(LOADS[tag])):
            self.addresses.append(address)


def loaded(site: Path) -> Iterator[str]:
    """Yield every address loaded by the site's pages and styles."""
    for page in site.rglob("*.html"):
        yield from Loads(page.read_text(encoding="utf-8")).addresses
    for style in site.rglob("*.css"):
        yield from re.findall(r"(?:url\(|@import )[\"']?([^\"')]+)", style.read_text(encoding="utf-8"))


def test_loads_nothing_from_elsewhere(site: Path) -> None:
    """Pages and styles load no fonts, scripts or pictures from foreign sites."""
    addresses = list(loaded(site))

    assert len(addresses) > 100
    assert [address for address in addresses if re.match(r"(https?:)?//", address)] == []


def test_no_drawing_script(site: Path) -> None:
    """No page has a diagram, for which the theme would load a foreign script."""
    assert [page.name for page in site.rglob("*.html") if 'class="mermaid"' in page.read_text(encoding="utf-8")] == []


def test_files_outside(site: Path) -> None:
    """Pages outside of docs/ are part of the site; scripts of the documentation are not."""
    for page in OUTSIDE.values():
        assert (site / page.replace(".md", ".html")).is_file()
    assert list(site.rglob("*.py")) == []


@pytest.mark.parametrize(
    ("source", "link", "target"),
    [
        ("docs/editors.md", "../lsp/README.md", "lsp-protocol.md"),
        ("docs/editors.md", "settings.md#the-editor", "settings.md#the-editor"),
        ("editors/README.md", "nvim/README.md", "editor-neovim.md"),
        ("CHANGELOG.md", "docs/security.md", "security.md"),
        ("docs/security.md", "../SECURITY.md", "security-policy.md"),
    ],
)
def test_links(source: str, link: str, target: str) -> None:
    """A link in the repository works on the site, also from and to files outside of docs/."""
    assert relinked(f"see [this]({link}).", source) == f"see [this]({target})."
