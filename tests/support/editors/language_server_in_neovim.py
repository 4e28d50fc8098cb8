"""A language server inside Neovim that answers each request on a test's command."""

from __future__ import annotations

import sys
from typing import Any

from support.editors.neovim import Neovim
from support.editors.polling import until


class LanguageServerInNeovim:
    """Set the plugin up with this server instead of a process."""

    def __init__(self, vim: Neovim) -> None:
        self.vim = vim
        vim.lua(SERVER)
        vim.setup("", cmd=[sys.executable], ghost="plugin")

    def request(self, method: str) -> dict[str, Any]:
        """Wait for an unanswered request, and return the request with the id."""
        found = until(lambda: self.vim.lua("return Server.open(...)", method), f"a request {method}")
        assert isinstance(found, dict)
        return found

    def answer(self, request: dict[str, Any], result: Any) -> None:
        self.vim.lua("Server.answer(...)", request["id"], result)

    def refuse(self, request: dict[str, Any], code: int, message: str) -> None:
        self.vim.lua("Server.refuse(...)", request["id"], {"code": code, "message": message})

    def stream(self, request: dict[str, Any], *lines: str) -> None:
        """Send new lines of an edit."""
        params = {"token": request["params"]["partialResultToken"], "value": {"lines": list(lines)}}
        self.vim.lua("Server.dispatchers.notification('$/progress', ...)", params)

    def speak(self, request: dict[str, Any], *tokens: str) -> None:
        """Send tokens of an answer in the chat."""
        value = {"tokens": [{"token": text, "id": 1, "logprob": -0.5, "rank": 1, "top": []} for text in tokens]}
        params = {"token": request["params"]["partialResultToken"], "value": value}
        self.vim.lua("Server.dispatchers.notification('$/progress', ...)", params)

    def end(self) -> None:
        """End as a killed process does."""
        self.vim.lua("Server.ended = true; Server.dispatchers.on_exit(0, 9)")

    @property
    def cancelled(self) -> list[int]:
        """The ids of the cancelled requests."""
        return list(self.vim.lua("return Server.cancelled"))

    @property
    def noted(self) -> list[tuple[str, dict[str, Any]]]:
        """Pellucid's notifications with the parameters."""
        return [(method, params) for method, params in self.vim.lua("return Server.noted")]

    @property
    def options(self) -> dict[str, Any]:
        """The ``initializationOptions``."""
        return dict(self.vim.lua("return Server.options"))


SERVER = """
Server = { requests = {}, cancelled = {}, noted = {}, ended = false }

function Server.open(method)
  for id, one in pairs(Server.requests) do
    if one.method == method and not vim.tbl_contains(Server.cancelled, id) then
      return { id = id, params = one.params }
    end
  end
end

function Server.answer(id, result)
  local one = Server.requests[id]
  Server.requests[id] = nil
  one.done(id)
  one.callback(nil, result)
end

function Server.refuse(id, failure)
  local one = Server.requests[id]
  Server.requests[id] = nil
  one.done(id)
  one.callback(failure, nil)
end

local number = 0
local start = vim.lsp.start

local function request(method, params, callback, done)
  number = number + 1
  Server.requests[number] = { method = method, params = params, callback = callback, done = done or function() end }
  if method == 'initialize' then
    Server.options = params.initializationOptions
    local capabilities = { positionEncoding = 'utf-16', textDocumentSync = 1, codeActionProvider = true }
    vim.schedule(function() Server.answer(1, { capabilities = capabilities }) end)
  end
  return true, number
end

local function notify(method, params)
  if method == '$/cancelRequest' then
    table.insert(Server.cancelled, params.id)
  elseif vim.startswith(method, 'pellucid/') then
    table.insert(Server.noted, { method, params })
  end
  return not Server.ended
end

function vim.lsp.start(config, options)
  config.cmd = function(dispatchers)
    Server.dispatchers = dispatchers
    return {
      request = request,
      notify = notify,
      is_closing = function() return Server.ended end,
      terminate = function() Server.ended = true end,
    }
  end
  return start(config, options)
end
"""
