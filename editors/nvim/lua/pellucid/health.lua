--- :checkhealth pellucid

local builtin = require("pellucid.builtin")
local client = require("pellucid.client")
local keys = require("pellucid.keys")
local options = require("pellucid.options")

local M = {}

local WAIT_MS = 5000
local LOG = ":lua vim.cmd.edit(vim.lsp.get_log_path())"

local function check_neovim()
  local version = tostring(vim.version())
  if vim.fn.has("nvim-0.10") == 0 then
    return vim.health.error(("Neovim %s is too old: Pellucid needs 0.10 or newer."):format(version))
  end
  local whose = builtin.used() and "Neovim's own inline completion" or "the plugin's"
  vim.health.ok(("Neovim %s; ghost text is %s."):format(version, whose))
end

local function check_command()
  local command = options.current.cmd
  local path = vim.fn.exepath(command[1])
  if path == "" then
    local remedy = "Install Pellucid (make run in its folder) and put its .venv/bin on the PATH, or set cmd in setup{}."
    return vim.health.error(("%s is not an executable."):format(command[1]), remedy)
  end
  local asked = vim.list_slice(command, 1, math.max(#command - 1, 1)) -- without the last word, the subcommand lsp
  local answer = vim.system(vim.list_extend(asked, { "--version" }), { text = true }):wait(WAIT_MS)
  if answer.code ~= 0 then
    return vim.health.error(("%s --version failed: %s"):format(path, vim.trim(answer.stderr or "")))
  end
  vim.health.ok(("%s, %s"):format(path, vim.trim(answer.stdout)))
end

local function check_server()
  local running = client.get()
  if not running then
    local remedy = client.crashed and "It ended unexpectedly: see " .. LOG .. ", then :Pellucid restart." or "It starts with the first file that is edited."
    return vim.health.warn("The language server is not running.", remedy)
  end
  local files = vim.tbl_count(running.attached_buffers)
  local sentence = "The language server is running, attached to %d buffer%s, with positions in %s."
  vim.health.ok(sentence:format(files, files == 1 and "" or "s", running.offset_encoding))
  local status, done
  client.refresh(function(answer)
    status, done = answer, true
  end)
  vim.wait(WAIT_MS, function()
    return done
  end, 20)
  if not status then
    return vim.health.error("The language server does not answer.", ":Pellucid restart, and see " .. LOG)
  end
  local say = status.state == "failed" and vim.health.error or vim.health.ok
  say(("Model server: %s. %s"):format(status.state, status.message))
  vim.health.info(status.definitions)
  if not client.enabled() then
    vim.health.warn("Suggestions are off.", ":Pellucid toggle switches them on everywhere, :Pellucid toggle! in this workspace.")
  end
end

local function check_keys()
  local clashes = 0
  for action, key in pairs(options.current.keys) do
    local mapping = key and vim.fn.maparg(key, "i", false, true)
    if mapping and mapping.desc ~= keys.description(action) then
      clashes = clashes + 1
      vim.health.warn(
        ("%s (%s) is mapped to something else: %s"):format(key, action, mapping.desc or mapping.rhs or "a Lua function"),
        "Choose another key in setup{ keys = { ... } }, or remove that mapping."
      )
    elseif key and keys.former[key] then
      local former = keys.former[key].desc or keys.former[key].rhs or "a Lua function"
      vim.health.info(("%s keeps its earlier mapping (%s) while no suggestion is shown."):format(key, former))
    end
  end
  if clashes == 0 then
    vim.health.ok("No key clashes.")
  end
end

--- Report what works and what does not.
function M.check()
  vim.health.start("Pellucid: editor")
  check_neovim()
  check_command()
  if not vim.tbl_isempty(keys.former) then
    check_keys()
  else
    vim.health.warn("Pellucid is not set up.", "Call require('pellucid').setup{} in init.lua.")
  end
  vim.health.start("Pellucid: servers")
  check_server()
  for _, sentence in ipairs(client.warnings) do
    vim.health.warn("Earlier warning: " .. sentence)
  end
end

return M
