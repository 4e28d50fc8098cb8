"""A hook of MkDocs for pages from files outside of docs/, and pages made from the code."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from generate import MADE_WITH_THE_SITE

ROOT = Path(__file__).parents[1]

OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security-policy.md",
    "benchmarks/README.md": "benchmark-scripts.md",
    "deploy/README.md": "deployments.md",
    "editors/README.md": "editor-others.md",
    "editors/nvim/README.md": "editor-neovim.md",
    "editors/vim/README.md": "editor-vim.md",
    "editors/vscode/README.md": "editor-vscode.md",
    "lsp/README.md": "lsp-protocol.md",
}
"""Pages of the site by the path of the source in the repository."""

LINK = re.compile(r"(?<=\]\()([^)#:\s]+\.md)")


def on_files(files: Files, config: Any) -> Files:
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for page, make in MADE_WITH_THE_SITE.items():
        files.append(File.generated(config, page, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    sources = {site: source for source, site in OUTSIDE.items()}
    return relinked(markdown, sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))


def relinked(markdown: str, source: str) -> str:
    """Return a page with links that work on the site; ``source`` is the page's repository path."""

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        return OUTSIDE.get(target, target.removeprefix("docs/"))

    return LINK.sub(link, markdown)
