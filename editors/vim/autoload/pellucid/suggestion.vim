vim9script

# The suggestion at the cursor in insert mode: requested, drawn, typed into, accepted, dismissed.

import autoload 'pellucid/client.vim'
import autoload 'pellucid/options.vim'

const AUTOMATIC = 2
const KEYS = {accept: "\<Plug>(PellucidInsert)", accept_word: "\<Plug>(PellucidInsert)", dismiss: "\<Plug>(PellucidRemove)"}
const WORD = '^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)\?' # with the blanks before it

# {id, text, partial, buf, lnum, col, right}: `text` continues the line `lnum` at the byte `col`; `right` follows the cursor.
var shown: dict<any> = {}
var drawn = 0 # the buffer with ghost text
var pressed = '' # the action of the last key that accepts
var waiting = 0 # the timer before a request
var request = 0 # the id of a running one
var told = '' # id of the last suggestion that was reported as shown
var seen: dict<any> = {} # the place of the last request
var otherwise: dict<string> = {} # what the keys do without a suggestion

def Cursor(): dict<any>
  return {buf: bufnr(), lnum: line('.'), col: col('.') - 1, tick: b:changedtick}
enddef

def Inserting(): bool
  return mode() == 'i' && !pumvisible()
enddef

# Count the UTF-16 code units of a text.
def Units(text: string): number
  const codes = str2list(text)
  return len(codes) + codes->copy()->filter((_, code) => code > 0xFFFF)->len()
enddef

# Return the text that is still to be inserted at the cursor; '' if the suggestion does not continue here.
def Rest(at: dict<any>): string
  if empty(shown) || shown.buf != at.buf || at.lnum < shown.lnum || (at.lnum == shown.lnum && at.col < shown.col)
    return ''
  endif
  final lines = getline(shown.lnum, at.lnum)
  if lines[-1]->strpart(at.col) !=# shown.right
    return ''
  endif
  lines[-1] = lines[-1]->strpart(0, at.col)
  lines[0] = lines[0]->strpart(shown.col)
  const typed = lines->join("\n")
  return shown.text->stridx(typed) == 0 ? shown.text->strpart(len(typed)) : ''
enddef

# Remove the ghost text from the screen.
def Hide()
  if bufloaded(drawn)
    prop_remove({type: 'PellucidGhost', bufnr: drawn, all: true})
  endif
  drawn = 0
enddef

def Clear()
  Hide()
  shown = {}
enddef

# Expand tabs to spaces from a screen column on: Vim draws a tab in virtual text as one space.
def Expanded(text: string, column: number): string
  var result = ''
  for part in text->split('\t\zs')
    result ..= part->trim("\t", 2)
    if part[-1] == "\t"
      result ..= repeat(' ', &tabstop - (column + strdisplaywidth(result)) % &tabstop)
    endif
  endfor
  return result
enddef

# Draw what remains of the suggestion, or remove it. The text right of the cursor is repeated behind the last of several lines.
def Draw(at: dict<any>)
  Hide()
  const rest = Rest(at)
  if rest == ''
    Clear()
    return
  endif
  final lines = rest->split("\n", true)
  const first = lines->remove(0)
  if first != ''
    prop_add(at.lnum, at.col + 1, {type: 'PellucidGhost', text: Expanded(first, virtcol('.') - 1)})
  endif
  if !empty(lines)
    lines[-1] ..= shown.right
  endif
  for line in lines
    prop_add(at.lnum, 0, {type: 'PellucidGhost', text: Expanded(line, 0) ?? ' ', text_align: 'below', text_wrap: 'wrap'})
  endfor
  drawn = at.buf
  if shown.id != told
    told = shown.id
    client.Notify('pellucid/didShow', {id: told})
  endif
enddef

def Cancel()
  timer_stop(waiting)
  if request != 0
    client.Cancel(request)
    request = 0
  endif
enddef

# Show the reply to a request at a place. If it is only the beginning of a suggestion, request the whole.
def Show(at: dict<any>, result: any)
  if !Inserting() || Cursor() != at
    return
  endif
  request = 0
  const items = type(result) == v:t_dict ? result.items : result ?? []
  if empty(items)
    Clear()
    return
  endif
  const [id; kind] = items[0].command.arguments
  const partial = kind->get(0, '') == 'partial'
  const right = getline('.')->strpart(at.col)
  shown = at->extendnew({id: id, text: items[0].insertText, partial: partial, right: right})
  Draw(at)
  if partial
    Ask(at)
  endif
enddef

def Ask(at: dict<any>)
  const position = {line: at.lnum - 1, character: Units(getline('.')->strpart(0, at.col))}
  const params = {textDocument: {uri: client.BufferUri(at.buf)}, position: position, context: {triggerKind: AUTOMATIC}}
  request = client.Request('textDocument/inlineCompletion', params, (result) => Show(at, result))
enddef

def AskHere(_: number)
  if Inserting() && client.Sync(bufnr())
    Ask(Cursor())
  endif
enddef

# Handle the start of insert mode, a change or a move. As long as the user types what the suggestion says, nothing is requested.
export def Moved()
  const at = Cursor()
  if at == seen
    return
  endif
  seen = at
  Cancel()
  client.Sync(at.buf)
  if pumvisible()
    Clear()
    return
  endif
  Draw(at)
  if empty(shown) || shown.partial
    waiting = timer_start(options.Get().wait_ms, AskHere)
  endif
enddef

# Handle the end of insert mode, or a change of the buffer.
export def Left()
  Cancel()
  Clear()
  seen = {}
enddef

# Handle the start or end of the server, or of suggestions.
export def Resume()
  Left()
  if Inserting()
    Moved()
  endif
enddef

# Note what a key does without a suggestion.
export def Otherwise(action: string, key: string)
  otherwise[action] = eval($'"{key->escape('"\')->substitute('<', '\\<', 'g')}"')
enddef

# Return the keys that act on the suggestion, or the key's earlier function where nothing is shown. Keys that were typed before may not be
# in the text yet: the part to insert is found later.
export def Press(action: string): string
  pressed = action
  return pumvisible() || Rest(Cursor()) == '' ? otherwise->get(action, '') : KEYS[action]
enddef

# Insert the part that is accepted, report it, and draw the rest.
export def Insert()
  Hide() # before Vim remembers the line for undo
  const rest = Rest(Cursor())
  if rest == '' # the keys typed something else
    feedkeys(otherwise->get(pressed, ''), 'im')
    return
  endif
  const piece = pressed == 'accept_word' ? rest->matchstr(WORD) : rest
  const [lnum, col] = [line('.'), col('.') - 1]
  final lines = (getline('.')->strpart(0, col) .. piece)->split("\n", true)
  const end = len(lines[-1])
  lines[-1] ..= getline('.')->strpart(col)
  setline(lnum, lines->remove(0))
  append(lnum, lines)
  cursor(lnum + len(lines), end + 1)
  const at = Cursor()
  client.Sync(at.buf)
  if Rest(at) != ''
    client.Notify('pellucid/didPartiallyAccept', {id: shown.id, acceptedLength: Units(shown.text) - Units(Rest(at))})
    Draw(at)
  elseif !empty(shown)
    client.Execute('pellucid.accepted', [shown.id])
    Clear()
  endif
enddef

# Dismiss the suggestion: the server does not offer it again at this place.
export def Dismiss()
  client.Notify('pellucid/didDismiss', {id: shown.id})
  Cancel()
  Clear()
enddef
