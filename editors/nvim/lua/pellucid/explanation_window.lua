--- The windows that explain why suggestions and edits were shown or hidden, and what code does.

local client = require("pellucid.client")
local float = require("pellucid.floating_window")
local options = require("pellucid.options")

local M = {}

local function known(value)
  return value ~= nil and value ~= vim.NIL
end

--- Return the figures of a table sorted by name: "name 1.5, other 2".
local function figures(values, unit)
  local names, parts = vim.tbl_keys(values), {}
  table.sort(names)
  for _, name in ipairs(names) do
    if known(values[name]) then
      local text = ("%.2f"):format(values[name]):gsub("%.?0+$", "")
      parts[#parts + 1] = ("%s %s%s"):format(name, text, unit or "")
    end
  end
  return table.concat(parts, ", ")
end

local function add(lines, label, text)
  for number, line in ipairs(vim.split(text, "\r?\n")) do
    lines[#lines + 1] = { { (" %-10s "):format(number == 1 and label or ""), "Title" }, { (line:gsub("\t", "  ")) .. " " } }
  end
end

--- Return the lines of an explanation for float.fill.
local function layout(explanation)
  local lines = {}
  add(lines, "outcome", explanation.outcome)
  add(lines, "reason", explanation.reason)
  for _, name in ipairs({ "source", "shape", "ending" }) do
    if known(explanation[name]) then
      add(lines, name, explanation[name])
    end
  end
  add(lines, "time", figures(explanation.milliseconds, " ms"))
  if known(explanation.usage) then
    add(lines, "tokens", figures(explanation.usage))
  end
  if known(explanation.gate) then
    local gate = explanation.gate
    add(lines, "gate", ("%s, %s: %s; required: %s"):format(gate.by, gate.level, figures(gate.values), figures(gate.thresholds)))
  end
  for _, name in ipairs({ "answer", "shown" }) do
    if known(explanation[name]) then
      add(lines, name, explanation[name])
    end
  end
  if known(explanation.prompt) then
    local prompt = explanation.prompt
    for _, extra in ipairs(prompt.extra) do
      add(lines, "file", extra.filename)
    end
    local whole = known(prompt.text) and prompt.text or (prompt.prefix .. "‸" .. prompt.suffix)
    add(lines, "prompt", whole)
  end
  return lines
end

--- Open the window for the last request in the current buffer.
function M.open()
  local reason = options.why_unwanted(vim.api.nvim_get_current_buf())
  if reason then
    return client.say(reason)
  end
  local params = { textDocument = { uri = vim.uri_from_bufnr(0) } }
  local sent = client.request("pellucid/explain", params, nil, function(explanation, failure)
    if failure then
      return
    end
    if not explanation then
      client.say("no suggestion was requested in this buffer yet.")
      return
    end
    float.fill(float.open("Why " .. explanation.outcome, nil, true), layout(explanation))
  end)
  if not sent then
    client.warn("no language server is running; :Pellucid restart starts it.")
  end
end

--- Return the lines of an explanation of next edits for float.fill. Changes of other files than `uri` have the names of these.
local function layout_edits(explanation, uri)
  local lines = {}
  add(lines, "edits", explanation.reason)
  if known(explanation.calibrationNote) then
    add(lines, "note", explanation.calibrationNote)
  end
  for _, change in ipairs(explanation.changes) do
    local file = change.uri ~= uri and vim.fn.fnamemodify(vim.uri_to_fname(change.uri), ":~:.") .. ", " or ""
    add(lines, ("%sline %d"):format(file, change.line + 1), change.outcome .. ": " .. change.reason)
    for _, side in ipairs({ { "old", change.old }, { "new", change.new } }) do
      add(lines, "  " .. side[1], #side[2] == 0 and "(nothing)" or table.concat(side[2], "\n"))
    end
  end
  return lines
end

--- Open the window that says which next edits are suggested in the current buffer, and why others are not.
function M.edits()
  local params = { textDocument = { uri = vim.uri_from_bufnr(0) } }
  local sent = client.request("pellucid/explainEdits", params, nil, function(explanation, failure)
    if failure then
      return
    end
    if not explanation then
      return client.say("no edit was looked for in this buffer yet.")
    end
    float.fill(float.open("Next edits", nil, true), layout_edits(explanation, params.textDocument.uri))
  end)
  if not sent then
    client.warn("no language server is running; :Pellucid restart starts it.")
  end
end

local pending -- {cancel, watch}: the request for an explanation of code, and what cancels it when the buffer is closed
local window -- of the last explanation of code

local function forget()
  if pending then
    pcall(vim.api.nvim_del_autocmd, pending.watch) -- it is gone once it has run
    pending = nil
  end
end

local function stop()
  if pending then
    pending.cancel()
    forget()
  end
end

--- Forget the request when the language server has ended.
M.forget = forget

--- Open a window with an explanation of code. It takes the keyboard only if the user has stayed in the window that requested it, and
--- types nothing: keys typed meanwhile would be lost in it.
local function show(text, title, asked)
  local here = { win = vim.api.nvim_get_current_win(), buf = vim.api.nvim_get_current_buf() }
  local apart = vim.api.nvim_get_mode().mode ~= "n" or not vim.deep_equal(here, asked)
  local lines = vim.tbl_map(function(line)
    return { { (" %s "):format((line:gsub("\t", "  "))) } }
  end, vim.split(text, "\r?\n"))
  window = float.open(apart and title .. ": <C-w>w enters, q closes" or title, nil, true, apart)
  float.fill(window, lines)
  if pcall(vim.treesitter.start, window.buf, "markdown") then -- the parser may be missing: Neovim has it, some packages do not
    vim.wo[window.win].conceallevel = 2
  end
end

--- Explain the lines from `first` on and before `last`, from 0, in a window. A second request cancels the first one.
function M.explain_code(uri, first, last)
  stop()
  if window then
    float.close(window)
  end
  local asked = { win = vim.api.nvim_get_current_win(), buf = vim.api.nvim_get_current_buf() }
  local range = { start = { line = first, character = 0 }, ["end"] = { line = last, character = 0 } }
  client.say("writing the explanation…")
  local cancel = client.request("pellucid/explainCode", { textDocument = { uri = uri }, range = range }, nil, function(explained, failure)
    forget()
    if not explained then
      return client.say(failure, vim.log.levels.WARN)
    end
    show(explained.text, last > first + 1 and ("Lines %d to %d"):format(first + 1, last) or ("Line %d"):format(first + 1), asked)
  end, true)
  if not cancel then
    client.warn("no language server is running; :Pellucid restart starts it.")
  else
    local watch = vim.api.nvim_create_autocmd("BufUnload", { buffer = asked.buf, once = true, callback = stop })
    pending = { cancel = cancel, watch = watch }
  end
end

return M
