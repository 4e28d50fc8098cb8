--- Ghost text: a suggestion drawn at the cursor, as virtual text that is not in the buffer.

local M = {}

local namespace = vim.api.nvim_create_namespace("pellucid.ghost")

local drawn_in -- the window to which the namespace is limited
local scoped -- value of the option `scoped` of extmarks, which Neovim 0.10 needs

--- Limit the ghost text to a window, if this Neovim can: another window of the buffer does not show it. The functions are not
--- public yet, and differ between versions.
local function limit_to(win)
  if vim.api.nvim__ns_set then -- since 0.11
    pcall(vim.api.nvim__ns_set, namespace, { wins = { win } })
  elseif vim.api.nvim__win_add_ns and win ~= drawn_in then
    if drawn_in and vim.api.nvim_win_is_valid(drawn_in) then
      pcall(vim.api.nvim__win_del_ns, drawn_in, namespace)
    end
    scoped = pcall(vim.api.nvim__win_add_ns, win, namespace) or nil
  end
  drawn_in = win
end

--- Expand tabs to spaces, as the buffer would show them from a screen column on.
local function expanded(text, column, tabstop)
  local pieces = {}
  for piece, tab in text:gmatch("([^\t]*)(\t?)") do
    column = column + vim.fn.strdisplaywidth(piece)
    local spaces = tab == "" and 0 or tabstop - column % tabstop
    column = column + spaces
    pieces[#pieces + 1] = piece .. (" "):rep(spaces)
  end
  return table.concat(pieces)
end

--- Return the pieces of a line between the characters of `tail`, which it must contain in this order.
--- Each piece is {offset into tail, text}; the result is nil if the line does not contain them.
local function woven(line, tail)
  local pieces, from, offset = {}, 1, 0
  for _, character in ipairs(vim.fn.split(tail, [[\zs]])) do
    local found = line:find(character, from, true)
    if not found then
      return nil
    end
    if found > from then
      pieces[#pieces + 1] = { offset, line:sub(from, found - 1) }
    end
    from, offset = found + #character, offset + #character
  end
  if from <= #line then
    pieces[#pieces + 1] = { offset, line:sub(from) }
  end
  return pieces
end

local function mark(at, offset, options)
  options.hl_mode = "combine"
  options.scoped = scoped
  vim.api.nvim_buf_set_extmark(at.buf, namespace, at.row, at.col + offset, options)
end

--- Draw the pieces to insert between the characters of the line.
local function draw_inline(at, pieces, look)
  for number, piece in ipairs(pieces) do
    local chunks = { look(piece[2]) }
    chunks[2] = number == #pieces and look(nil) or nil
    mark(at, piece[1], { virt_text = chunks, virt_text_pos = "inline" })
  end
end

--- Draw over the text right of the cursor, and move that text after the last line.
local function draw_over(suggestion, at, rows)
  local after = suggestion.right:sub(#suggestion.tail + 1)
  if after ~= "" then
    table.insert(rows[#rows], 2, { after, "Normal" })
  end
  local first = table.remove(rows, 1)
  local old, new = vim.fn.strdisplaywidth(suggestion.right), vim.fn.strdisplaywidth(first[1][1])
  first[#first + 1] = { (" "):rep(math.max(old - new, 0)), "Normal" }
  mark(at, 0, { virt_text = first, virt_text_pos = old == 0 and "inline" or "overlay", virt_lines = rows })
end

--- Draw `rest` of a suggestion at the cursor `at` ({buf, row, col}); `hint` ("2/3") follows it.
function M.draw(suggestion, at, rest, hint)
  M.clear(at.buf)
  limit_to(vim.api.nvim_get_current_win())
  local line = vim.api.nvim_buf_get_lines(at.buf, at.row, at.row + 1, false)[1]
  local column, tabstop = vim.fn.strdisplaywidth(line:sub(1, at.col)), vim.bo[at.buf].tabstop
  local behind = hint and { "  " .. hint, "PellucidHint" } or nil
  local lines = vim.split(rest, "\n", { plain = true })
  local pieces = #lines == 1 and woven(rest, suggestion.tail)
  if pieces then
    return draw_inline(at, pieces, function(text)
      return text and { expanded(text, column, tabstop), "PellucidGhost" } or behind
    end)
  end
  local rows = {}
  for number, text in ipairs(lines) do
    rows[number] = { { expanded(text, number == 1 and column or 0, tabstop), "PellucidGhost" } }
  end
  table.insert(rows[#rows], behind)
  draw_over(suggestion, at, rows)
end

--- Remove the ghost text.
function M.clear(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
