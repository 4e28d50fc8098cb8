--- Pellucid in Neovim: ghost text from a local model, with the probability of each token.

local builtin = require("pellucid.builtin")
local client = require("pellucid.client")
local edits = require("pellucid.next_edits")
local instruct = require("pellucid.instruct")
local keys = require("pellucid.keys")
local macros = require("pellucid.macros")
local options = require("pellucid.options")
local session = require("pellucid.current_suggestion")

local M = {}

--- Highlight groups. Blue and orange are distinguishable with every kind of colour blindness; likely tokens stay plain.
local LOOKS = {
  PellucidHint = { link = "NonText" },
  PellucidEdit = { link = "DiagnosticSignHint" },
  PellucidEditOld = { link = "DiffDelete" },
  PellucidEditNew = { link = "DiffAdd" },
  PellucidLevel1 = {},
  PellucidLevel2 = { fg = "#ffffff", bg = "#2166ac", ctermfg = 231, ctermbg = 25 },
  PellucidLevel3 = { fg = "#000000", bg = "#92c5de", ctermfg = 16, ctermbg = 117 },
  PellucidLevel4 = { fg = "#000000", bg = "#fdae61", ctermfg = 16, ctermbg = 215 },
  PellucidLevel5 = { fg = "#000000", bg = "#d95f02", ctermfg = 16, ctermbg = 166, underline = true },
}

local DOUBTFUL_SHARE = 0.45 -- of the way from the colour of ghost text to the background

--- Return the look of ghost text: that of comments, or grey if comments have none (16 colours).
local function ghost_look()
  local comment = vim.api.nvim_get_hl(0, { name = "Comment", link = false })
  if vim.o.termguicolors or comment.ctermfg or comment.cterm then
    return { link = "Comment" }
  end
  return { fg = comment.fg, ctermfg = "DarkGray" }
end

--- Return a colour between two, a share of the way from the first to the second.
local function mixed(from, to, share)
  local result = 0
  for _, unit in ipairs({ 0x10000, 0x100, 1 }) do
    local a, b = math.floor(from / unit) % 0x100, math.floor(to / unit) % 0x100
    result = result + math.floor(a + (b - a) * share + 0.5) * unit
  end
  return result
end

--- Return the look of the doubtful rest of ghost text: ghost text nearer to the background, and italic where colours are few.
local function doubtful_look()
  local ghost = vim.api.nvim_get_hl(0, { name = "PellucidGhost", link = false })
  local background = vim.api.nvim_get_hl(0, { name = "Normal", link = false }).bg or (vim.o.background == "dark" and 0 or 0xffffff)
  local fg = ghost.fg and mixed(ghost.fg, background, DOUBTFUL_SHARE)
  return { fg = fg, ctermfg = ghost.ctermfg, italic = true, cterm = { italic = true } }
end

local function define_looks()
  LOOKS.PellucidGhost = ghost_look()
  vim.api.nvim_set_hl(0, "PellucidGhost", vim.tbl_extend("force", LOOKS.PellucidGhost, { default = true }))
  LOOKS.PellucidDoubtful = doubtful_look()
  for group, look in pairs(LOOKS) do
    vim.api.nvim_set_hl(0, group, vim.tbl_extend("force", look, { default = true }))
  end
end

local function on(group, events, callback, pattern)
  vim.api.nvim_create_autocmd(events, { group = group, callback = callback, pattern = pattern })
end

local function attached(event)
  local running = vim.lsp.get_client_by_id(event.data.client_id)
  if running and running.name == "pellucid" then
    client.join(running, event.buf)
    if builtin.used() then
      builtin.update()
    elseif event.buf == vim.api.nvim_get_current_buf() then
      session.resume()
    end
  end
end

local function status_changed()
  if not client.enabled() then
    session.cancel()
    session.clear()
    edits.clear()
    instruct.clear()
  end
  if builtin.used() then
    builtin.update()
  end
end

local function watch()
  local group = vim.api.nvim_create_augroup("pellucid", { clear = true })
  on(group, { "BufEnter", "FileType", "BufFilePost", "BufWritePost" }, function(event)
    if not client.attached(event.buf) then
      client.attach(event.buf)
    end
  end)
  on(group, "LspAttach", attached)
  on(group, { "InsertEnter", "TextChangedI", "TextChangedP", "CursorMovedI", "CompleteDone" }, function(event)
    session.moved(not builtin.used() or builtin.paused == event.buf)
  end)
  on(group, { "InsertLeave", "BufLeave" }, function()
    session.left()
    builtin.resume()
  end)
  on(group, { "TextChanged", "InsertLeave" }, edits.changed)
  on(group, { "InsertEnter", "BufLeave" }, edits.hide)
  on(group, "BufEnter", edits.entered)
  on(group, "CursorMoved", edits.moved)
  on(group, "BufWritePre", edits.before_write)
  on(group, "BufWritePost", edits.after_write)
  on(group, { "TextChanged", "TextChangedI" }, instruct.changed)
  on(group, "BufUnload", instruct.unloaded)
  on(group, "User", status_changed, "PellucidStatus")
  on(group, "RecordingEnter", macros.entered)
  on(group, "RecordingLeave", macros.left)
  on(group, "ColorScheme", define_looks)
  on(group, "OptionSet", define_looks, "termguicolors")
end

--- Set Pellucid up; `given` holds options, see :help pellucid-options. Raises an error that names an invalid option.
function M.setup(given)
  options.set(given)
  define_looks()
  keys.map()
  watch()
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    client.attach(buf)
  end
end

--- Return a short text for status lines: "", "off", "starting 40%", "ready", ...
function M.status()
  local status = client.status
  if not status then
    return ""
  end
  if not client.enabled() then
    return "off"
  end
  return status.state .. (status.progress and status.progress ~= vim.NIL and (" %d%%"):format(status.progress) or "")
end

return M
