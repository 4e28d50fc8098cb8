vim9script

# The language server: one process for all buffers. It starts with the first file; once it has ended, only :Pellucid restart starts it.

import autoload 'pellucid/options.vim'

export const SUBCOMMANDS = ['restart', 'status', 'toggle']

# Error codes of a request that was cancelled or is out of date.
const QUIET = [-32800, -32801, -32802]
const SHUTDOWN_MS = 500
const POPUP_MS = 5000

var server = null_job
var ready = false # the server has answered the first request
var failure = '' # why no server runs, as a sentence
var stderr = '' # the last line of the server's standard error
var documents: dict<dict<any>> # by number of the buffer: {uri, language, tick}, as the server has them
var roots: list<string> # the folders of the workspace

# Show a sentence on one line: a longer message would wait for Enter. One that is too long is whole in :messages. In insert mode, and
# while a file is opened, Vim draws over messages: a small window shows the sentence, too.
def Say(sentence: string, window: bool = mode() == 'i')
  const text = $'Pellucid: {sentence}'->substitute('\_s\+', ' ', 'g')->trim()
  if window
    popup_notification(text, {time: POPUP_MS})
  endif
  if strdisplaywidth(text) <= v:echospace
    echomsg text
  else
    execute 'echomsg' string(text) '| redraw'
    echo text->strcharpart(0, v:echospace - 1) .. '…'
  endif
enddef

def Fail(sentence: string)
  failure = sentence
  echohl WarningMsg
  Say(sentence, true)
  echohl None
enddef

def Running(): bool
  return server != null_job && job_status(server) == 'run' && ch_status(server) == 'open'
enddef

# Send a message; return the id of a request, or 0. A server that dies meanwhile is reported by Ended().
def Send(message: dict<any>, handlers: dict<any> = {}): number
  var id = 0
  try
    if Running()
      id = ch_sendexpr(server, message, handlers)->get('id', 0)
    endif
  catch /E63[01]\|E906/
  endtry
  return id
enddef

export def Notify(method: string, params: dict<any>)
  Send({method: method, params: params})
enddef

# Send a request and return its id. `Callback` gets the result; a failure is shown, unless the request was only out of date.
export def Request(method: string, params: dict<any>, Callback: func(any)): number
  return Send({method: method, params: params}, {callback: (_, reply) => {
    if !has_key(reply, 'error')
      Callback(reply->get('result', null))
    elseif QUIET->index(reply.error.code) < 0
      Say(reply.error.message)
    endif
  }})
enddef

export def Cancel(id: number)
  Notify('$/cancelRequest', {id: id})
enddef

def Ignore(_: any)
enddef

# Run a command of the server.
export def Execute(command: string, arguments: list<any>, Callback: func(any) = Ignore)
  Request('workspace/executeCommand', {command: command, arguments: arguments}, Callback)
enddef

# Handle a message that answers no request of ours.
def Received(_: channel, message: any)
  if message->get('method', '') == 'window/showMessage'
    Say(message.params.message->substitute('^Pellucid: ', '', ''))
  elseif has_key(message, 'id') && has_key(message, 'method')
    Send({id: message.id, error: {code: -32601, message: 'Vim does not know this method.'}})
  endif
enddef

def Ended(job: job, code: number)
  const signal = job_info(job)->get('termsig', '')
  const how = signal == '' ? $'exit code {code}' : $'signal {signal}'
  [ready, documents, roots] = [false, {}, []]
  if v:exiting == null
    Fail($'the language server ended ({how}); :Pellucid restart starts it again. {stderr}')
    doautocmd <nomodeline> User PellucidChanged
  endif
enddef

def Initialized(_: any)
  ready = true
  Notify('initialized', {})
  for info in getbufinfo({bufloaded: true})
    Sync(info.bufnr)
  endfor
  doautocmd <nomodeline> User PellucidChanged
enddef

def Start()
  const cmd = options.Get().cmd
  [failure, stderr] = ['', '']
  if !executable(cmd[0])
    Fail($'{cmd[0]} is not an executable: install Pellucid (make run in its folder) and put its .venv/bin on the PATH, or set g:pellucid.cmd.')
    return
  endif
  server = job_start(cmd, {in_mode: 'lsp', out_mode: 'lsp', err_mode: 'nl', noblock: 1, stoponexit: '', out_cb: Received,
    err_cb: (_, line) => {
      stderr = line
    }, exit_cb: Ended})
  roots = [Root(bufnr())]
  Request('initialize', {
    processId: getpid(),
    clientInfo: {name: 'Vim', version: string(v:versionlong)},
    rootUri: Uri(roots[0]),
    workspaceFolders: [Folder(roots[0])],
    capabilities: {
      general: {positionEncodings: ['utf-16']},
      textDocument: {inlineCompletion: {dynamicRegistration: false}},
      workspace: {workspaceFolders: true},
    },
    initializationOptions: {partialSuggestions: true}->extend(options.Get().settings),
  }, Initialized)
