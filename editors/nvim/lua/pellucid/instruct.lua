--- Edits by instruction: the new lines are drawn below the selected ones as they come, then each hunk can be taken or left.

local client = require("pellucid.client")
local options = require("pellucid.options")
local virtual_lines = require("pellucid.virtual_lines")

--- The edit: {buf, first, last: rows, instruction, seed, token, before: the lines up to `last`, tick, lines: those that came so far, hunks,
--- index: the hunk to decide on, refused}.
local M = { shown = nil }

local HISTORY = 50 -- instructions that are kept in this session
local ACTIONS = { "take", "leave", "take_all", "again", "cancel" }
local namespace = vim.api.nvim_create_namespace("pellucid.instruct")
local history = {}
local number = 0
local cancel_request
local mapped = {} -- keys of the buffer that are mapped while an edit is shown

--- Return the lines up to the end of the selected ones, or to the blank one that new lines replace. Changes below do no harm.
local function lines_before(shown)
  return vim.api.nvim_buf_get_lines(shown.buf, 0, math.max(shown.last, shown.first + 1), false)
end

--- Return why an edit can no longer be made, if the text has changed, or nil.
local function stale(shown)
  local tick = vim.api.nvim_buf_get_changedtick(shown.buf) -- which changes with every write, too
  if tick == shown.tick then
    return nil
  end
  if vim.deep_equal(lines_before(shown), shown.before) then
    shown.tick = tick
    return nil
  end
  local when = shown.hunks and "" or " while the model was writing"
  return ("the selected lines or those above them changed%s, so nothing was applied: ask again."):format(when)
end

local function unmap()
  for _, key in ipairs(mapped) do
    pcall(vim.keymap.del, "n", key.lhs, { buffer = key.buf })
    if key.former then
      vim.api.nvim_buf_call(key.buf, function()
        vim.fn.mapset("n", false, key.former)
      end)
    end
  end
  mapped = {}
end

--- Remove what is drawn, and cancel the request.
function M.clear()
  if cancel_request then
    cancel_request()
    cancel_request = nil
  end
  unmap()
  local shown = M.shown
  M.shown = nil
  if shown and vim.api.nvim_buf_is_valid(shown.buf) then
    vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  end
end

