--- Neovim's own inline completion (0.12): it requests and draws; everything else goes through the session.

local client = require("pellucid.client")
local options = require("pellucid.options")
local session = require("pellucid.current_suggestion")

local M = { paused = nil }

--- Return whether it is used.
function M.used()
  return options.uses_builtin()
end

local function enable(on, buf)
  vim.lsp.inline_completion.enable(on, { bufnr = buf }) -- a client id alone switches no buffer on
end

--- Enable it in all attached buffers, unless suggestions are off or the session controls the buffer.
function M.update()
  local running = client.get()
  for buf in pairs(running and running.attached_buffers or {}) do
    enable(client.enabled() and buf ~= M.paused, buf)
  end
end

--- Hand its suggestion over to the session, which controls the buffer until insert mode ends, then run `action`.
--- Returns false if it shows none.
function M.take(action)
  return vim.lsp.inline_completion.get({
    on_accept = function(item)
      local running = client.get()
      if item.client_id ~= running.id then
        return item -- from another server: accept it unchanged
      end
      M.pause()
      session.show({
        {
          insertText = item.insert_text,
          range = item.range and item.range:to_lsp(running.offset_encoding),
          command = item.command,
        },
      }, session.cursor())
      action()
    end,
  })
end

--- Let the session control the buffer.
function M.pause()
  M.paused = vim.api.nvim_get_current_buf()
  enable(false, M.paused)
end

--- Let Neovim control the buffer again after insert mode.
function M.resume()
  if M.paused and not session.held then
    M.paused = nil
    M.update()
  end
end

return M
