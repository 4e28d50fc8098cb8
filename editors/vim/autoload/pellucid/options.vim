vim9script

# The options, g:pellucid, over their defaults.

const DEFAULTS = {
  cmd: ['pellucid', 'lsp'],
  filetypes: {'*': true, help: false, qf: false, gitrebase: false},
  keys: {accept: '<Tab>', accept_word: '<M-Right>', dismiss: '<C-]>'},
  settings: {}, # for the language server, which checks them
  wait_ms: 25, # between a keystroke and the request
}
const FREE = ['g:pellucid.filetypes', 'g:pellucid.settings'] # with any names

var merged: dict<any>

# Return the defaults with the given values instead. A wrong value is named in a sentence, and the default is used.
def Merge(defaults: dict<any>, given: dict<any>, path: string): dict<any>
  final result = deepcopy(defaults)
  for [name, value] in given->items()
    const known = FREE->index(path) >= 0 || has_key(defaults, name)
    if !known || (has_key(defaults, name) && type(value) != type(defaults[name]) && type(value) != v:t_number)
      const why = known ? $'should be like {string(defaults[name])}' : $'is not an option: the options are {defaults->keys()->sort()->join(", ")}'
      echohl WarningMsg | echomsg $'Pellucid: {path}.{name} {why}.' | echohl None
    elseif type(value) == v:t_dict && has_key(defaults, name)
      result[name] = Merge(defaults[name], value, $'{path}.{name}')
    else
      result[name] = value
    endif
  endfor
  return result
enddef

export def Get(): dict<any>
  if empty(merged)
    merged = Merge(DEFAULTS, get(g:, 'pellucid', {}), 'g:pellucid')
  endif
  return merged
enddef
