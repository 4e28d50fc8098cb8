--- The client of the language server: one for all buffers.

local options = require("pellucid.options")

local NAME = "pellucid"

local M = { status = nil, crashed = false, NAME = NAME }

local TERMINATED = 15 -- the signal by which Neovim stops a server
local START_MS = 10000 -- for the first answer of the server
local NEW = vim.fn.has("nvim-0.11") == 1 -- since then the methods of a client are called with a colon

--- Error codes of a request that was cancelled or is out of date.
local QUIET = { [-32800] = true, [-32801] = true, [-32802] = true }
local DROPPED = "the language server dropped the request: ask again."

M.warnings = {} -- whole sentences, for :checkhealth

local LOOKS = { [vim.log.levels.WARN] = "WarningMsg", [vim.log.levels.ERROR] = "ErrorMsg" }

--- Show a sentence on one line: a longer message would interrupt the user with "Press ENTER". One that is too long is whole in
--- :messages.
function M.say(sentence, level)
  local text = ("Pellucid: " .. sentence):gsub("%s+", " ")
  if vim.fn.strdisplaywidth(text) <= vim.v.echospace then
    return vim.notify(text, level or vim.log.levels.INFO)
  end
  local look = LOOKS[level] or "None"
  -- In one command with :redraw, :echomsg does not wait for Enter.
  vim.cmd(("echohl %s | echomsg %s | echohl None | redraw"):format(look, vim.fn.string(text)))
  vim.api.nvim_echo({ { vim.fn.strcharpart(text, 0, vim.v.echospace - 1) .. "…", look } }, false, {})
end

--- Show a warning, once per session.
function M.warn(sentence)
  if not vim.tbl_contains(M.warnings, sentence) then
    table.insert(M.warnings, sentence)
    vim.schedule(function()
      M.say(sentence, vim.log.levels.WARN)
    end)
  end
end

--- Return the running client, or nil.
function M.get()
  return vim.lsp.get_clients({ name = NAME })[1]
end

local function call(client, method, ...)
  if NEW then
    return client[method](client, ...)
  end
  return client[method](...)
end

--- Remember a status, and notify status lines with the event User PellucidStatus.
local function note(status)
  M.status = status
  vim.api.nvim_exec_autocmds("User", { pattern = "PellucidStatus", modeline = false })
end

--- Send a request; `callback(result)` is not called if the function that this returns has cancelled it. After a failure it gets nil and
--- the sentence, which is shown once per session unless the caller shows it (`says_failure`) or the request was only out of date.
function M.request(method, params, buf, callback, says_failure)
  local client = M.get()
  if not client then
    return nil
  end
  local cancelled = false
  local sent, id = call(client, "request", method, params, function(failure, result)
    if cancelled then
      return
    end
    if not failure then
      return callback(result ~= vim.NIL and result or nil)
    end
    local quiet = QUIET[failure.code]
    if not quiet and not says_failure then
      M.warn(failure.message)
    end
    callback(nil, quiet and DROPPED or failure.message)
  end, buf)
  return sent and function()
    cancelled = true
    call(client, "cancel_request", id)
  end or nil
end

--- Send a notification.
function M.notify(method, params)
  local client = M.get()
  if client then
    call(client, "notify", method, params)
  end
end

--- Run a command of the server, and remember its result if that is a status.
function M.execute(command, arguments, callback)
  if not M.get() then
    M.warn("no language server is running; :Pellucid restart starts it.")
    return
  end
  M.request("workspace/executeCommand", { command = command, arguments = arguments or {} }, nil, function(result)
    if type(result) == "table" and result.state then
      note(result)
    end
    if callback then
      callback(result)
    end
  end)
end

--- Return whether suggestions are on, as far as the server has reported.
function M.enabled()
  return M.status == nil or (M.status.enabled ~= false and M.status.enabledHere ~= false)
end

--- Request the status; `callback(status)` gets nil if no server runs.
function M.refresh(callback)
  local sent = M.request("pellucid/status", vim.empty_dict(), nil, function(result)
    if result then
      note(result)
    end
    callback(result)
  end)
  if not sent then
    callback(nil)
  end
end

local function settings()
  return vim.tbl_isempty(options.current.settings) and vim.empty_dict() or vim.deepcopy(options.current.settings)
end

--- Handle the end of the language server's process. Neovim reports it itself; :checkhealth says what to do.
local function ended(code, signal)
  require("pellucid.instruct").clear()
  require("pellucid.chat").ended()
  require("pellucid.explanation_window").forget()
  require("pellucid.next_edits").clear()
  note(nil)
  local asked = code == 0 and (signal == 0 or signal == TERMINATED)
  if vim.v.exiting == vim.NIL and not asked then
    M.crashed = true
    local sentence = "the language server ended (exit code %d, signal %d); :Pellucid restart starts it again."
    table.insert(M.warnings, sentence:format(code, signal))
  end
