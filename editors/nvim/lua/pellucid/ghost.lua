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
--- Each piece is {offset into tail, text, offset into line}; the result is nil if the line does not contain them.
local function woven(line, tail)
  local pieces, from, offset = {}, 1, 0
  for _, character in ipairs(vim.fn.split(tail, [[\zs]])) do
    local found = line:find(character, from, true)
    if not found then
      return nil
    end
    if found > from then
      pieces[#pieces + 1] = { offset, line:sub(from, found - 1), from - 1 }
    end
    from, offset = found + #character, offset + #character
  end
  if from <= #line then
    pieces[#pieces + 1] = { offset, line:sub(from), from - 1 }
  end
  return pieces
end

local function mark(at, offset, options)
  options.hl_mode = "combine"
  options.scoped = scoped
  vim.api.nvim_buf_set_extmark(at.buf, namespace, at.row, at.col + offset, options)
end

--- Draw the pieces to insert between the characters of the line; `behind` follows the last one.
local function draw_inline(at, pieces, look, behind)
  for number, piece in ipairs(pieces) do
    local chunks = look(piece[2], piece[3])
    chunks[#chunks + 1] = number == #pieces and behind or nil
    mark(at, piece[1], { virt_text = chunks, virt_text_pos = "inline" })
  end
end

--- Return the chunks of a text that begins `offset` bytes into a suggestion of which `sure` bytes are sure.
local function chunks_of(text, offset, sure, column, tabstop)
  local cut = math.min(math.max(sure - offset, 0), #text)
  local first = expanded(text:sub(1, cut), column, tabstop)
  local chunks = { { first, "PellucidGhost" } }
  if cut < #text then
    local second = expanded(text:sub(cut + 1), column + vim.fn.strdisplaywidth(first), tabstop)
    chunks[cut > 0 and 2 or 1] = { second, "PellucidDoubtful" }
  end
  return chunks
end

--- Draw over the text right of the cursor, and move that text after the last line; `behind` follows it.
local function draw_over(suggestion, at, rows, behind)
  local after = suggestion.right:sub(#suggestion.tail + 1)
  if after ~= "" then
    table.insert(rows[#rows], { after, "Normal" })
  end
  table.insert(rows[#rows], behind)
  local first = table.remove(rows, 1)
  local old, new = vim.fn.strdisplaywidth(suggestion.right), 0
  for _, chunk in ipairs(first) do
    new = new + vim.fn.strdisplaywidth(chunk[1])
  end
  first[#first + 1] = { (" "):rep(math.max(old - new, 0)), "Normal" }
  mark(at, 0, { virt_text = first, virt_text_pos = old == 0 and "inline" or "overlay", virt_lines = rows })
end

--- Draw `rest` of a suggestion at the cursor `at` ({buf, row, col}); all but its `sure` bytes is fainter, and `hint` ("2/3") follows it.
function M.draw(suggestion, at, rest, sure, hint)
  M.clear(at.buf)
  limit_to(vim.api.nvim_get_current_win())
  local line = vim.api.nvim_buf_get_lines(at.buf, at.row, at.row + 1, false)[1]
  local column, tabstop = vim.fn.strdisplaywidth(line:sub(1, at.col)), vim.bo[at.buf].tabstop
  local behind = hint and { "  " .. hint, "PellucidHint" } or nil
  local lines = vim.split(rest, "\n", { plain = true })
  local pieces = #lines == 1 and woven(rest, suggestion.tail)
  if pieces then
    return draw_inline(at, pieces, function(text, offset)
      return chunks_of(text, offset, sure, column, tabstop)
    end, behind)
  end
  local rows, offset = {}, 0
  for number, text in ipairs(lines) do
    rows[number] = chunks_of(text, offset, sure, number == 1 and column or 0, tabstop)
    offset = offset + #text + 1
  end
  draw_over(suggestion, at, rows, behind)
end

--- Remove the ghost text.
function M.clear(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
