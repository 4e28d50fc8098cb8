--- Lines that are drawn between those of a buffer.

local M = {}

--- Scroll the windows of a buffer so that the rows above its first line are seen: Neovim hides them at first.
local function reveal(buf, count)
  for _, win in ipairs(vim.fn.win_findbuf(buf)) do
    vim.api.nvim_win_call(win, function()
      if vim.fn.winsaveview().topline == 1 then
        vim.fn.winrestview({ topfill = count })
      end
    end)
  end
end

--- Draw rows, each a list of {text, highlight group}, below a row of a buffer or, if `above`, above it.
function M.draw(buf, namespace, row, rows, above)
  vim.api.nvim_buf_set_extmark(buf, namespace, row, 0, { virt_lines = rows, virt_lines_above = above })
  if above and row == 0 then
    reveal(buf, #rows)
  end
end

return M
