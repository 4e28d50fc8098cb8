" Pellucid in Vim: the command, the keys, the colour and the events. The functions are loaded on first use.

if !has('vim9script') || !has('patch-9.0.0185') || !has('textprop') || !has('popupwin') || !has('job') || !has('channel') || !has('timers')
  let s:sentence = 'Pellucid: needs Vim 9.0.185 or newer with +textprop, +popupwin, +job, +channel and +timers.'
  command! -nargs=* Pellucid echohl WarningMsg | echomsg s:sentence | echohl None
  Pellucid
  finish
endif

vim9script

if exists('g:loaded_pellucid')
  finish
endif
g:loaded_pellucid = 1

import autoload 'pellucid/client.vim'
import autoload 'pellucid/options.vim'
import autoload 'pellucid/suggestion.vim'

command! -nargs=1 -complete=custom,Complete Pellucid client.Command(<q-args>)

def Complete(..._): string
  return client.SUBCOMMANDS->join("\n")
enddef

inoremap <silent> <expr> <Plug>(PellucidAccept) suggestion.Press('accept')
inoremap <silent> <expr> <Plug>(PellucidAcceptWord) suggestion.Press('accept_word')
inoremap <silent> <expr> <Plug>(PellucidDismiss) suggestion.Press('dismiss')

# Press() returns one of these keys. <C-G>u begins an undo step.
inoremap <silent> <Plug>(PellucidInsert) <C-G>u<ScriptCmd>suggestion.Insert()<CR><C-G>u
inoremap <silent> <Plug>(PellucidRemove) <ScriptCmd>suggestion.Dismiss()<CR>

# Map the keys of the options. Without a suggestion the key that accepts does what it did before; the others are left to earlier mappings.
def MapKeys()
  for [action, key] in options.Get().keys->items()
    final former = key == '' ? {} : maparg(key, 'i', false, true)
    const mapped = !empty(former) && !former.buffer
    if key == '' || (mapped && action != 'accept')
      continue
    endif
    var otherwise = key
    if mapped
      otherwise = '<Plug>(PellucidFormer)'
      const plug = "\<Plug>(PellucidFormer)"
      mapset(former->filter((name, _) => name != 'lhsrawalt')->extend({lhs: plug, lhsraw: plug}))
    endif
    suggestion.Otherwise(action, otherwise)
    execute $'inoremap <silent> <expr> {key} <SID>suggestion.Press("{action}")'
  endfor
enddef

# Ghost text is grey, because comments of the file have the colour of comments. The contrast with black and white is above 4.5.
def DefineLook()
  const dark = &background == 'dark'
  const grey = str2nr(&t_Co) < 256 ? 'DarkGray' : dark ? '245' : '243'
  execute $'highlight default PellucidGhost ctermfg={grey} guifg={dark ? '#8a8a8a' : '#767676'}'
  if prop_type_get('PellucidGhost')->empty()
    prop_type_add('PellucidGhost', {highlight: 'PellucidGhost'})
  endif
enddef

augroup pellucid
  autocmd!
  autocmd BufEnter,FileType,BufFilePost,BufWritePost,TextChanged * client.Sync(str2nr(expand('<abuf>')))
  autocmd BufUnload * client.Close(str2nr(expand('<abuf>')))
  autocmd InsertEnter,TextChangedI,TextChangedP,CursorMovedI,CompleteDone * suggestion.Moved()
  autocmd InsertLeave,BufLeave,TextChanged * suggestion.Left()
  autocmd User PellucidChanged suggestion.Resume()
  autocmd ColorScheme * DefineLook()
  autocmd VimLeavePre * client.Leave()
augroup END

DefineLook()
if v:vim_did_enter
  MapKeys()
else
  autocmd pellucid VimEnter * MapKeys()
endif
