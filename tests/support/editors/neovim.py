"""Drives a Neovim with an attached user interface, and the plugin, with keys."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pynvim

from support.editors.polling import until
from support.required_programs import require_program

PLUGIN = Path(__file__).parents[3] / "editors" / "nvim"
SIZE = (100, 30)
NO_PYTHON = "let g:loaded_python3_provider = 0"
"""Keeps Neovim from a search for a Python with pynvim, which takes two seconds per Python file."""

KEY_SECONDS = 10.0
"""Maximum seconds of Neovim's wait for a key, as after a long message."""


class Neovim:
    """``home`` is an empty folder for all files of Neovim and the language server."""

    def __init__(self, home: Path, program: str = "nvim") -> None:
        folders = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME")
        # Otherwise plugins of the system are loaded, and their messages wait for a key.
        system = ("XDG_CONFIG_DIRS", "XDG_DATA_DIRS")
        homes = [f"{name}={home}" for name in (*folders, *system)]
        argv = ["env", *homes, require_program(program), "--clean", "--cmd", NO_PYTHON, "--embed", "--headless"]
        self.api: Any = pynvim.attach("child", argv=argv)
        self.api.ui_attach(*SIZE, rgb=True)
        self.home = home
        self.files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(EOFError):  # Neovim exits without an answer.
            self.api.command("qall!")
        self.api.close()

    def setup(self, server: str, **options: Any) -> None:
        """Set the plugin up with a model server."""
        settings = {"server": {"url": server, "start": False}, **options.pop("settings", {})}
        self.api.command(f"set runtimepath^={PLUGIN} | runtime plugin/pellucid.lua")
        defaults = {"cmd": [sys.executable, "-m", "pellucid", "lsp"], "settings": settings}
        self.lua("require('pellucid').setup(...)", defaults | options)

    def edit(self, text: str) -> Path:
        """Open a new Python file with exactly this text, and wait for the language server."""
        self.files += 1
        path = self.home / f"file{self.files}.py"
        path.write_text(text)
        self.keys("<C-\\><C-n>")
        until(lambda: self.mode == "n", "normal mode")
        former = self.api.current.buffer.number
        self.api.command(f"only! | edit! {path}")
        if self.api.current.buffer.number != former:
            self.api.command(f"bwipeout! {former}")
        until(lambda: self.lua("return require('pellucid.client').attached(0)"), "the language server")
        return path

    def lua(self, code: str, *arguments: Any) -> Any:
        """Run Lua code and return the result, or raise AssertionError if Neovim waits for a key."""
        try:
            until(lambda: not self.api.api.get_mode()["blocking"], "an answer of Neovim", KEY_SECONDS)
        except AssertionError:
            self.api.input("<CR>")
            messages = self.api.api.exec2("messages", {"output": True})["output"]
            raise AssertionError(f"Neovim waited for a key after these messages:\n{messages}") from None
        return self.api.exec_lua(code, *arguments)

    def keys(self, keys: str) -> None:
        self.api.input(keys)

    @property
    def text(self) -> str:
        return "\n".join(self.api.current.buffer[:])

    @property
    def cursor(self) -> tuple[int, int]:
        """The row, from 1, and the byte, from 0."""
        row, column = self.api.current.window.cursor
        return row, column

    @property
    def mode(self) -> str:
        """The mode: n, i, ..."""
        return str(self.lua("return vim.api.nvim_get_mode().mode"))

    @property
    def ghost(self) -> str:
        """The ghost text of the plugin or of Neovim, empty while a suggestion is partial."""
        return str(self.lua(GHOST))

    @property
    def screen(self) -> str:
        return str(self.lua(SCREEN))

    def until_ghost(self, seconds: float = 60) -> str:
        """Return the ghost text as soon as there is some."""
        return until(lambda: self.ghost, "ghost text", seconds)

    def until_text(self, wanted: str) -> None:
        """Wait until the buffer has exactly this text."""
        until(lambda: self.text == wanted or None, f"the text {wanted!r}")


GHOST = """
local shown = package.loaded['pellucid.current_suggestion'] and require('pellucid.current_suggestion').shown
if shown and shown.items[shown.index].partial then
  return ''
end
local texts = {}
for name, namespace in pairs(vim.api.nvim_get_namespaces()) do
  if name == 'pellucid.ghost' or name:find('inline_completion', 1, true) then
    for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
      local lines = { mark[4].virt_text or {} }
      vim.list_extend(lines, mark[4].virt_lines or {})
      for number, line in ipairs(lines) do
        local text = ''
        for _, chunk in ipairs(line) do
          if vim.list_contains({ 'PellucidGhost', 'PellucidDoubtful', 'ComplHint' }, chunk[2]) then
            text = text .. chunk[1]
          end
        end
        texts[#texts + 1] = (number > 1 and '\\n' or '') .. text
      end
    end
  end
end
return table.concat(texts)
"""

SCREEN = """
vim.cmd.redraw()
local lines = {}
for row = 1, vim.o.lines do
  local cells = {}
  for column = 1, vim.o.columns do
    cells[column] = vim.fn.screenstring(row, column)
  end
  lines[row] = (table.concat(cells):gsub('%s+$', ''))
end
return table.concat(lines, '\\n')
"""
