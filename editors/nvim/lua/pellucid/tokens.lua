--- The window with the tokens of a suggestion: the probability and the alternatives of each.

local builtin = require("pellucid.builtin")
local client = require("pellucid.client")
local float = require("pellucid.floating_window")
local positions = require("pellucid.positions")
local session = require("pellucid.current_suggestion")

local M = {}

local sources = {} -- buffer -> function that returns what `open` shows there

local BAR, TEXT = 12, 20 -- columns
local EIGHTHS = { "▏", "▎", "▍", "▌", "▋", "▊", "▉" }
local FLOORS = { 0.9, 0.6, 0.3, 0.1 } -- probabilities at which the next highlight group begins

local function level(probability)
  for number, floor in ipairs(FLOORS) do
    if probability >= floor then
      return "PellucidLevel" .. number
    end
  end
  return "PellucidLevel" .. #FLOORS + 1
end

--- Return a bar of BAR columns.
local function bar(probability)
  local eighths = math.floor(probability * BAR * 8 + 0.5)
  local text = ("█"):rep(math.floor(eighths / 8)) .. (EIGHTHS[eighths % 8] or "")
  return text .. (" "):rep(BAR - vim.fn.strdisplaywidth(text))
end

--- Return a token's text with visible blanks, in at least `width` columns.
local function visible(text, width)
  local shown = text:gsub("\r", "␍"):gsub("\n", "⏎"):gsub("\t", "⇥"):gsub(" ", "·"):gsub("%c", "␦")
  return shown .. (" "):rep(math.max(width - vim.fn.strdisplaywidth(shown), 0))
end

local function percent(probability)
  return ("%5.1f%%"):format(probability * 100)
end

local function known(value)
  return value ~= nil and value ~= vim.NIL
end

--- Return a token's or alternative's probability among all tokens that agree with what was typed: `allowed` is theirs together.
local function given(logprob, allowed)
  return known(logprob) and math.min(math.exp(logprob) / (allowed or 1), 1) or 1
end

--- Return the entropy of a token's choice in bits: as a range if the exact one is not known, "" if nothing is.
function M.entropy(token)
  local exact, range = token.entropy, token.entropy_range
  if known(exact) then
    range = { exact, exact }
  elseif not known(range) then
    return ""
  end
  local least, most = ("%.2f"):format(range[1] / math.log(2)), ("%.2f"):format(range[2] / math.log(2))
  return least == most and ("%s bits"):format(least) or ("%s to %s bits"):format(least, most)
end

--- Return the line of a token.
local function token_line(token)
  local probability = given(token.logprob, token.allowed)
  return {
    { " " },
    { visible(token.token, TEXT), level(probability) },
    { " " .. bar(probability) .. " " .. percent(probability) },
    { known(token.rank) and ("  rank %-4d"):format(token.rank) or "", "PellucidHint" },
    { ("  %s "):format(M.entropy(token)), "PellucidHint" },
  }
end

--- Return the line of one of its alternatives.
local function alternative_line(alternative, chosen, allowed)
  local probability = given(alternative.logprob, allowed)
  return {
    { chosen and "  ▸ " or "    " },
    { visible(alternative.token, TEXT - 3), chosen and "PellucidHint" or nil },
    { " " .. bar(probability) .. " " .. percent(probability) .. " " },
  }
end

