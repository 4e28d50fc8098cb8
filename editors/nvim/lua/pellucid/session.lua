--- The suggestion at the cursor of insert mode: asked for, shown, typed into, accepted, dismissed.

local client = require("pellucid.client")
local ghost = require("pellucid.ghost")
local options = require("pellucid.options")
local positions = require("pellucid.positions")
local suggestions = require("pellucid.suggestion")

local M = {
  shown = nil, -- {items: suggestions, index, invoked: boolean, buf}
  last = nil, -- id of the last suggestion that was shown
  held = false, -- a window stands over the suggestion: insert mode was left only for that
}

local INVOKED, AUTOMATIC = 1, 2

local cancel_request, timer, seen

--- Where the cursor is: {buf, row, col, tick}.
function M.cursor()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local buf = vim.api.nvim_get_current_buf()
  return { buf = buf, row = row - 1, col = col, tick = vim.api.nvim_buf_get_changedtick(buf) }
end

local function inserting()
  return vim.startswith(vim.api.nvim_get_mode().mode, "i")
end

--- The suggestion shown and what of it is still to be inserted at the cursor, or nil.
function M.current(at)
  at = at or M.cursor()
  local shown = M.shown
  if not shown or shown.buf ~= at.buf then
    return nil
  end
  local suggestion = shown.items[shown.index]
  local rest = suggestions.rest(suggestion, at)
  return rest and suggestion or nil, rest
end

--- Take the suggestion away.
function M.clear()
  if M.shown then
    ghost.clear(M.shown.buf)
    M.shown = nil
  end
end

--- Ask no more.
function M.cancel()
  if timer then
    timer:stop()
    timer = nil
  end
  if cancel_request then
    cancel_request()
    cancel_request = nil
  end
end

local function draw(at)
  local suggestion, rest = M.current(at)
  if not suggestion then
    return M.clear()
  end
  local count = #M.shown.items
  ghost.draw(suggestion, at, rest, count > 1 and ("%d/%d"):format(M.shown.index, count) or nil)
  if suggestion.id ~= M.last then
    M.last = suggestion.id
    client.notify("pellucid/didShow", { id = suggestion.id })
  end
end

--- Show the first of the items of the protocol that fit the cursor.
function M.show(items, at, invoked, index)
  local read = {}
  local encoding = client.get().offset_encoding
  for _, item in ipairs(items) do
    read[#read + 1] = suggestions.read(item, at, encoding)
  end
  M.clear()
  if #read > 0 then
    M.shown = { items = read, index = index and math.min(index, #read) or 1, invoked = invoked, buf = at.buf }
    draw(at)
  end
end

--- Ask for suggestions at the cursor; `callback(items)` is called only while it is still there.
local function request(kind, callback)
  M.cancel()
  local at = M.cursor()
  local running = client.get()
  if not running or not client.attached(at.buf) or not client.enabled() then
    return
  end
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(at.buf) },
    position = positions.position(at.buf, at.row, at.col, running.offset_encoding),
    context = { triggerKind = kind },
  }
  cancel_request = client.request("textDocument/inlineCompletion", params, at.buf, function(result)
    cancel_request = nil
    if not M.held and inserting() and vim.deep_equal(at, M.cursor()) then
      callback(result and (result.items or result) or {}, at)
    end
  end)
end

--- Ask for a suggestion after a short wait.
local function request_soon()
  timer = vim.defer_fn(function()
    timer = nil
    if inserting() and vim.fn.pumvisible() == 0 then
      request(AUTOMATIC, M.show)
    end
  end, options.current.wait_ms)
end

--- Insert mode began, the text changed or the cursor moved. `automatic`: ask for a suggestion there.
function M.moved(automatic)
  local at = M.cursor()
  if M.held or (seen and vim.deep_equal(seen, at)) then
    return
  end
  seen = at
  M.cancel()
  if vim.fn.pumvisible() == 1 then
    return M.clear()
  end
  draw(at)
  if automatic and client.attached(at.buf) and client.enabled() then
    request_soon()
  end
end

--- Insert mode or the buffer was left.
function M.left()
  if not M.held then
    M.cancel()
    M.clear()
    seen = nil
  end
end

--- The server is there, or suggestions are on, while the user is in insert mode already.
function M.resume()
  if inserting() then
    seen = nil
    M.moved(true)
  end
end

--- Several suggestions to choose from, and the one `step` further than what is shown.
function M.cycle(step)
  local shown = M.shown
  if shown and shown.invoked then
    shown.index = (shown.index - 1 + step) % #shown.items + 1
    return draw(M.cursor())
  end
  local _, before = M.current()
  request(INVOKED, function(items, at)
    M.show(items, at, true)
    local _, rest = M.current()
    if before and rest == before and #M.shown.items > 1 then
      M.cycle(step)
    end
  end)
end

--- Ask for suggestions by hand.
function M.trigger()
  if not client.enabled() then
    return client.warn("suggestions are off; :Pellucid toggle switches them on.")
  end
  request(INVOKED, function(items, at)
    M.show(items, at, true)
  end)
end

--- Take the suggestion away for good: it is not offered again at this place.
function M.dismiss()
  local suggestion = M.current()
  if suggestion then
    client.notify("pellucid/didDismiss", { id = suggestion.id })
    M.cancel()
    M.clear()
  end
end

local function break_undo(buf)
  vim.bo[buf].undolevels = vim.bo[buf].undolevels -- setting it begins a new undo step, see undo-break
end

--- Put a part of the suggestion into the buffer: "all", "word" or "line". One undo step.
function M.accept(part)
  local at = M.cursor()
  local suggestion, rest = M.current(at)
  if not suggestion then
    return
  end
  local piece = suggestions.first(rest, part)
  local whole = piece == rest
  local lines = vim.split(piece, "\n", { plain = true })
  local last = #lines == 1 and at.col + #piece or #lines[#lines]
  break_undo(at.buf)
  vim.api.nvim_buf_set_text(at.buf, at.row, at.col, at.row, at.col + (whole and #suggestion.tail or 0), lines)
  vim.api.nvim_win_set_cursor(0, { at.row + #lines, last })
  break_undo(at.buf)
  if whole then
    M.clear()
    if suggestion.command then
      client.execute(suggestion.command.command, suggestion.command.arguments)
    end
  else
    local length = suggestions.accepted_length(suggestion, rest:sub(#piece + 1))
    client.notify("pellucid/didPartiallyAccept", { id = suggestion.id, acceptedLength = length })
    draw(M.cursor())
  end
end

return M
