--- Edits by instruction: the new lines are drawn below the selected ones as they come, then each hunk can be taken or left.

local client = require("pellucid.client")
local options = require("pellucid.options")
local virtual_lines = require("pellucid.virtual_lines")

local M = { shown = nil } -- {buf, tick, first, last, instruction, lines, hunks, index, taken, seed}

local HISTORY = 50 -- instructions that are kept in this session
local namespace = vim.api.nvim_create_namespace("pellucid.instruct")
local history = {}
local number = 0
local cancel_request
local mapped = {} -- keys of the buffer that are mapped while an edit is shown

local function tick(buf)
  return vim.api.nvim_buf_get_changedtick(buf)
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

local function virtual(lines, note)
  local rows = {}
  for _, line in ipairs(lines) do
    rows[#rows + 1] = { { line == "" and " " or line, "PellucidEditNew" } }
  end
  rows[#rows + 1] = { { note, "PellucidHint" } }
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
  local note = ("%s … %s cancels"):format(shown.instruction, options.current.instruct_keys.cancel or ":Pellucid instruct!")
  local last = vim.api.nvim_buf_line_count(shown.buf) - 1
  virtual_lines.draw(shown.buf, namespace, math.min(math.max(shown.last - 1, shown.first), last), virtual(shown.lines, note), false)
end

local function percent(hunk)
  return type(hunk.probability) == "number" and ("%.0f %%"):format(100 * hunk.probability) or "not read"
end

local function draw_hunks(shown)
  vim.api.nvim_buf_clear_namespace(shown.buf, namespace, 0, -1)
  local keys = options.current.instruct_keys
  for index, hunk in ipairs(shown.hunks) do
    local row, old = hunk.first, #hunk.old
    strike(shown.buf, row, old)
    local note = ("%s %d of %d, %s"):format(index == shown.index and "»" or " ", index, #shown.hunks, percent(hunk))
    if index == shown.index then
      note = note .. ("  take %s, leave %s, all %s, again %s"):format(
        keys.take or "-", keys.leave or "-", keys.take_all or "-", keys.again or "-"
      )
    end
    local last = vim.api.nvim_buf_line_count(shown.buf) - 1
    local above = old == 0 and row <= last
    virtual_lines.draw(shown.buf, namespace, math.min(old > 0 and row + old - 1 or row, last), virtual(hunk.new, note), above)
  end
end

--- Make the hunks that were taken: one undo takes them back.
local function finish(shown)
  local edits = {}
  for _, hunk in ipairs(shown.taken) do
    edits[#edits + 1] = { range = hunk.range, newText = hunk.newText }
  end
  M.clear()
  if #edits > 0 then
    vim.lsp.util.apply_text_edits(edits, shown.buf, client.get().offset_encoding)
  end
  client.say(("hunks taken: %d."):format(#edits))
end

--- Take or leave the hunk that is marked.
local function decide(take)
  local shown = M.shown
  if not shown or not shown.hunks then
    return
  end
  if shown.tick ~= tick(shown.buf) then
    M.clear()
    return client.say("the text has changed, so the edit was dropped.")
  end
  local hunk = table.remove(shown.hunks, shown.index)
  if take then
    table.insert(shown.taken, hunk)
  end
  if #shown.hunks == 0 then
    return finish(shown)
  end
  draw_hunks(shown)
end

local request

M.actions = {
  take = function()
    decide(true)
  end,
  leave = function()
    decide(false)
  end,
  take_all = function()
    while M.shown and M.shown.hunks do
      decide(true)
    end
  end,
  again = function()
    local shown = M.shown
    if shown then
      M.clear()
      request(shown.buf, shown.first, shown.last, shown.instruction, (shown.seed or 0) + 1)
    end
  end,
  cancel = function()
    M.clear()
    client.say("the edit was cancelled.")
  end,
}

local function map(buf)
  for action, key in pairs(options.current.instruct_keys) do
    if key then
      local former = vim.fn.maparg(key, "n", false, true)
      mapped[#mapped + 1] = { lhs = key, buf = buf, former = former.buffer == 1 and former or nil }
      vim.keymap.set("n", key, M.actions[action], { buffer = buf, nowait = true, desc = "Pellucid: " .. action:gsub("_", " ") .. " edit" })
    end
  end
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
  local stale = shown.tick ~= tick(shown.buf) and "the text has changed, so the edit was dropped." or nil
  local reason = stale or (result.reason ~= vim.NIL and result.reason or nil)
  if reason then
    M.clear()
    return client.say(reason)
  end
  shown.hunks, shown.index, shown.taken = result.hunks, 1, {}
  draw_hunks(shown)
end

--- Ask for an edit of the rows from `first` to before `last`; a seed asks for another answer.
function request(buf, first, last, instruction, seed)
  number = number + 1
  local shown = { buf = buf, tick = tick(buf), first = first, last = last, instruction = instruction, lines = {}, seed = seed }
  shown.token = "pellucid-instruct-" .. number
  M.shown = shown
  map(buf)
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
  if not shown or shown.token ~= params.token or shown.hunks or not vim.api.nvim_buf_is_valid(shown.buf) then
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

--- Drop an edit when the text changes.
function M.changed()
  local shown = M.shown
  if shown and shown.buf == vim.api.nvim_get_current_buf() and shown.tick ~= tick(shown.buf) then
    M.clear()
  end
end

return M
