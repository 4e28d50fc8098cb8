--- Defines the command :Pellucid; everything else starts with require("pellucid").setup{}.

if vim.g.loaded_pellucid then
  return
end
vim.g.loaded_pellucid = true

vim.api.nvim_create_user_command("Pellucid", function(call)
  require("pellucid.command").run(call.args)
end, {
  nargs = "+",
  desc = "Pellucid: toggle, tokens, surprise, explain, status, restart, open",
  complete = function(lead, line)
    return require("pellucid.command").complete(lead, line)
  end,
})
