--- Puts accepted text into a recorded macro instead of the key that accepted it.

local M = {}

local pressed = {} -- {key, text} of each key that was pressed while a macro was recorded; text is nil if nothing was accepted

--- Note that a key was pressed. Set `text` in the returned table if it accepts a text.
function M.note(key)
  local press = { key = vim.keycode(key) }
  if vim.fn.reg_recording() ~= "" then
    pressed[#pressed + 1] = press
  end
  return press
end

--- Return keys that insert text in insert mode as it is, whatever options would do to typed text.
local function inserting(text)
  local quoted = text:gsub('[\\"]', "\\%0"):gsub("\n", "\\n"):gsub("\t", "\\t")
  return vim.keycode("<C-r><C-o>=") .. '"' .. quoted .. '"\r'
end

--- Replace the keys in what was recorded.
local function with_texts(recorded)
  local parts, from = {}, 1
  for _, one in ipairs(pressed) do
    local first, last = recorded:find(one.key, from, true)
    if not first then
      break
    end
    parts[#parts + 1] = recorded:sub(from, first - 1) .. (one.text and inserting(one.text) or one.key)
    from = last + 1
  end
  return table.concat(parts) .. recorded:sub(from)
end

--- Begin to record.
function M.entered()
  pressed = {}
end

--- Handle the end of a recording, whose register is set after this event.
function M.left()
  local name, recorded = vim.v.event.regname, vim.v.event.regcontents
  local wanted = with_texts(recorded)
  if wanted ~= recorded then
    vim.schedule(function()
      vim.fn.setreg(name, wanted)
    end)
  end
end

return M
