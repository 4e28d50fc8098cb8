--- Edits that may come next: marked in the sign column, the next one drawn next to the lines that it would replace.
--- If none is left in the buffer, the next place in another file is named at the end of the cursor's line.

local client = require("pellucid.client")
local positions = require("pellucid.positions")
local virtual_lines = require("pellucid.virtual_lines")

local M = { shown = nil } -- what is drawn: {buf, tick, edits: those of the server, index, places: those in other files}

local known = {} -- buffer -> the same, as far as it was requested since the last change of any buffer
local changed = { buf = nil, ticks = {} } -- the buffer of the last change, and the tick of each buffer at its last one
local pending -- {buf, tick} of a request, or nil
local writing -- the tick of the buffer that is written now

local WAIT_MS = 200 -- between a change and the request
local MODES = { n = true, c = true } -- where edits are requested and shown; someone may type :w just after a change
local MAX_SHOWN = 60 -- characters of a new line of another file
local namespace = vim.api.nvim_create_namespace("pellucid.edits")

local cancel_request, timer

local function tick(buf)
  return vim.api.nvim_buf_get_changedtick(buf)
end

--- Return what is known of the current buffer, if there are edits, or nil.
local function current()
  local buf = vim.api.nvim_get_current_buf()
  local found = known[buf]
  return found and found.tick == tick(buf) and #found.edits + #found.places > 0 and found or nil
end

local function last_row(buf)
  return vim.api.nvim_buf_line_count(buf) - 1
end

local function percent(edit)
  return ("%.0f %%"):format(100 * edit.probability)
end

--- Return the new lines of an edit. Whole lines that are inserted have an end that is no line of its own.
local function new_lines(edit)
  return vim.split((edit.text:gsub("^\n", ""):gsub("\n$", "")), "\n", { plain = true })
end