--- Return all lines, with the alternatives of token `open`, and the token (and alternative) of each line, from 0.
local function layout(tokens, open)
  local lines, owners = {}, {}
  for number, token in ipairs(tokens) do
    lines[#lines + 1], owners[#owners + 1] = token_line(token), { token = number - 1 }
    if number - 1 == open then
      for place, alternative in ipairs(token.top or {}) do
        lines[#lines + 1] = alternative_line(alternative, alternative.id == token.id, token.allowed)
        owners[#owners + 1] = { token = number - 1, alternative = place - 1, chosen = alternative.id == token.id }
      end
    end
  end
  return lines, owners
end

local function render(view, open)
  local lines, owners = layout(view.answer.tokens, open)
  float.fill(view.float, lines)
  view.open, view.owners = open, owners
end

--- Open the alternatives of the token under the window's cursor.
local function follow(view)
  local owner = view.owners[vim.api.nvim_win_get_cursor(view.float.win)[1]]
  if owner.token ~= view.open then
    render(view, owner.token)
    vim.api.nvim_win_set_cursor(view.float.win, { owner.token + 1, 0 })
  end
end

--- Remove the text of an accepted suggestion from the buffer. Returns a function that puts it back.
local function take_out(view)
  local tokens, encoding = view.answer.tokens, client.get().offset_encoding
  if not known(tokens[1].range) or not known(tokens[#tokens].range) then
    return nil
  end
  local row, col = positions.place(view.buf, tokens[1].range.start, encoding)
  local last_row, last_col = positions.place(view.buf, tokens[#tokens].range["end"], encoding)
  local text = vim.api.nvim_buf_get_text(view.buf, row, col, last_row, last_col, {})
  vim.api.nvim_buf_set_text(view.buf, row, col, last_row, last_col, {})
  view.cursor = { row + 1, col }
  return function()
    vim.api.nvim_buf_set_text(view.buf, row, col, row, col, text)
  end
end

--- Continue from the alternative under the window's cursor.
local function branch(view)
  local owner = view.owners[vim.api.nvim_win_get_cursor(view.float.win)[1]]
  if not owner.alternative or owner.chosen then
    return
  end
  local put_back = view.answer.accepted and take_out(view)
  if view.answer.accepted and not put_back then
    return client.warn("the suggestion's text has changed, so it cannot be continued; request a new one.")
  end
  local params = { id = view.answer.id, token = owner.token, alternative = owner.alternative }
  client.request("pellucid/branch", params, view.buf, function(item)
    view.branch = item
    if not item and put_back then
      put_back()
    end
    float.close(view.float)
  end)
end

--- Show a branch as ghost text.
local function show_branch(item)
  if builtin.used() then
    builtin.pause()
  end
  session.show({ item }, session.cursor())
end

--- Go back from the closed window to the suggestion, and to insert mode if the window was opened from there.
local function closed(view)
  if not vim.api.nvim_win_is_valid(view.from) then
    session.held = false
    return session.left()
  end
  vim.api.nvim_set_current_win(view.from)
  local item = view.branch
  if not item and not view.inserting then
    session.held = false
    return
  end
  local line_length = #vim.api.nvim_get_current_line()
  vim.api.nvim_create_autocmd("InsertEnter", {
    buffer = vim.api.nvim_get_current_buf(),
    once = true,
    callback = vim.schedule_wrap(function()
      vim.api.nvim_win_set_cursor(view.from, view.cursor)
      if item then
        show_branch(item)
      end
      session.held = false
    end),
  })
  vim.cmd.startinsert({ bang = view.cursor[2] >= line_length })
end

--- Fill the window, with the token at `index` (from 0) open, and open the token of each line to which the cursor moves.
local function fill_float(view, index)
  render(view, index)
  vim.api.nvim_win_set_cursor(view.float.win, { index + 1, 0 })
  vim.api.nvim_create_autocmd("CursorMoved", {
    buffer = view.float.buf,
    callback = function()
      follow(view)
    end,
  })
end

local function show(answer, inserting)
  if #answer.tokens == 0 then
    return client.warn("the suggestion has no tokens.")
  end
  local view = {
    answer = answer,
    inserting = inserting,
    from = vim.api.nvim_get_current_win(),
    buf = vim.api.nvim_get_current_buf(),
    cursor = vim.api.nvim_win_get_cursor(0),
  }
  session.held = true
  view.float = float.open(("%s, %s"):format(answer.model, answer.accepted and "accepted" or "suggested"), function()
    closed(view)
  end)
  local function fill()
    fill_float(view, 0)
  end
  if inserting then
    -- At the end of insert mode Neovim deletes an indent that it inserted itself: the blanks at the cursor, here those of the first line.
    vim.api.nvim_create_autocmd("InsertLeave", { buffer = view.float.buf, once = true, callback = fill })
    vim.cmd.stopinsert()
  else
    fill()
  end
  vim.keymap.set("n", "<CR>", function()
    branch(view)
  end, { buffer = view.float.buf, nowait = true, desc = "Continue from this alternative" })
end

--- Show tokens that cannot be continued from, with those at `index` (from 0) open: {title, tokens, index}.
local function inspect(shown)
  local view = { answer = shown }
  view.float = float.open(shown.title)
  fill_float(view, shown.index)
end

--- Let the window show, in a buffer, what `source` returns: {title, tokens, index}, or nil and a sentence.
function M.provide(buf, source)
  sources[buf] = source
end

--- Open the window for the shown suggestion, else the accepted one under the cursor, else the last one that was shown.
function M.open()
  local source = sources[vim.api.nvim_get_current_buf()]
  if source then
    local shown, reason = source()
    if not shown then
      return client.say(reason)
    end
    return inspect(shown)
  end
  local running = client.get()
  if not running then
    return client.warn("no language server is running; :Pellucid restart starts it.")
  end
  local at, suggestion = session.cursor(), session.current()
  local inserting = vim.startswith(vim.api.nvim_get_mode().mode, "i")
  local function answered(answer)
    if not vim.deep_equal(at, session.cursor()) then
      return -- the user has moved or typed
    end
    if answer then
      show(answer, inserting)
    else
      client.say("there is no suggestion here.")
    end
  end
  if suggestion then
    return client.request("pellucid/tokens", { id = suggestion.id }, at.buf, answered)
  end
  local there = {
    textDocument = { uri = vim.uri_from_bufnr(at.buf) },
    position = positions.position(at.buf, at.row, at.col, running.offset_encoding),
  }
  client.request("pellucid/tokens", there, at.buf, function(answer)
    if answer or not session.last then
      return answered(answer)
    end
    client.request("pellucid/tokens", { id = session.last }, at.buf, answered)
  end)
end

return M
