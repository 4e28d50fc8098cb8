--- The keys of insert mode; without a suggestion they keep their earlier function.

local builtin = require("pellucid.builtin")
local macros = require("pellucid.macros")
local options = require("pellucid.options")
local session = require("pellucid.current_suggestion")

local M = {
  former = {}, -- key of insert mode -> its earlier mapping
  edit_keys = {}, -- keys of normal mode that are mapped
}

--- Type a key that had no mapping. In an open menu <Tab> selects the next item. An Alt key does nothing: Neovim would leave
--- insert mode, which is not intended by a user who pressed it for a suggestion that has just disappeared.
local function feed(key)
  if key == "<Tab>" and vim.fn.pumvisible() == 1 then
    key = "<C-n>"
  end
  if not key:find("^<[MA]%-") then
    vim.api.nvim_feedkeys(vim.keycode(key), "int", false)
  end
end

--- Run the earlier function of a key.
local function fall_back(key)
  local former = M.former[key]
  if not former then
    return feed(key)
  end
  local keys = former.rhs
  if former.callback then
    keys = former.callback()
    if former.expr == 0 then
      return
    end
  elseif former.expr == 1 then
    keys = vim.api.nvim_eval(former.rhs)
  end
  if type(keys) == "string" and keys ~= "" then
    local raw = former.expr == 1 and former.replace_keycodes ~= 1
    vim.api.nvim_feedkeys(raw and keys or vim.keycode(keys), former.noremap == 1 and "in" or "im", false)
  end
end

--- Run an action on the shown suggestion; return false if there is none.
local function with_suggestion(action)
  if vim.fn.pumvisible() == 1 then
    return false
  end
  if session.current() then
    action()
    return true
  end
  return builtin.used() and not builtin.paused and builtin.take(action)
end

--- Return an action for a key that keeps its earlier function without a suggestion.
local function on_suggestion(action)
  return function(key)
    if not with_suggestion(action) then
      fall_back(key)
    end
  end
end

--- Return an action that may request suggestions first.
local function asking(action)
  return function()
    if not with_suggestion(action) then
      if builtin.used() then
        builtin.pause()
      end
      action()
    end
  end
end

local function accept(part)
  return function(key)
    local press = macros.note(key)
    if not with_suggestion(function()
      press.text = session.accept(part) -- later, if Neovim's inline completion hands the suggestion over
    end) then
      fall_back(key)
    end
  end
end

local function cycle(step)
  return asking(function()
    session.cycle(step)
  end)
end

local function open_tokens()
  require("pellucid.tokens").open()
end

M.actions = {
  accept = accept("all"),
  accept_word = accept("word"),
  accept_line = accept("line"),
  dismiss = on_suggestion(session.dismiss),
  next = cycle(1),
  prev = cycle(-1),
  trigger = asking(session.trigger),
  tokens = function()
    if not with_suggestion(open_tokens) then
      open_tokens()
    end
  end,
  toggle = function()
    require("pellucid.command").toggle("pellucid.toggle")
  end,
}

--- Return the description of an action's mapping.
function M.description(action)
  return "Pellucid: " .. action:gsub("_", " ")
end

local edit_actions = {
  next = function()
    require("pellucid.next_edits").next()
  end,
  dismiss = function()
    require("pellucid.next_edits").dismiss()
  end,
}

--- Map the keys of normal mode that have no mapping yet.
local function map_edits()
  for _, key in ipairs(M.edit_keys) do
    vim.keymap.del("n", key)
  end
  M.edit_keys = {}
  for action, key in pairs(options.current.edit_keys) do
    if key and vim.fn.maparg(key, "n") == "" then
      table.insert(M.edit_keys, key)
      vim.keymap.set("n", key, edit_actions[action], { desc = "Pellucid: " .. action .. " edit" })
    end
  end
end

--- Map the keys, after restoring the mappings that an earlier setup replaced.
function M.map()
  map_edits()
  for key, former in pairs(M.former) do
    vim.keymap.del("i", key)
    if former then
      vim.fn.mapset("i", false, former)
    end
  end
  M.former = {}
  for action, key in pairs(options.current.keys) do
    if key then
      local former = vim.fn.maparg(key, "i", false, true)
      M.former[key] = former.buffer == 0 and former or false
      vim.keymap.set("i", key, function()
        M.actions[action](key)
      end, { desc = M.description(action) })
    end
  end
end

return M