--- Draw what an edit would change: the old text struck through, the new lines below it.
local function draw_change(buf, edit)
  local encoding = client.get().offset_encoding
  local row, col = positions.place(buf, edit.range.start, encoding)
  local end_row, end_col = positions.place(buf, edit.range["end"], encoding)
  local inserts = row == end_row and col == end_col
  if not inserts then
    local past = end_row > last_row(buf)
    local stop = past and last_row(buf) or end_row
    local stop_col = past and #vim.api.nvim_buf_get_lines(buf, stop, stop + 1, false)[1] or end_col
    vim.api.nvim_buf_set_extmark(buf, namespace, row, col, { end_row = stop, end_col = stop_col, hl_group = "PellucidEditOld" })
  end
  local rows = {}
  for _, line in ipairs(edit.text == "" and {} or new_lines(edit)) do
    rows[#rows + 1] = { { line, "PellucidEditNew" } }
  end
  rows[#rows + 1] = #rows == 0 and { { "delete", "PellucidHint" } } or nil
  table.insert(rows[#rows], { "  " .. percent(edit), "PellucidHint" })
  local above = inserts and col == 0 and row <= last_row(buf)
  local at = math.min(above and row or (end_col == 0 and end_row > row and end_row - 1 or end_row), last_row(buf))
  virtual_lines.draw(buf, namespace, at, rows, above)
end

--- Return a file and a line, from 1, as people read them.
local function place_name(place)
  return ("%s:%d"):format(vim.fn.fnamemodify(vim.uri_to_fname(place.uri), ":~:."), place.line + 1)
end

--- Return the first new line of an edit of another file.
local function new_line(place)
  local text = vim.trim(place.new[1] or "delete")
  return vim.fn.strcharlen(text) > MAX_SHOWN and vim.fn.strcharpart(text, 0, MAX_SHOWN) .. "…" or text
end

--- Name a place in another file, with its new line, at the end of the cursor's line.
local function draw_place(buf, place)
  local text = { { "  → " .. place_name(place) .. "  ", "PellucidHint" }, { new_line(place), "PellucidEditNew" } }
  text[#text + 1] = { "  " .. percent(place), "PellucidHint" }
  vim.api.nvim_buf_set_extmark(buf, namespace, vim.api.nvim_win_get_cursor(0)[1] - 1, 0, { virt_text = text })
end

local function erase(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

local function draw(shown)
  erase(shown.buf)
  M.shown = shown
  for _, edit in ipairs(shown.edits) do
    local row = math.min(edit.range.start.line, last_row(shown.buf))
    vim.api.nvim_buf_set_extmark(shown.buf, namespace, row, 0, { sign_text = "»", sign_hl_group = "PellucidEdit" })
  end
  if #shown.edits > 0 then
    draw_change(shown.buf, shown.edits[shown.index])
  else
    draw_place(shown.buf, shown.places[1])
  end
end

--- Cancel the request for edits, and draw none until the buffer is entered again or insert mode ends.
function M.hide()
  if timer then
    timer:stop()
    timer = nil
  end
  if cancel_request then
    cancel_request()
    cancel_request, pending = nil, nil
  end
  if M.shown then
    erase(M.shown.buf)
    M.shown = nil
  end
end

--- Forget the edits.
function M.clear()
  M.hide()
  known = {}
end

local HERE, HERE_OR_ELSEWHERE, BOTH = 1, 2, 3

--- Request the edits that may come next, and show them: HERE those of the buffer, HERE_OR_ELSEWHERE those of other files if the buffer
--- has none, BOTH all. `done(edits, places)` is called unless the text or the mode has changed meanwhile.
local function request(scope, done)
  M.hide()
  local buf = vim.api.nvim_get_current_buf()
  if not client.attached(buf) or not client.enabled() then
    return done({}, {})
  end
  local about = { buf = buf, tick = tick(buf) }
  local params = { textDocument = { uri = vim.uri_from_bufnr(buf) } }
  if changed.buf ~= buf then -- from the cursor on, as the last edit is in another buffer
    params.position = vim.lsp.util.make_position_params(0, client.get().offset_encoding).position
  end

  local function ask(method, callback)
    pending = about
    cancel_request = client.request(method, params, buf, function(result)
      cancel_request, pending = nil, nil
      if buf == vim.api.nvim_get_current_buf() and about.tick == tick(buf) and MODES[vim.api.nvim_get_mode().mode] then
        callback(result or {})
      end
    end)
  end

  local function show(edits, places)
    known[buf] = { buf = buf, tick = about.tick, edits = edits, index = 1, places = places }
    if current() then
      draw(known[buf])
    end
    done(edits, places)
  end

  ask("pellucid/nextEdits", function(here)
    local edits = here.edits or {}
    if scope == HERE or (scope == HERE_OR_ELSEWHERE and #edits > 0) then
      return show(edits, {})
    end
    ask("pellucid/nextEditsElsewhere", function(elsewhere)
      show(edits, elsewhere.places or {})
    end)
  end)
end

local function request_soon(scope)
  M.hide()
  if vim.fn.reg_recording() ~= "" or vim.fn.reg_executing() ~= "" then
    return
  end
  timer = vim.defer_fn(function()
    timer = nil
    if MODES[vim.api.nvim_get_mode().mode] then
      request(scope, function() end)
    end
  end, WAIT_MS)
end

--- Draw the edits that are known of the current buffer, or request them if there may be new ones.
local function continue()
  local buf = vim.api.nvim_get_current_buf()
  if current() then
    draw(current())
  elseif not (known[buf] and known[buf].tick == tick(buf)) then
    request_soon(changed.buf == buf and HERE_OR_ELSEWHERE or HERE)
  end
end

--- Handle a change in normal mode or the end of insert mode: request edits after a short wait.
function M.changed()
  local buf = vim.api.nvim_get_current_buf()
  if changed.ticks[buf] ~= tick(buf) and client.attached(buf) then
    M.clear()
    changed.buf = buf
    changed.ticks[buf] = tick(buf)
  end
  if changed.buf then
    continue()
  end
end

--- Handle another current buffer: the last edit, of another one, may be repeated there.
function M.entered()
  local buf = vim.api.nvim_get_current_buf()
  changed.ticks[buf] = changed.ticks[buf] or tick(buf)
  if changed.buf then
    continue()
  end
end

--- Handle the beginning of a write.
function M.before_write(event)
  writing = tick(event.buf)
end

--- Handle the end of a write, which counts as a change of the buffer although the text is the same.
function M.after_write(event)
  local buf = event.buf
  if not writing or tick(buf) ~= writing + 1 then
    return
  end
  for _, one in pairs({ known[buf], pending and pending.buf == buf and pending or nil }) do
    one.tick = one.tick == writing and tick(buf) or one.tick
  end
  if changed.ticks[buf] == writing then
    changed.ticks[buf] = tick(buf)
  end
end

--- Handle a move of the cursor: an edit in its line is the next one, and a place in another file is drawn at the end of that line.
function M.moved()
  local shown = current()
  if not shown then
    return
  end
  local row = vim.api.nvim_win_get_cursor(0)[1] - 1
  local function is_here(edit)
    return edit and math.min(edit.range.start.line, last_row(shown.buf)) == row
  end
  if is_here(shown.edits[shown.index]) then
    return
  end
  for index, edit in ipairs(shown.edits) do
    if is_here(edit) then
      shown.index = index
      return draw(shown)
    end
  end
  if #shown.edits == 0 then
    draw(shown)
  end
end

local function make(shown, edit)
  vim.lsp.util.apply_text_edits({ { range = edit.range, newText = edit.text } }, shown.buf, client.get().offset_encoding)
  client.request("workspace/executeCommand", { command = "pellucid.editAccepted", arguments = { edit.id } }, nil, function() end)
end

--- Do not suggest an edit again.
local function dismiss(id)
  client.request("workspace/executeCommand", { command = "pellucid.editDismissed", arguments = { id } }, nil, function() end)
end

--- Open another file at a place. There the edit is requested again, for the text that the file has then.
local function open(shown)
  local place = shown.places[1]
  local path = vim.uri_to_fname(place.uri)
  if vim.fn.bufloaded(path) == 0 and vim.fn.filereadable(path) == 0 then
    client.say(("%s no longer exists."):format(vim.fn.fnamemodify(path, ":~:.")), vim.log.levels.WARN)
    return M.dismiss()
  end
  vim.cmd("normal! m'")
  local buf = vim.fn.bufadd(path)
  vim.bo[buf].buflisted = true
  local opened, failure = pcall(vim.api.nvim_set_current_buf, buf)
  if not opened then
    return client.say(("%s was not opened: %s"):format(place_name(place), failure), vim.log.levels.ERROR)
  end
  vim.api.nvim_win_set_cursor(0, { math.min(place.line, last_row(buf)) + 1, 0 })
  vim.cmd("normal! ^")
end

--- Go to the next edit or, if the cursor is there already, make it: one undo takes it back. Without one here, open the next file.
function M.next()
  local shown = current()
  if not shown then
    return request(HERE_OR_ELSEWHERE, function(edits, places)
      if #edits + #places == 0 then
        client.say("no edit is suggested here or in other files.")
      end
    end)
  end
  local edit = shown.edits[shown.index]
  if not edit then
    return open(shown)
  end
  local row = math.min(edit.range.start.line, last_row(shown.buf))
  if vim.api.nvim_win_get_cursor(0)[1] == row + 1 then
    return make(shown, edit)
  end
  vim.cmd("normal! m'")
  vim.api.nvim_win_set_cursor(0, { row + 1, 0 })
  vim.cmd("normal! ^")
end

--- Do not suggest the next edit again, and show the one after it.
function M.dismiss()
  local shown = current()
  if not shown then
    return
  end
  local was_here = #shown.edits > 0
  dismiss((was_here and table.remove(shown.edits, shown.index) or table.remove(shown.places, 1)).id)
  shown.index = math.max(math.min(shown.index, #shown.edits), 1)
  if current() then
    draw(shown)
  elseif was_here then
    request(HERE_OR_ELSEWHERE, function() end)
  else
    M.hide()
  end
end

--- Open the location list with all edits, here and in other files.
function M.list()
  client.say("searching for edits here and in other files …")
  request(BOTH, function(edits, places)
    local items = {}
    local buf = vim.api.nvim_get_current_buf()
    for _, edit in ipairs(edits) do
      local row = math.min(edit.range.start.line, last_row(buf)) + 1
      items[#items + 1] = { bufnr = buf, lnum = row, col = 1, text = percent(edit) .. "  " .. new_lines(edit)[1] }
    end
    for _, place in ipairs(places) do
      local text = percent(place) .. "  " .. new_line(place)
      items[#items + 1] = { filename = vim.uri_to_fname(place.uri), lnum = place.line + 1, col = 1, text = text }
    end
    if #items == 0 then
      return client.say("no edit is suggested here or in other files.")
    end
    vim.fn.setloclist(0, {}, " ", { title = "Pellucid: edits", items = items })
    vim.cmd("lopen")
  end)
end

return M
