"""A hook of MkDocs: pages of the site that are not in docs/.

Some are files elsewhere in the repository, some are made from the code.
"""

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
    "editors/vscode/README.md": "editor-vscode.md",
    "lsp/README.md": "lsp-protocol.md",
}
"""Pages of the site by the path of their source in the repository."""

LINK = re.compile(r"(?<=\]\()([^)#:\s]+\.md)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/ to the site."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for page, make in MADE_WITH_THE_SITE.items():
        files.append(File.generated(config, page, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to other files point to their pages."""
    sources = {site: source for source, site in OUTSIDE.items()}
    return relinked(markdown, sources.get(page.file.src_uri, f"docs/{page.file.src_uri}"))


def relinked(markdown: str, source: str) -> str:
    """Return a page whose links work on the site; ``source`` is its path in the repository."""

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        return OUTSIDE.get(target, target.removeprefix("docs/"))

    return LINK.sub(link, markdown)
