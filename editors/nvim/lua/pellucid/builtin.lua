--- Neovim's own inline completion (0.12): it asks and draws; what is more than that goes through the session.

local client = require("pellucid.client")
local options = require("pellucid.options")
local session = require("pellucid.session")

local M = { paused = nil }

--- Whether it is used.
function M.used()
  return vim.lsp.inline_completion ~= nil and options.current.ghost == "auto"
end

local function enable(on, buf)
  vim.lsp.inline_completion.enable(on, { bufnr = buf }) -- with a client's id alone no buffer is switched on
end

--- Let it suggest where the server is attached, unless suggestions are off or the session has the buffer.
function M.update()
  local running = client.get()
  for buf in pairs(running and running.attached_buffers or {}) do
    enable(client.enabled() and buf ~= M.paused, buf)
  end
end

--- Hand its suggestion over to the session, which has the buffer until insert mode is left, then run `action`.
--- Returns false where it shows none.
function M.take(action)
  return vim.lsp.inline_completion.get({
    on_accept = function(item)
      local running = client.get()
      if item.client_id ~= running.id then
        return item -- another server's: accepted as it is
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

--- The session has the buffer.
function M.pause()
  M.paused = vim.api.nvim_get_current_buf()
  enable(false, M.paused)
end

--- Insert mode was left: Neovim has the buffer again.
function M.resume()
  if M.paused and not session.held then
    M.paused = nil
    M.update()
  end
end

return M
