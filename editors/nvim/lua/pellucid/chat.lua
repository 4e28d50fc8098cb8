--- The chat: a Markdown buffer in which the model answers below each message. Every text can be edited and is sent as it is shown.

local client = require("pellucid.client")
local options = require("pellucid.options")
local tokens = require("pellucid.tokens")

local M = {}

local NAME = "pellucid://chat"
local HEADINGS = { user = "## You", assistant = "## Pellucid" }
local STOPPED = "the language server ended, so the answer is not complete: send the message again."
local WIDE = 140 -- columns from which the chat is at the right instead of below
local namespace = vim.api.nvim_create_namespace("pellucid.chat")

local buf -- of the chat
local headings = {} -- extmark of a heading -> {role, tokens, model}
local running -- the answer that is written: {token, heading, next, at, cancel}
local source -- the window that code is inserted into
local number = 0

local function say(sentence)
  client.say(sentence, vim.log.levels.WARN)
end

--- Return the headings that are still in the buffer, from the top: {id, row, role, tokens, model}.
local function turns()
  local found = {}
  for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(buf, namespace, 0, -1, { details = true })) do
    local heading = headings[mark[1]]
    if heading and not mark[4].invalid then
      found[#found + 1] = vim.tbl_extend("force", heading, { id = mark[1], row = mark[2] })
    end
  end
  return found
end

--- Return the lines between two rows, without blank lines around them.
local function lines_between(first, last)
  return vim.trim(table.concat(vim.api.nvim_buf_get_lines(buf, first, last, false), "\n"))
end

--- Return the conversation. Text above the first heading is the user's; what a deleted heading leaves belongs to the turn above.
local function conversation()
  local found, messages = turns(), {}
  local opening = lines_between(0, found[1] and found[1].row or -1)
  if opening ~= "" then
    messages[1] = { role = "user", content = opening }
  end
  for index, turn in ipairs(found) do
    local content = lines_between(turn.row + 1, found[index + 1] and found[index + 1].row or -1)
    local last = messages[#messages]
    if last and last.role == turn.role then
      last.content = vim.trim(last.content .. "\n\n" .. content)
    elseif content ~= "" or turn.role == "user" then
      messages[#messages + 1] = { role = turn.role, content = content }
    end
  end
  return messages
end

--- Append lines to the buffer, the second of which is a heading. Returns its mark.
local function append_heading(role)
  local heading = HEADINGS[role]
  local count = vim.api.nvim_buf_line_count(buf)
  local blank = count == 1 and vim.api.nvim_buf_get_lines(buf, 0, 1, false)[1] == ""
  local lines = blank and { heading, "", "" } or { "", heading, "", "" }
  vim.api.nvim_buf_set_lines(buf, blank and 0 or -1, -1, false, lines)
  local row = blank and 0 or count + 1
  local id = vim.api.nvim_buf_set_extmark(buf, namespace, row, 0, { end_row = row, end_col = #heading, invalidate = true })
  headings[id] = { role = role }
  return id
end

local function row_of(mark)
  return vim.api.nvim_buf_get_extmark_by_id(buf, namespace, mark, {})[1]
end

--- Put the cursors of the chat's windows at the end of the buffer.
local function go_to_end()
  for _, win in ipairs(vim.fn.win_findbuf(buf)) do
    vim.api.nvim_win_set_cursor(win, { vim.api.nvim_buf_line_count(buf), 0 })
  end
end

--- End the answer. If none of it has come, its headings are removed, so that the message is the last text again, with what was typed since.
local function finish(sentence)
  local ended = running
  running = nil
  if not ended then
    return
  end
  if not vim.api.nvim_buf_is_valid(buf) then
    return
  end
  vim.api.nvim_buf_del_extmark(buf, namespace, ended.at)
  local answer, next_heading = row_of(ended.heading), row_of(ended.next)
  if #headings[ended.heading].tokens == 0 and answer and next_heading then
    headings[ended.heading], headings[ended.next] = nil, nil
    vim.api.nvim_buf_set_lines(buf, answer - 1, next_heading + 1, false, {})
  end
  if sentence then
    say(sentence)
  end
end

--- Append tokens of the answer where it ends. Returns whether they belong to the chat.
function M.progress(params)
  if not running or running.token ~= params.token then
    return false
  end
  if not vim.api.nvim_buf_is_loaded(buf) then
    M.cancel()
    return true
  end
  for _, token in ipairs(params.value.tokens) do
    local at = vim.api.nvim_buf_get_extmark_by_id(buf, namespace, running.at, {})
    vim.api.nvim_buf_set_text(buf, at[1], at[2], at[1], at[2], vim.split(token.token, "\n", { plain = true }))
    table.insert(headings[running.heading].tokens, token)
  end
  return true
end

--- Send the conversation. The text stays in the buffer whatever becomes of the request.
function M.send()
  if running then
    return say(("an answer is being written: %s stops it."):format(options.current.chat_keys.cancel or ":Pellucid chat!"))
  end
  local messages = conversation()
  local last = messages[#messages]
  if not last or last.role ~= "user" or last.content == "" then
    return say("type a message at the end of the buffer, then send it.")
  end
  if not client.ensure() then
    return
  end
  number = number + 1
  local answer = { token = "pellucid-chat-" .. number }
  answer.heading = append_heading("assistant")
  headings[answer.heading].tokens = {}
  answer.next = append_heading("user")
  answer.at = vim.api.nvim_buf_set_extmark(buf, namespace, row_of(answer.heading) + 2, 0, {})
  running = answer
  go_to_end()
  local params = { messages = messages, partialResultToken = answer.token }
  answer.cancel = client.request("pellucid/chat", params, nil, function(result, sentence)
    if running ~= answer then
      return
    end
    if result then
      headings[answer.heading].model = result.model
      sentence = result.note ~= vim.NIL and result.note or nil
    end
    finish(sentence)
  end, true)
  if not answer.cancel then
    finish("the message was not sent: :Pellucid restart starts the language server.")
  end
end

--- Stop the answer; the part that has come stays.
function M.cancel()
  if not running then
    return client.say("no answer is being written.")
  end
  if running.cancel then
    running.cancel()
  end
  finish()
end

--- End the answer after the end of the language server.
function M.ended()
  if running then
    finish()
    vim.schedule(function() -- after what Neovim says of the end: two messages at once would wait for Enter
      vim.cmd.redraw()
      say(STOPPED)
    end)
  end
end

--- Return the turn under the cursor.
local function turn_here()
  local row, here = vim.api.nvim_win_get_cursor(0)[1] - 1, nil
  for _, turn in ipairs(turns()) do
    if turn.row <= row then
      here = turn
    end
  end
  return here
end

--- Return the tokens of the answer under the cursor for the window, or nil and a sentence.
local function shown_tokens()
  local turn = turn_here()
  if not turn or not turn.tokens or #turn.tokens == 0 then
    return nil, "put the cursor on an answer of the model."
  end
  local texts = vim.tbl_map(function(token)
    return token.token
  end, turn.tokens)
  local text, first = table.concat(texts), turn.row + 2
  local count = select(2, text:gsub("\n", "")) + 1
  local lines = vim.api.nvim_buf_get_lines(buf, first, first + count, false)
  if table.concat(lines, "\n") ~= text then
    return nil, "this answer was edited, so its tokens are no longer known."
  end
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  local at = col
  for index = 1, math.min(row - 1 - first, count) do
    at = at + #lines[index] + 1
  end
  local index = 0
  while index < #texts - 1 and at >= #texts[index + 1] do
    at, index = at - #texts[index + 1], index + 1
  end
  return { title = turn.model or "writing", tokens = turn.tokens, index = index }
end

--- Return the lines of the code block around the cursor, or nil and a sentence.
local function code_here()
  local row, open, fence = vim.api.nvim_win_get_cursor(0)[1], nil, nil
  local lines = vim.api.nvim_buf_get_lines(buf, 0, -1, false)
  for number_of_line, line in ipairs(lines) do
    local ticks = line:match("^%s*(```+)") or line:match("^%s*(~~~+)")
    if ticks and not open then
      open, fence = number_of_line, ticks
    elseif ticks and vim.startswith(ticks, fence) and line:match("^%s*[`~]+%s*$") then
      if row >= open and row <= number_of_line then
        return vim.list_slice(lines, open + 1, number_of_line - 1)
      end
      open = nil
    end
  end
  if open and row >= open then
    return vim.list_slice(lines, open + 1)
  end
  return nil, "put the cursor on a block of code."
end

--- Yank the code block under the cursor.
function M.yank()
  local lines, reason = code_here()
  if not lines then
    return say(reason)
  end
  vim.fn.setreg('"', lines, "l")
  if vim.fn.has("clipboard") == 1 then
    pcall(vim.fn.setreg, "+", lines, "l")
  end
  client.say(("%d lines yanked."):format(#lines))
end

--- Insert the code block under the cursor below the cursor's line of the window that the chat was opened from. One undo removes it.
function M.insert()
  local lines, reason = code_here()
  if not lines then
    return say(reason)
  end
  if not source or not vim.api.nvim_win_is_valid(source) or vim.api.nvim_win_get_buf(source) == buf then
    return say("the window that the chat was opened from is closed: yank the code instead.")
  end
  local target = vim.api.nvim_win_get_buf(source)
  if not vim.bo[target].modifiable then
    return say("the buffer of the window that the chat was opened from cannot be changed: yank the code instead.")
  end
  local row = vim.api.nvim_win_get_cursor(source)[1]
  local empty = vim.api.nvim_buf_line_count(target) == 1 and vim.api.nvim_buf_get_lines(target, 0, 1, false)[1] == ""
  vim.api.nvim_buf_set_lines(target, empty and 0 or row, row, false, lines)
  client.say(("%d lines inserted."):format(#lines))
end

M.actions = { send = M.send, cancel = M.cancel, tokens = tokens.open, insert = M.insert, yank = M.yank }

--- Map the keys; those of `send` and `cancel` work in insert mode, too.
local function map()
  for action, key in pairs(options.current.chat_keys) do
    if key then
      local modes = (action == "send" or action == "cancel") and { "n", "i" } or "n"
      vim.keymap.set(modes, key, M.actions[action], { buffer = buf, nowait = true, desc = "Pellucid: chat, " .. action })
    end
  end
end

local function make_buffer()
  headings, running = {}, nil
  buf = vim.api.nvim_create_buf(true, false)
  vim.bo[buf].buftype = "nofile" -- before the name, by which a buffer becomes a document of the server
  vim.api.nvim_buf_set_name(buf, NAME)
  vim.bo[buf].bufhidden = "hide"
  vim.bo[buf].swapfile = false
  vim.bo[buf].filetype = "markdown"
  append_heading("user")
  map()
  tokens.provide(buf, shown_tokens)
end

--- Show the chat's window, or go to it.
local function show()
  local here = vim.api.nvim_get_current_win()
  if vim.api.nvim_win_get_buf(here) ~= buf then
    source = here
  end
  if not (buf and vim.api.nvim_buf_is_loaded(buf)) then
    if buf and vim.api.nvim_buf_is_valid(buf) then
      vim.api.nvim_buf_delete(buf, { force = true })
    end
    make_buffer()
  end
  local win = vim.fn.bufwinid(buf)
  if win >= 0 then
    vim.api.nvim_set_current_win(win)
  else
    vim.cmd(vim.o.columns >= WIDE and "botright vsplit" or "botright split")
    vim.api.nvim_win_set_buf(0, buf)
    vim.wo.wrap, vim.wo.linebreak = true, true
  end
  go_to_end()
end

--- Append text to the message at the end.
local function append(text)
  local lines = vim.split(text, "\n", { plain = true })
  local last = vim.api.nvim_buf_line_count(buf)
  local blank = vim.api.nvim_buf_get_lines(buf, last - 1, last, false)[1] == ""
  vim.api.nvim_buf_set_lines(buf, blank and last - 1 or last, -1, false, lines)
  go_to_end()
end

--- Open the chat: with `lines` {first, last}, counted from 1, the message begins with these; `text` is sent at once.
function M.open(lines, text)
  local from = vim.api.nvim_get_current_buf()
  local function begin()
    if text ~= "" then
      append(text)
      M.send()
    end
  end
  if not lines then
    show()
    return begin()
  end
  if not client.attached(from) then
    return say("no language server is attached to this buffer, so its lines cannot be read: save it as a file first.")
  end
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(from) },
    range = { start = { line = lines[1] - 1, character = 0 }, ["end"] = { line = lines[2], character = 0 } },
  }
  client.request("pellucid/chatSelection", params, from, function(result, sentence)
    if not result then
      return say(sentence)
    end
    show()
    append(result.text)
    begin()
  end, true)
end

return M
