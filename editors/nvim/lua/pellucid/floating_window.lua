--- A floating window over a scratch buffer; q and <Esc> close it.

local M = {}

local namespace = vim.api.nvim_create_namespace("pellucid.floating_window")

--- Open a window near the cursor and enter it or, if `apart`, open it in the corner of the screen without entering it. `on_close` is
--- called once, after it was closed. With `wrap`, long lines are wrapped. Returns {buf, win, title}.
function M.open(title, on_close, wrap, apart)
  local buf = vim.api.nvim_create_buf(false, true)
  vim.bo[buf].bufhidden = "wipe"
  vim.bo[buf].filetype = "pellucid"
  local above = vim.fn.winline() > vim.api.nvim_win_get_height(0) / 2
  local place = apart and { relative = "editor", anchor = "NE", row = 0, col = vim.o.columns }
    or { relative = "cursor", anchor = above and "SW" or "NW", row = above and 0 or 1, col = 0 }
  local win = vim.api.nvim_open_win(buf, not apart, vim.tbl_extend("error", place, {
    width = 1,
    height = 1,
    style = "minimal",
    border = "rounded",
    title = " " .. title .. " ",
  }))
  vim.wo[win].wrap = wrap or false
  vim.wo[win].linebreak = true
  vim.wo[win].breakindent = true
  vim.wo[win].cursorline = true
  local float = { buf = buf, win = win, title = title }
  local function close()
    M.close(float)
  end
  for _, key in ipairs({ "q", "<Esc>" }) do
    vim.keymap.set("n", key, close, { buffer = buf, nowait = true, desc = "Close" })
  end
  vim.api.nvim_create_autocmd("WinLeave", { buffer = buf, once = true, callback = vim.schedule_wrap(close) })
  vim.api.nvim_create_autocmd("BufWipeout", {
    buffer = buf,
    once = true,
    callback = function()
      if on_close then
        vim.schedule(on_close)
      end
    end,
  })
  return float
end

--- Close the window, if it is still open.
function M.close(float)
  if vim.api.nvim_win_is_valid(float.win) then
    vim.api.nvim_win_close(float.win, true)
  end
end

--- Show lines, each a list of {text, highlight group or nil}, and resize the window to fit them.
function M.fill(float, lines)
  local texts, width = {}, vim.fn.strdisplaywidth(float.title) + 4
  for number, chunks in ipairs(lines) do
    texts[number] = table.concat(vim.tbl_map(function(chunk)
      return chunk[1]
    end, chunks))
    width = math.max(width, vim.fn.strdisplaywidth(texts[number]))
  end
  vim.bo[float.buf].modifiable = true
  vim.api.nvim_buf_set_lines(float.buf, 0, -1, false, texts)
  vim.bo[float.buf].modifiable = false
  for number, chunks in ipairs(lines) do
    local col = 0
    for _, chunk in ipairs(chunks) do
      if chunk[2] then
        vim.api.nvim_buf_set_extmark(float.buf, namespace, number - 1, col, { end_col = col + #chunk[1], hl_group = chunk[2] })
      end
      col = col + #chunk[1]
    end
  end
  vim.api.nvim_win_set_width(float.win, math.min(width, math.max(vim.o.columns - 4, 1)))
  local rows = vim.wo[float.win].wrap and vim.api.nvim_win_text_height(float.win, {}).all or #lines
  vim.api.nvim_win_set_height(float.win, math.max(math.min(rows, math.floor(vim.o.lines / 2)), 1))
end

return M
