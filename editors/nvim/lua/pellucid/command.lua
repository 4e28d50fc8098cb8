--- The command :Pellucid and its subcommands.

local client = require("pellucid.client")

local M = {}

--- Switch suggestions on or off by a command of the server, and show the new state.
function M.toggle(command)
  client.execute(command, nil, function(status)
    if status then
      local off = not status.enabled and "off" or not status.enabledHere and "off in this workspace" or "on"
      client.say(("suggestions are %s."):format(off))
    end
  end)
end

local SURPRISES = { on = "pellucid.showSurprise", off = "pellucid.clearSurprise", diff = "pellucid.showSurpriseInChanges" }

--- Mark the words of the buffer that do not fit, as diagnostics: all ("on"), those in changed lines ("diff"), or none ("off").
function M.surprise(which)
  local command = SURPRISES[which]
  if not command then
    return client.say((":Pellucid surprise %s: it takes on, off or diff."):format(which), vim.log.levels.ERROR)
  end
  if which ~= "off" then
    client.say("the model reads the buffer …")
  end
  local line = vim.api.nvim_win_get_cursor(0)[1] - 1
  local document = { textDocument = { uri = vim.uri_from_bufnr(0) }, position = { line = line, character = 0 } }
  client.execute(command, { document }, function(result)
    if result then
      client.say(result.message)
    end
  end)
end

local subcommands = {
  surprise = function(which)
    M.surprise(which or "on")
  end,
  toggle = function()
    M.toggle("pellucid.toggle")
  end,
  ["toggle!"] = function()
    M.toggle("pellucid.toggleWorkspace")
  end,
  ["instruct!"] = function()
    require("pellucid.instruct").actions.cancel()
  end,
  tokens = function()
    require("pellucid.tokens").open()
  end,
  ["chat!"] = function()
    require("pellucid.chat").cancel()
  end,
  commit = function()
    require("pellucid.commit").open()
  end,
  edit = function()
    require("pellucid.next_edits").next()
  end,
  edits = function()
    require("pellucid.next_edits").list()
  end,
  explain = function(what)
    local windows = require("pellucid.explanation_window")
    if what == "edits" then
      return windows.edits()
    elseif what then
      return client.say((":Pellucid explain %s: it takes edits, or nothing."):format(what), vim.log.levels.ERROR)
    end
    windows.open()
  end,
  status = function()
    client.refresh(function(status)
      client.say(status and status.message or "no language server is running; :Pellucid restart starts it.")
    end)
  end,
  restart = function()
    if not client.get() then
      return client.start()
    end
    client.execute("pellucid.restart", nil, function(status)
      client.say(status and status.message or "the server was restarted.")
    end)
  end,
  open = function()
    client.execute("pellucid.openPage", nil, function(address)
      if address then
        client.say(address)
      end
    end)
  end,
}

--- Subcommands that are given lines, or text.
local with_lines = {
  chat = function(lines, text)
    require("pellucid.chat").open(lines, text)
  end,
  instruct = function(lines, text)
    local row = vim.api.nvim_win_get_cursor(0)[1]
    require("pellucid.instruct").open(lines and lines[1] or row, lines and lines[2] or row, text)
  end,
}

--- The arguments of the subcommands that take one.
local ARGUMENTS = { surprise = vim.tbl_keys(SURPRISES), explain = { "edits" } }

--- Run `:Pellucid name`, perhaps with a range of `lines` and text after the name, if the subcommand takes them.
function M.run(given, lines)
  local first, text = given:match("^(%S+)%s+(%S.*)$")
  local subcommand = with_lines[first or vim.trim(given)]
  if subcommand then
    return subcommand(lines, text or "")
  end
  local name = ARGUMENTS[first] and first or vim.trim(given)
  subcommand = subcommands[name]
  if not subcommand then
    local sentence = ("there is no :Pellucid %s; the subcommands are %s."):format(name, table.concat(M.complete(""), ", "))
    return client.say(sentence, vim.log.levels.ERROR)
  end
  if lines then
    return client.say((":Pellucid %s takes no lines."):format(name), vim.log.levels.ERROR)
  end
  subcommand(name == first and text or nil)
end

--- Return the names of subcommands, or the arguments of one, that begin with `lead`.
function M.complete(lead, line)
  local arguments = ARGUMENTS[line and line:match("Pellucid%s+(%S+)%s") or ""]
  local names = vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, arguments or vim.list_extend(vim.tbl_keys(subcommands), vim.tbl_keys(with_lines)))
  table.sort(names)
  return names
end

return M
