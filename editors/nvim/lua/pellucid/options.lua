--- The options of `require("pellucid").setup{}`: their defaults and their validation.

local M = {}

--- `keys` are those of insert mode, `edit_keys` those of normal mode, `instruct_keys` those of normal mode while an edit by
--- instruction is shown, and `chat_keys` those of the chat's buffer; false disables one.
M.defaults = {
  cmd = { "pellucid", "lsp" },
  filetypes = { ["*"] = true, help = false, qf = false, gitrebase = false },
  ghost = "auto", -- "auto": Neovim's own inline completion where there is one (0.12); "plugin": always the plugin's
  wait_ms = 25, -- between a keystroke and the request
  keys = {
    accept = "<Tab>",
    accept_word = "<M-w>",
    accept_line = "<M-l>",
    next = "<M-]>",
    prev = "<M-[>",
    dismiss = "<C-]>",
    trigger = "<M-\\>",
    tokens = "<M-t>",
    toggle = false,
  },
  edit_keys = {
    next = "<M-n>",
    dismiss = "<M-x>",
  },
  instruct_keys = {
    take = "<Tab>",
    leave = "<M-x>",
    take_all = "<M-a>",
    again = "<M-r>",
    cancel = "<Esc>",
  },
  chat_keys = {
    send = "<C-s>",
    cancel = "<C-c>",
    tokens = "<M-t>",
    insert = "ga",
    yank = "gy",
  },
  settings = {}, -- for the language server, which checks them
}

M.current = vim.deepcopy(M.defaults)

local FREE = { ["pellucid.cmd"] = true, ["pellucid.filetypes"] = true, ["pellucid.settings"] = true }

local function fail(sentence)
  error(sentence, 0)
end

local function names(options)
  local sorted = vim.tbl_keys(options)
  table.sort(sorted)
  return table.concat(sorted, ", ")
end

local function check(given, known, path)
  if type(given) ~= "table" then
    fail(("%s should be a table, not %s."):format(path, vim.inspect(given)))
  end
  if FREE[path] then
    return
  end
  for name, value in pairs(given) do
    local default = known[name]
    if default == nil then
      fail(("%s.%s is not an option of Pellucid: the options are %s."):format(path, name, names(known)))
    elseif type(default) == "table" then
      check(value, default, path .. "." .. name)
    elseif vim.endswith(path, "keys") then
      if type(value) ~= "string" and value ~= false then
        fail(("%s.%s should be a key such as '<M-w>', or false."):format(path, name))
      end
    elseif type(value) ~= type(default) then
      fail(("%s.%s should be a %s, not %s."):format(path, name, type(default), vim.inspect(value)))
    end
  end
end

--- Merge the user's options over the defaults. Raises an error that names an invalid one.
function M.set(given)
  given = given or {}
  check(given, M.defaults, "pellucid")
  if given.cmd and (not vim.islist(given.cmd) or #given.cmd == 0) then
    fail("pellucid.cmd should be a list such as { 'pellucid', 'lsp' }.")
  end
  if given.ghost and given.ghost ~= "auto" and given.ghost ~= "plugin" then
    fail(("pellucid.ghost should be 'auto' or 'plugin', not %s."):format(vim.inspect(given.ghost)))
  end
  M.current = vim.tbl_deep_extend("force", vim.deepcopy(M.defaults), given)
  M.current.cmd = given.cmd or M.defaults.cmd
end

--- Return whether Neovim's own inline completion requests and draws suggestions.
function M.uses_builtin()
  return vim.lsp.inline_completion ~= nil and M.current.ghost == "auto"
end

--- Return why nothing is suggested in a buffer, as a sentence, or nil: suggestions are for normal buffers with a name, by file type.
function M.why_unwanted(buf)
  if not vim.api.nvim_buf_is_loaded(buf) or vim.bo[buf].buftype ~= "" then
    return "this buffer is not a file, so nothing is suggested here."
  end
  if vim.api.nvim_buf_get_name(buf) == "" then
    return "this buffer has no name, so nothing is suggested here: save it, for example with :write NAME.py."
  end
  local choice = M.current.filetypes[vim.bo[buf].filetype]
  if choice == nil then
    choice = M.current.filetypes["*"]
  end
  if choice ~= true then
    return ("the option filetypes is false for %s, so nothing is suggested here."):format(vim.bo[buf].filetype)
  end
end

--- Return whether suggestions are wanted in a buffer.
function M.wants(buf)
  return M.why_unwanted(buf) == nil
end

return M
