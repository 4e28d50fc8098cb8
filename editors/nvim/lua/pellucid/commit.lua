--- Commit messages for the staged changes, in the commit's own buffer or in a scratch buffer.

local client = require("pellucid.client")
local tokens = require("pellucid.tokens")

local M = {}

local HEIGHT = 8

--- Return a folder of the repository that a buffer is about: for a commit's buffer the worktree, in which git starts the editor.
local function folder_of(buf)
  local name = vim.api.nvim_buf_get_name(buf)
  if vim.bo[buf].buftype ~= "" or name == "" or name:find("/%.git/worktrees/") then
    return vim.uv.cwd()
  end
  return vim.fs.root(buf, ".git") or vim.fs.dirname(name)
end

--- Return whether a commit's buffer has no message yet.
local function is_free(buf)
  local first = vim.api.nvim_buf_is_valid(buf) and vim.api.nvim_buf_get_lines(buf, 0, 1, false)[1] or ""
  return vim.bo[buf].filetype == "gitcommit" and vim.bo[buf].modifiable and first:find("^%s*$") ~= nil
end

--- Open a scratch buffer in a split, and return it.
local function scratch()
  vim.cmd(("botright %dnew"):format(HEIGHT))
  local buf = vim.api.nvim_get_current_buf()
  vim.bo[buf].buftype = "nofile"
  vim.bo[buf].bufhidden = "hide"
  vim.bo[buf].filetype = "gitcommit"
  return buf
end

local function show(buf, result)
  if not is_free(buf) then
    buf = scratch()
  end
  local message = result.messages[1]
  vim.api.nvim_buf_set_lines(buf, 0, 1, false, { message.text })
  if vim.bo[buf].buftype == "nofile" and #result.notes > 0 then
    local comments = vim.tbl_map(function(note)
      return "# " .. note
    end, result.notes)
    vim.api.nvim_buf_set_lines(buf, 1, -1, false, vim.list_extend({ "" }, comments))
  end
  tokens.provide(buf, function()
    local title = ("%s, %.0f %% for the whole line"):format(result.model, 100 * message.probability)
    return { title = title, tokens = message.tokens, index = 0 }
  end)
  client.say(table.concat({ ("message written; :Pellucid tokens shows its tokens."), unpack(result.notes) }, " "))
end

--- Write a message for the staged changes.
function M.open()
  local buf = vim.api.nvim_get_current_buf()
  if not client.ensure() then
    return
  end
  client.say("reading the staged changes …")
  client.request("pellucid/commitMessage", { uri = vim.uri_from_fname(folder_of(buf)) }, nil, function(result, sentence)
    if not result then
      return client.say(sentence, vim.log.levels.WARN)
    end
    show(buf, result)
  end, true)
end

return M