enddef

# Return the URI of a path. Its bytes are read as characters of Latin-1, so that each is encoded by itself.
def Uri(path: string): string
  const encoded = iconv(path, 'latin1', 'utf-8')->substitute('[^A-Za-z0-9/._~-]', '\=printf("%%%02X", char2nr(submatch(0)))', 'g')
  return $'file://{encoded}'
enddef

def Path(buf: number): string
  return bufname(buf)->fnamemodify(':p')
enddef

export def BufferUri(buf: number): string
  return Uri(Path(buf))
enddef

def Folder(root: string): dict<string>
  return {uri: Uri(root), name: root}
enddef

# Return the folder with .git above a buffer's file, or that of the file.
def Root(buf: number): string
  const folder = Path(buf)->fnamemodify(':h')
  const git = finddir('.git', $'{escape(folder, ' ,;')};') ?? findfile('.git', $'{escape(folder, ' ,;')};')
  return git == '' ? folder : git->fnamemodify(':p')->substitute('/\.git/\?$', '', '')
enddef

# Return whether suggestions are wanted in a buffer: it is a file, and the options have its type.
def Wanted(buf: number): bool
  const types = options.Get().filetypes
  return bufloaded(buf) && getbufvar(buf, '&buftype') == '' && bufname(buf) !~ '^\%(\a\+://.*\)\?$'
    && types->get(getbufvar(buf, '&filetype'), types['*'])
enddef

# Bring the server's copy of a buffer up to date, and start the server for the first one. Return whether the server has the buffer.
export def Sync(buf: number): bool
  if !Wanted(buf)
    Close(buf)
  elseif server == null_job && failure == ''
    Start()
  endif
  if !ready || !Wanted(buf)
    return false
  endif
  const document = {uri: BufferUri(buf), language: getbufvar(buf, '&filetype'), tick: getbufvar(buf, 'changedtick')}
  const known = documents->get(buf, {})
  if known == document
    return true
  endif
  const text = getbufline(buf, 1, '$')->join("\n") .. (getbufvar(buf, '&endofline') ? "\n" : '')
  if !empty(known) && known.uri == document.uri && known.language == document.language
    Notify('textDocument/didChange', {textDocument: {uri: document.uri, version: document.tick}, contentChanges: [{text: text}]})
  else
    Close(buf)
    Join(Root(buf))
    Notify('textDocument/didOpen', {textDocument: {uri: document.uri, languageId: document.language, version: document.tick, text: text}})
  endif
  documents[buf] = document
  return true
enddef

# Add a folder to the server's workspace.
def Join(root: string)
  if roots->index(root) < 0
    roots->add(root)
    Notify('workspace/didChangeWorkspaceFolders', {event: {added: [Folder(root)], removed: []}})
  endif
enddef

export def Close(buf: number)
  if has_key(documents, buf)
    Notify('textDocument/didClose', {textDocument: {uri: documents->remove(buf).uri}})
  endif
enddef

# Let the server end by itself, after its last report.
export def Leave()
  if ready && Running()
    ch_evalexpr(server, {method: 'shutdown'}, {timeout: SHUTDOWN_MS})
    Notify('exit', {})
  elseif Running()
    job_stop(server)
  endif
enddef

def Toggled(status: any)
  Say($'suggestions are {!status.enabled ? 'off' : !status.enabledHere ? 'off in this workspace' : 'on'}.')
  doautocmd <nomodeline> User PellucidChanged
enddef

def ShowStatus(status: any)
  const here = Wanted(bufnr()) ? '' : ' Nothing is suggested in this buffer: it has no file, or g:pellucid.filetypes excludes it.'
  Say(status.message .. here)
enddef

# Run :Pellucid with the name of a subcommand.
export def Command(name: string)
  if SUBCOMMANDS->index(name) < 0
    Fail($'there is no :Pellucid {name}; the subcommands are {SUBCOMMANDS->join(', ')}.')
  elseif name == 'restart' && !Running()
    Start()
  elseif !ready
    Say(failure ?? server == null_job ? 'the language server starts with the first file.' : 'the language server is starting.')
  elseif name == 'status'
    Request('pellucid/status', {}, ShowStatus)
  elseif name == 'toggle'
    Execute('pellucid.toggle', [], Toggled)
  else
    Execute('pellucid.restart', [], ShowStatus)
  endif
enddef
