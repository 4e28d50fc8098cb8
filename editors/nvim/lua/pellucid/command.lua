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

local subcommands = {
  toggle = function()
    M.toggle("pellucid.toggle")
  end,
  ["toggle!"] = function()
    M.toggle("pellucid.toggleWorkspace")
  end,
  tokens = function()
    require("pellucid.tokens").open()
  end,
  edit = function()
    require("pellucid.next_edits").next()
  end,
  edits = function()
    require("pellucid.next_edits").list()
  end,
  explain = function()
    require("pellucid.explanation_window").open()
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

--- Run `:Pellucid name`.
function M.run(name)
  local subcommand = subcommands[name]
  if not subcommand then
    local sentence = ("there is no :Pellucid %s; the subcommands are %s."):format(name, table.concat(M.complete(""), ", "))
    return client.say(sentence, vim.log.levels.ERROR)
  end
  subcommand()
end

--- Return the names of subcommands that begin with `lead`.
function M.complete(lead)
  local names = vim.tbl_filter(function(name)
    return vim.startswith(name, lead)
  end, vim.tbl_keys(subcommands))
  table.sort(names)
  return names
end

return M
