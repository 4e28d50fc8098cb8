--- The suggestion at the cursor in insert mode: requested, shown, typed into, accepted, dismissed.

local client = require("pellucid.client")
local ghost = require("pellucid.ghost")
local options = require("pellucid.options")
local positions = require("pellucid.positions")
local suggestions = require("pellucid.suggestion_item")

local M = {
  shown = nil, -- {items: suggestions, index, invoked: boolean, buf}
  last = nil, -- id of the last suggestion that was shown
  held = false, -- a window is open for the suggestion: insert mode ended only for that
}

local INVOKED, AUTOMATIC = 1, 2

local cancel_request, timer, seen

--- Return the place of the cursor: {buf, row, col, tick}.
function M.cursor()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local buf = vim.api.nvim_get_current_buf()
  return { buf = buf, row = row - 1, col = col, tick = vim.api.nvim_buf_get_changedtick(buf) }
end

local function inserting()
  return vim.startswith(vim.api.nvim_get_mode().mode, "i")
end

--- Return the shown suggestion and the part of it that is still to be inserted, or nil.
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

--- Remove the suggestion.
function M.clear()
  if M.shown then
    ghost.clear(M.shown.buf)
    M.shown = nil
  end
end

--- Cancel the request and the wait for one.
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
  ghost.draw(suggestion, at, rest, suggestions.sure(suggestion, rest), count > 1 and ("%d/%d"):format(M.shown.index, count) or nil)
  if suggestion.id ~= M.last then
    M.last = suggestion.id
    client.notify("pellucid/didShow", { id = suggestion.id })
  end
end

--- Show the first item of the protocol that fits the cursor.
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

--- Request suggestions at the cursor; `callback(items)` is called only if the cursor has not moved.
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

--- Request a suggestion. If the reply is only its beginning, show that, and request the whole.
local function request_automatic()
  request(AUTOMATIC, function(items, at)
    M.show(items, at)
    if items[1] and suggestions.is_partial(items[1]) then
      request(AUTOMATIC, M.show)
    end
  end)
end

--- Request a suggestion after a short wait.
local function request_soon()
  timer = vim.defer_fn(function()
    timer = nil
    if inserting() and vim.fn.pumvisible() == 0 then
      request_automatic()
    end
  end, options.current.wait_ms)
end

--- Handle the start of insert mode, a change of the text or a move of the cursor. `automatic`: request a suggestion.
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

--- Handle the end of insert mode or a change of the buffer.
function M.left()
  if not M.held then
    M.cancel()
    M.clear()
    seen = nil
  end
end

--- Request a suggestion if the user is already in insert mode when the server starts or suggestions are switched on.
function M.resume()
  if inserting() then
    seen = nil
    M.moved(true)
  end
end

--- Show the suggestion `step` further; the first time, request several.
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

--- Say why there is no suggestion for the last request in a buffer.
local function say_why(buf)
  client.request("pellucid/explain", { textDocument = { uri = vim.uri_from_bufnr(buf) } }, nil, function(explanation)
    if explanation then
      client.say(explanation.reason)
    end
  end)
end

--- Request suggestions by hand.
function M.trigger()
  if not client.enabled() then
    return client.warn("suggestions are off; :Pellucid toggle switches them on.")
  end
  request(INVOKED, function(items, at)
    M.show(items, at, true)
    if #items == 0 then
      say_why(at.buf)
    end
  end)
end

--- Dismiss the suggestion: it is not offered again at this place.
function M.dismiss()
  local suggestion = M.current()
  if suggestion then
    client.notify("pellucid/didDismiss", { id = suggestion.id })
    M.cancel()
    M.clear()
  end
end

local function break_undo(buf)
  vim.bo[buf].undolevels = vim.bo[buf].undolevels -- setting it starts a new undo step, see undo-break
end

--- Options that would change text that is typed, and the values with which they do not.
local PLAIN = { autoindent = false, cindent = false, smartindent = false, indentexpr = "", textwidth = 0, wrapmargin = 0 }

local typing -- {text, former options, done} while `type_in` waits for its keys to be processed

--- Insert text without a line end at the cursor as if it was typed, so that `.` and a count repeat it; then call `done`.
local function type_in(text, done)
  typing = { text = text, former = {}, done = done }
  for name, value in pairs(PLAIN) do
    typing.former[name] = vim.bo[name]
    vim.bo[name] = value
  end
  local keys = [[<C-g>u<C-r><C-r>=v:lua.require'pellucid.current_suggestion'.typed()<CR><C-g>u]] -- <C-g>u begins an undo step
  vim.api.nvim_feedkeys(vim.keycode(keys .. "<Cmd>lua require('pellucid.current_suggestion').typed_in()<CR>"), "in", false)
end

--- Return the text that `type_in` inserts.
function M.typed()
  return typing.text
end

--- Handle the end of the keys of `type_in`.
function M.typed_in()
  for name, value in pairs(typing.former) do
    vim.bo[name] = value
  end
  local done = typing.done
  typing = nil
  done()
end

--- Replace the text between `at` and `tail` bytes after it; then call `done`.
local function replace(text, at, tail, done)
  local lines = vim.split(text, "\n", { plain = true })
  local last = #lines == 1 and at.col + #text or #lines[#lines]
  break_undo(at.buf)
  vim.api.nvim_buf_set_text(at.buf, at.row, at.col, at.row, at.col + tail, lines)
  vim.api.nvim_win_set_cursor(0, { at.row + #lines, last })
  break_undo(at.buf)
  done()
end

local function note_accepted(suggestion, rest, piece)
  if piece == rest then
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

--- Insert a part of the suggestion into the buffer, "all", "word" or "line", as one undo step. Return the part, if there is one.
function M.accept(part)
  local at = M.cursor()
  local suggestion, rest = M.current(at)
  if not suggestion then
    return
  end
  local piece = suggestions.first(suggestion, rest, part)
  local function done()
    note_accepted(suggestion, rest, piece)
  end
  local tail = piece == rest and #suggestion.tail or 0
  if tail > 0 or piece:find("[\n\t]") then
    replace(piece, at, tail, done) -- typed lines would be indented again, where they are repeated
  else
    type_in(piece, done)
  end
  return piece
end

return M
