--- Defines the command :Pellucid; everything else starts with require("pellucid").setup{}.

if vim.g.loaded_pellucid then
  return
end
vim.g.loaded_pellucid = true

vim.api.nvim_create_user_command("Pellucid", function(call)
  require("pellucid.command").run(call.args, call.range > 0 and { call.line1, call.line2 } or nil)
end, {
  nargs = "+",
  range = true,
  desc = "Pellucid: chat, commit, instruct, edit, surprise, toggle, tokens, explain, status, restart, open",
  complete = function(lead, line)
    return require("pellucid.command").complete(lead, line)
  end,
})

vim.keymap.set("n", "<Plug>(PellucidInstruct)", ":.Pellucid instruct<CR>", { silent = true, desc = "Pellucid: change this line" })
vim.keymap.set("x", "<Plug>(PellucidInstruct)", ":Pellucid instruct<CR>", { silent = true, desc = "Pellucid: change this selection" })
