--- Tells the server where names are defined, as the buffer's other language servers know.

local client = require("pellucid.client")
local positions = require("pellucid.positions")

local M = {}

local METHODS = { "textDocument/definition", "textDocument/typeDefinition" }
local HOVER = "textDocument/hover"
local WAIT_MS = 10000 -- a server that ended never answers
local NEW = vim.fn.has("nvim-0.11") == 1 -- since then the methods of a client are called with a colon

local function supports(server, method)
  if NEW then
    return server:supports_method(method)
  end
  return server.supports_method(method)
end

--- Return the other servers of a buffer that find definitions.
local function servers(buf)
  return vim.tbl_filter(function(server)
    return server.name ~= client.NAME and (supports(server, METHODS[1]) or supports(server, METHODS[2]))
  end, vim.lsp.get_clients({ bufnr = buf }))
end

--- Request something, and count it among what `work` waits for.
local function ask(work, server, method, position, receive)
  local params = { textDocument = { uri = vim.uri_from_bufnr(work.buf) }, position = position }
  local function answered(failure, result)
    if not failure and type(result) == "table" then
      receive(result)
    end
    work.waiting = work.waiting - 1
    work.finish()
  end
  work.waiting = work.waiting + 1
  local sent
  if NEW then
    sent = server:request(method, params, answered, work.buf)
  else
    sent = server.request(method, params, answered, work.buf)
  end
  if not sent then
    work.waiting = work.waiting - 1
  end
end

local function in_workspace(uri)
  local running = client.get()
  local path = vim.startswith(uri, "file:") and vim.uri_to_fname(uri)
  return vim.iter(running and running.workspace_folders or {}):any(function(folder)
    return path and vim.startswith(path, vim.uri_to_fname(folder.uri) .. "/")
  end)
end

--- Return the text of a hover.
local function described(hover)
  return table.concat(vim.lsp.util.convert_input_to_markdown_lines(hover.contents or {}), "\n")
end

local function look_up(work, server, name, asked)
  local row, byte = positions.place(work.buf, asked.position, work.encoding)
  local position = positions.position(work.buf, row, byte, server.offset_encoding)
  local hovered = false
  for _, method in ipairs(METHODS) do
    if supports(server, method) then
      ask(work, server, method, position, function(result)
        for _, found in ipairs(result.uri and { result } or result) do
          local place = { uri = found.targetUri or found.uri, range = found.targetSelectionRange or found.range }
          table.insert(name.definitions, place)
          local has_hover = method == METHODS[1] and not hovered and supports(server, HOVER)
          if has_hover and not in_workspace(place.uri) then
            hovered = true
            ask(work, server, HOVER, position, function(hover)
              place.description = described(hover)
            end)
          end
        end
      end)
    end
  end
end

--- Look names up, and send what is found. Without another server nothing is found yet: the names stay to be asked for.
function M.find(params)
  local uri, running = params.textDocument.uri, client.get()
  local buf = vim.uri_to_bufnr(uri)
  local known = running and vim.api.nvim_buf_is_loaded(buf) and vim.lsp.util.buf_versions[buf] == params.textDocument.version
  local work = { buf = buf, waiting = 1, encoding = running and running.offset_encoding }
  local names, sent = {}, false
  local function send()
    if not sent then
      sent = true
      client.notify("pellucid/definitions", { textDocument = { uri = uri }, names = names })
    end
  end
  function work.finish()
    if work.waiting == 0 then
      send()
    end
  end
  for _, server in ipairs(known and servers(buf) or {}) do
    for number, asked in ipairs(params.names) do
      names[number] = names[number] or { name = asked.name, definitions = {} }
      look_up(work, server, names[number], asked)
    end
  end
  work.waiting = work.waiting - 1
  work.finish()
  vim.defer_fn(send, WAIT_MS)
end

return M
