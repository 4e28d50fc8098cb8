--- Positions of the protocol (line, character in the client's encoding) and of Neovim (row, byte), both from 0.

local M = {}

local NEW = vim.fn.has("nvim-0.11") == 1

--- Return the byte of a line at which a character of the protocol begins; past the end, the line's length.
function M.byte(line, character, encoding)
  if encoding == "utf-8" then
    return math.min(character, #line)
  end
  if NEW then
    return vim.str_byteindex(line, encoding, character, false)
  end
  local utf32, utf16 = vim.str_utfindex(line)
  local length = encoding == "utf-16" and utf16 or utf32
  return character >= length and #line or vim.str_byteindex(line, character, encoding == "utf-16")
end

--- Return the character of the protocol at a byte of a line.
function M.character(line, byte, encoding)
  local before = line:sub(1, byte)
  if encoding == "utf-8" then
    return #before
  end
  if NEW then
    return vim.str_utfindex(before, encoding)
  end
  local utf32, utf16 = vim.str_utfindex(before)
  return encoding == "utf-16" and utf16 or utf32
end

--- Return the position of the protocol at a row and a byte of a buffer.
function M.position(buf, row, col, encoding)
  local line = vim.api.nvim_buf_get_lines(buf, row, row + 1, false)[1] or ""
  return { line = row, character = M.character(line, col, encoding) }
end

--- Return the row and byte of a position of the protocol in a buffer.
function M.place(buf, position, encoding)
  local line = vim.api.nvim_buf_get_lines(buf, position.line, position.line + 1, false)[1] or ""
  return position.line, M.byte(line, position.character, encoding)
end

--- Count the UTF-16 code units of a text, which may have several lines.
function M.utf16(text)
  return M.character(text, #text, "utf-16")
end

return M