--- Return rows to draw: new lines, and notes below them.
local function virtual(lines, notes)
  local rows = {}
  for _, line in ipairs(lines) do
    rows[#rows + 1] = { { line == "" and " " or line, "PellucidEditNew" } }
  end
  for _, note in ipairs(notes) do
    rows[#rows + 1] = { { note, "PellucidHint" } }
  end
  return rows
end

local function strike(buf, first, count)
  if count > 0 then
    local last = first + count - 1
    local length = #vim.api.nvim_buf_get_lines(buf, last, last + 1, false)[1]
    vim.api.nvim_buf_set_extmark(buf, namespace, first, 0, { end_row = last, end_col = length, hl_group = "PellucidEditOld" })
  end
end

local function draw_stream(shown)
  vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  local cancel = options.current.instruct_keys.cancel or ":Pellucid instruct!"
  local note = ("%s  Writing… %s cancels."):format(shown.instruction, cancel)
  local last = vim.api.nvim_buf_line_count(shown.buf) - 1
  local row = math.min(math.max(shown.last - 1, shown.first), last)
  virtual_lines.draw(shown.buf, namespace, row, virtual(shown.lines, { note }), false)
end

local function taken(shown)
  return vim.tbl_filter(function(hunk)
    return hunk.taken
  end, shown.hunks or {})
end

--- Return the keys for the marked hunk.
local function hints(shown)
  local keys = options.current.instruct_keys
  local labels = {
    { "take", keys.take },
    { "leave", keys.leave },
    { "all", keys.take_all },
    { "again", keys.again },
    { #taken(shown) > 0 and "finish" or "cancel", keys.cancel },
  }
  local parts = {}
  for _, label in ipairs(labels) do
    parts[#parts + 1] = label[2] and ("%s %s"):format(label[1], label[2]) or nil
  end
  return "  " .. table.concat(parts, ", ")
end

--- Return the columns for text in the window that shows a buffer.
local function room(buf)
  local win = vim.fn.bufwinid(buf)
  return win < 0 and vim.o.columns or vim.api.nvim_win_get_width(win) - vim.fn.getwininfo(win)[1].textoff
end

--- Draw the hunks that are not left, with the keys at the marked one.
local function draw_hunks(shown)
  vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  for index, hunk in ipairs(shown.hunks) do
    local row, old = hunk.first, #hunk.old
    local marked = index == shown.index
    local notes = { ("%s %d of %d"):format(marked and "»" or " ", index, #shown.hunks) }
    if hunk.breaksSyntax == true then
      notes[1] = notes[1] .. ", breaks the syntax"
    end
    if hunk.taken then
      notes[1] = notes[1] .. ", taken"
    elseif marked then
      notes[2] = hints(shown)
      if vim.fn.strdisplaywidth(notes[1] .. notes[2]) <= room(shown.buf) then
        notes = { notes[1] .. notes[2] }
      end
    end
    if not hunk.left then
      strike(shown.buf, row, old)
      local last = vim.api.nvim_buf_line_count(shown.buf) - 1
      local above = old == 0 and row <= last
      virtual_lines.draw(shown.buf, namespace, math.min(old > 0 and row + old - 1 or row, last), virtual(hunk.new, notes), above)
    end
  end
end

--- Make the hunks that were taken: one undo takes them back.
local function finish(shown)
  local edits = vim.tbl_map(function(hunk)
    return { range = hunk.range, newText = hunk.newText }
  end, taken(shown))
  local left = #vim.tbl_filter(function(hunk)
    return hunk.left and hunk.breaksSyntax == true
  end, shown.hunks)
  local rest = left > 0 and (" Left because of the syntax: %d."):format(left) or ""
  M.clear()
  if #edits == 0 then
    return client.say("nothing was applied." .. rest)
  end
  vim.lsp.util.apply_text_edits(edits, shown.buf, client.get().offset_encoding)
  client.say((#edits == 1 and "1 change applied." or ("%d changes applied."):format(#edits)) .. rest)
end

--- Remove an edit that can no longer be made, and say why. Return whether it was removed.
local function dropped(shown)
  local reason = stale(shown)
  if reason then
    M.clear()
    client.say(reason, vim.log.levels.WARN)
  end
  return reason ~= nil
end

--- Take or leave the hunk that is marked.
local function decide(choice)
  local shown = M.shown
  if not shown or not shown.hunks or dropped(shown) then
    return
  end
  shown.hunks[shown.index][choice] = true
  shown.index = shown.index + 1
  if shown.index > #shown.hunks then
    return finish(shown)
  end
  draw_hunks(shown)
end

local request

M.actions = {
  take = function()
    decide("taken")
  end,
  leave = function()
    decide("left")
  end,
  take_all = function() -- but what breaks the syntax
    while M.shown and M.shown.hunks do
      local hunk = M.shown.hunks[M.shown.index]
      decide(hunk.breaksSyntax == true and "left" or "taken")
    end
  end,
  again = function()
    local shown = M.shown
    if shown and not dropped(shown) then
      M.clear()
      request(shown.buf, shown.first, shown.last, shown.instruction, (shown.seed or 0) + 1)
    end
  end,
  cancel = function()
    local shown = M.shown
    if not shown or shown.refused then
      M.clear()
      return client.say("there is no edit to cancel.")
    end
    if #taken(shown) == 0 then
      M.clear()
      return client.say("the edit was cancelled.")
    end
    if not dropped(shown) then
      finish(shown)
    end
  end,
}

--- Map the keys of some actions in a buffer.
local function map(buf, actions)
  for _, action in ipairs(actions) do
    local key = options.current.instruct_keys[action]
    if key then
      local former = vim.api.nvim_buf_call(buf, function()
        return vim.fn.maparg(key, "n", false, true)
      end)
      mapped[#mapped + 1] = { lhs = key, buf = buf, former = former.buffer == 1 and former or nil }
      vim.keymap.set("n", key, M.actions[action], { buffer = buf, nowait = true, desc = "Pellucid: " .. action:gsub("_", " ") .. " edit" })
    end
  end
end

--- Say why there is nothing to apply. The key to ask again stays mapped until the text changes.
local function refuse(shown, reason)
  M.clear()
  local key = options.current.instruct_keys.again
  if not key then
    return client.say(reason, vim.log.levels.WARN)
  end
  shown.refused = true
  M.shown = shown
  map(shown.buf, { "again" })
  client.say(("%s %s asks again."):format(reason, key), vim.log.levels.WARN)
end

--- Show the result of a request.
local function show(shown, result)
  if M.shown ~= shown then
    return
  end
  cancel_request = nil
  if not result then
    return M.clear()
  end
  if dropped(shown) then
    return
  end
  if result.reason ~= vim.NIL and result.reason then
    return refuse(shown, result.reason)
  end
  shown.hunks, shown.index = result.hunks, 1
  draw_hunks(shown)
  if result.note and result.note ~= vim.NIL then
    client.say(result.note, vim.log.levels.WARN)
  end
end

--- Ask for an edit of the rows from `first` to before `last`; a seed asks for another answer.
function request(buf, first, last, instruction, seed)
  number = number + 1
  local shown = { buf = buf, first = first, last = last, instruction = instruction, seed = seed, lines = {} }
  shown.token = "pellucid-instruct-" .. number
  shown.tick, shown.before = vim.api.nvim_buf_get_changedtick(buf), lines_before(shown)
  if not client.get() then
    return client.say("no language server is running; :Pellucid restart starts it.", vim.log.levels.WARN)
  end
  M.shown = shown
  map(buf, ACTIONS)
  draw_stream(shown)
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(buf) },
    range = { start = { line = first, character = 0 }, ["end"] = { line = last, character = 0 } },
    instruction = instruction,
    seed = seed,
    partialResultToken = shown.token,
  }
  cancel_request = client.request("pellucid/edit", params, buf, function(result, sentence)
    if sentence then
      client.say(sentence, vim.log.levels.WARN) -- always: each is the answer to an instruction
    end
    show(shown, result)
  end, true)
end

--- Draw lines that come while an edit is generated.
function M.progress(params)
  local shown = M.shown
  if not shown or shown.token ~= params.token or shown.hunks or shown.refused or not vim.api.nvim_buf_is_valid(shown.buf) then
    return false
  end
  vim.list_extend(shown.lines, params.value.lines)
  draw_stream(shown)
  return true
end

local function note(instruction)
  for index, earlier in ipairs(history) do
    if earlier == instruction then
      table.remove(history, index)
      break
    end
  end
  table.insert(history, 1, instruction)
  history[HISTORY + 1] = nil
end

--- Complete an instruction by those that were given before.
function M.complete(lead)
  return vim.tbl_filter(function(one)
    return vim.startswith(one, lead)
  end, history)
end

--- Edit the lines from `first` to `last`, counted from 1, by an instruction, which is asked for if it is empty.
function M.open(first, last, instruction)
  local buf = vim.api.nvim_get_current_buf()
  if not client.attached(buf) then
    return client.say("no language server is attached to this buffer.", vim.log.levels.WARN)
  end
  M.clear()
  local function begin(given)
    if given and vim.trim(given) ~= "" then
      note(given)
      request(buf, first - 1, last, given)
    end
  end
  if instruction ~= "" then
    return begin(instruction)
  end
  local completion = "customlist,v:lua.require'pellucid.instruct'.complete"
  vim.ui.input({ prompt = "Pellucid, change this: ", completion = completion, default = "" }, begin)
end

--- Edit the lines of a document from `first` on and before `last`, from 0, by an instruction.
function M.edit(uri, first, last, instruction)
  M.clear()
  request(vim.uri_to_bufnr(uri), first, last, instruction)
end

--- Drop an edit when its text changes; after a refusal, release the key to ask again when any text of the buffer does.
function M.changed(event)
  local shown = M.shown
  if not shown or shown.buf ~= event.buf then
    return
  end
  if shown.refused then
    return M.clear()
  end
  dropped(shown)
end

--- Drop an edit when its buffer is closed.
function M.unloaded(event)
  local shown = M.shown
  if shown and shown.buf == event.buf then
    M.clear()
    if vim.v.exiting == vim.NIL and not shown.refused then
      vim.schedule(function() -- after what Neovim says of the next file: two messages at once would wait for Enter
        client.say("the buffer was closed, so the edit was dropped.")
      end)
    end
  end
end

return M