end

--- Return a handler of a code action's command that runs in normal mode: a selection does not end by itself, and keys would act on it.
local function in_normal_mode(run)
  return function(command)
    if vim.api.nvim_get_mode().mode:find("^[vV\22]") then
      vim.cmd("normal! \27")
    end
    run(unpack(command.arguments))
  end
end

local function configuration(root)
  local capabilities = vim.lsp.protocol.make_client_capabilities()
  capabilities.textDocument.inlineCompletion = { dynamicRegistration = false }
  local initial = vim.tbl_extend("keep", settings(), {
    statusNotifications = true,
    partialSuggestions = not options.uses_builtin(), -- which does not request the rest of a suggestion
    doubtfulRests = not options.uses_builtin(), -- which draws and accepts all of a suggestion alike
    findDefinitions = true,
  })
  return {
    name = NAME,
    cmd = options.current.cmd,
    root_dir = root,
    capabilities = capabilities,
    init_options = initial,
    settings = { [NAME] = initial },
    commands = {
      ["pellucid.explainCode"] = in_normal_mode(function(...)
        require("pellucid.explanation_window").explain_code(...)
      end),
      ["pellucid.instruct"] = in_normal_mode(function(...)
        require("pellucid.instruct").edit(...)
      end),
    },
    handlers = {
      ["pellucid/didChangeStatus"] = function(_, status)
        note(status)
      end,
      ["pellucid/findDefinitions"] = function(_, params)
        require("pellucid.definitions").find(params)
      end,
      ["$/progress"] = function(failure, params, ...)
        if not require("pellucid.instruct").progress(params) and not require("pellucid.chat").progress(params) then
          return vim.lsp.handlers["$/progress"](failure, params, ...)
        end
      end,
      ["window/showMessage"] = function(_, message)
        local sentence = message.message:gsub("^Pellucid: ", "") -- which M.say adds
        if message.type >= vim.lsp.protocol.MessageType.Info then
          M.say(sentence)
        else
          M.warn(sentence)
        end
      end,
    },
    on_exit = vim.schedule_wrap(ended), -- Neovim calls it in a fast context, where most functions are not allowed
  }
end

local function root_of(buf)
  return vim.fs.root(buf, ".git") or vim.fs.dirname(vim.api.nvim_buf_get_name(buf))
end

--- Add the folder of an attached buffer to the server's workspace.
function M.join(client, buf)
  local root = root_of(buf)
  for _, folder in ipairs(client.workspace_folders or {}) do
    if folder.name == root then
      return
    end
  end
  local folder = { uri = vim.uri_from_fname(root), name = root }
  client.workspace_folders = vim.list_extend(client.workspace_folders or {}, { folder })
  call(client, "notify", "workspace/didChangeWorkspaceFolders", { event = { added = { folder }, removed = {} } })
end

--- Return whether the command of the server is a program, else say what to do: once by itself, and whenever the user `asks`.
local function has_command(asks)
  local program = options.current.cmd[1]
  if vim.fn.executable(program) == 1 then
    return true
  end
  local say = asks and function(sentence)
    M.say(sentence, vim.log.levels.WARN)
  end or M.warn
  say(("%s is not an executable: install Pellucid (make run in its folder) and put its .venv/bin on the PATH, or set cmd."):format(program))
  return false
end

--- Attach a buffer to the server, and start the server if it does not run. Returns whether the buffer is attached.
function M.attach(buf)
  if M.crashed or not options.wants(buf) then
    return false
  end
  if not has_command() then
    return false
  end
  local id = vim.lsp.start(configuration(root_of(buf)), {
    bufnr = buf,
    reuse_client = function(client)
      return client.name == NAME
    end,
  })
  return id ~= nil
end

--- Return whether the server runs, after starting it without a buffer if necessary: the reason of a failure is shown.
function M.ensure()
  if M.get() then
    return true
  end
  if not has_command(true) then
    return false
  end
  if M.crashed then
    M.say("no language server is running; :Pellucid restart starts it.", vim.log.levels.WARN)
    return false
  end
  local config = configuration(vim.fs.root(0, ".git") or vim.uv.cwd())
  if NEW then
    vim.lsp.start(config, { attach = false })
  else
    vim.lsp.start_client(config)
  end
  vim.wait(START_MS, M.get, 20)
  if not M.get() then
    M.say("the language server did not start: :checkhealth pellucid says why.", vim.log.levels.WARN)
  end
  return M.get() ~= nil
end

--- Return whether a buffer is attached.
function M.attached(buf)
  return #vim.lsp.get_clients({ name = NAME, bufnr = buf }) > 0
end

--- Restart a language server that ended, for all buffers that want it.
function M.start()
  M.crashed = false
  M.warnings = {}
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    M.attach(buf)
  end
end

return M
