"""In a real Neovim, a second language server finds definitions, and the model reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.editors import definition_server
from support.editors.neovim import Neovim
from support.editors.polling import until
from support.servers.http_servers import LiveServer, ScriptedAssistant, live, scripted_state

SHOP = "class OrderBook:\n    def add_order(self, order, limit):\n        return limit\n"
TEXT = 'from collections import OrderedDict\nfrom shop import OrderBook\n\ntext = "é😀"; book = OrderBook()\nbook'
OUTLINE = "class OrderBook:\n    def add_order(self, order, limit):\n"


@pytest.fixture(scope="module")
def assistant() -> ScriptedAssistant:
    return ScriptedAssistant()


@pytest.fixture(scope="module")
def model_server(assistant: ScriptedAssistant) -> Iterator[LiveServer]:
    with live(scripted_state(assistant)) as server:
        yield server


@pytest.fixture
def vim(tmp_path: Path, model_server: LiveServer) -> Iterator[Neovim]:
    """A Neovim with the plugin; the only context are definitions."""
    with Neovim(tmp_path) as vim:
        vim.setup(model_server.url, settings={"context": {"filesTokens": 0}})
        yield vim


def health(vim: Neovim) -> str:
    vim.keys("<C-\\><C-n>:checkhealth pellucid<CR>")
    until(lambda: "Model server:" in vim.text, "the report")
    return vim.text


def test_definitions(vim: Neovim, assistant: ScriptedAssistant) -> None:
    """The outline of a class of the workspace is context, and the hover text of a library class."""
    (vim.home / "shop.py").write_text(SHOP)
    vim.edit(TEXT)
    vim.lua(
        "vim.lsp.start({ name = 'jedi', cmd = ..., root_dir = vim.fs.dirname(vim.api.nvim_buf_get_name(0)) })",
        [sys.executable, definition_server.__file__],
    )
    until(lambda: vim.lua("return #vim.lsp.get_clients({ name = 'jedi', bufnr = 0 })"), "the other server")
    vim.keys("GA.")

    def context() -> dict[str, str]:
        return {one.filename: one.text for call in assistant.calls for one in call["extra"]}

    until(lambda: "shop.py" in context(), "the definition")
    assert context() == {"shop.py": OUTLINE, "__init__.py": "class OrderedDict\n"}
    assert "and found the definitions of" in health(vim)


def test_no_other_server(vim: Neovim) -> None:
    """Without a second language server the names stay unknown."""
    vim.edit(TEXT)
    vim.keys("GA.")
    assert "Definitions come from the editor's other language servers." in health(vim)
