--- A suggestion: an item of the language server, tied to a place in a buffer.
---
--- It replaces the text from `row`, `col` to the cursor, and `tail` after it, by `text`. It is valid as long as the text
--- from there to the cursor is the beginning of `text`, and the text right of the cursor is still `right`.

local positions = require("pellucid.positions")

local M = {}

--- Return how many bytes of an item's text are sure; the rest is doubtful.
local function sure_bytes(item, text)
  if vim.tbl_get(item, "command", "arguments", 2) ~= "doubtful" then
    return #text
  end
  return positions.byte(text, item.command.arguments[3], "utf-16")
end

--- Return the suggestion of an item of `textDocument/inlineCompletion` at a cursor; nil if it does not fit there.
--- `at` is {buf, row, col}.
function M.read(item, at, encoding)
  local text = type(item.insertText) == "table" and item.insertText.value or item.insertText
  local line = vim.api.nvim_buf_get_lines(at.buf, at.row, at.row + 1, false)[1] or ""
  local right = line:sub(at.col + 1)
  local row, col, tail = at.row, at.col, ""
  if item.range then
    row, col = positions.place(at.buf, item.range.start, encoding)
    local last_row, last_col = positions.place(at.buf, item.range["end"], encoding)
    if last_row ~= at.row or last_col < at.col then
      return nil
    end
    tail = right:sub(1, last_col - at.col)
  end
  local suggestion = {
    id = vim.tbl_get(item, "command", "arguments", 1),
    command = item.command,
    text = (text:gsub("\r\n", "\n")),
    crlf = text:find("\r\n", 1, true) ~= nil,
    row = row,
    col = col,
    tail = tail,
    right = right,
    partial = M.is_partial(item), -- the rest is on its way
    sure = sure_bytes(item, text),
  }
  return M.rest(suggestion, at) and suggestion or nil
end

--- Return whether an item of `textDocument/inlineCompletion` is only the beginning of a suggestion.
function M.is_partial(item)
  return vim.tbl_get(item, "command", "arguments", 2) == "partial"
end

local function typed(suggestion, at)
  local row, col = suggestion.row, suggestion.col
  if at.row < row or (at.row == row and at.col < col) then
    return nil
  end
  local first = vim.api.nvim_buf_get_lines(at.buf, row, row + 1, false)[1]
  if not first or #first < col then
    return nil
  end
  return table.concat(vim.api.nvim_buf_get_text(at.buf, row, col, at.row, at.col, {}), "\n")
end

--- Return the text that is still to be inserted at the cursor, or nil if the suggestion is not valid (any more).
function M.rest(suggestion, at)
  local before = typed(suggestion, at)
  local line = vim.api.nvim_buf_get_lines(at.buf, at.row, at.row + 1, false)[1] or ""
  if not before or not vim.startswith(suggestion.text, before) or line:sub(at.col + 1) ~= suggestion.right then
    return nil
  end
  local rest = suggestion.text:sub(#before + 1)
  return rest ~= "" and rest ~= suggestion.tail and rest or nil
end

--- Return how many bytes of the rest of a suggestion are sure.
function M.sure(suggestion, rest)
  return math.max(suggestion.sure - (#suggestion.text - #rest), 0)
end

--- Return the first part of the rest of a suggestion: "word" (with the blanks before it), "line" or "all", which is the sure part, if any.
function M.first(suggestion, text, part)
  if part == "all" then
    local sure = M.sure(suggestion, text)
    return sure > 0 and text:sub(1, sure) or text
  end
  local pattern = part == "word" and [[^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)\?]] or [[^\n\?[^\n]*]]
  return vim.fn.matchstr(text, pattern)
end

--- Count the UTF-16 code units of the item's text that are accepted when a rest of this many bytes remains.
function M.accepted_length(suggestion, rest)
  local accepted = suggestion.text:sub(1, #suggestion.text - #rest)
  local _, breaks = accepted:gsub("\n", "")
  return positions.utf16(accepted) + (suggestion.crlf and breaks or 0)
end

return M
