-- A minimal Neovim configuration with Pellucid's ghost text.
-- Try it from the repository's folder: nvim -u examples/nvim/init.lua examples/score_file.py
-- The language server starts `pellucid serve` if no server runs.

local examples = vim.fs.dirname(vim.fs.dirname(vim.fn.fnamemodify(debug.getinfo(1, "S").source:sub(2), ":p")))
local repository = vim.fs.dirname(examples)
vim.opt.runtimepath:append(repository .. "/editors/nvim")

local pellucid = repository .. "/.venv/bin/pellucid"
require("pellucid").setup({
  cmd = { vim.fn.executable(pellucid) == 1 and pellucid or "pellucid", "lsp" },
  settings = { completion = { level = "normal" } },
})
