/** Adds files and selected lines to the chat's next message, unless they are private. */

import * as vscode from "vscode";
import type { ChatView } from "./chatView";
import type { LanguageServer } from "./languageServer";
import { AttachmentRequest } from "./protocol";
import type { Attachment } from "./view/chatMessages";

/** Larger files are not read; the chat itself has a lower limit, and names it. */
const MAX_BYTES = 2_000_000;

/** Adds the selected lines of the active editor; without a selection, its file. */
export async function addSelection(server: LanguageServer, chat: ChatView): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    throw new Error("Open a file, and select the lines to add to the chat.");
  }
  const { document, selection } = editor;
  const text = document.getText();
  const name = await permitted(server, document.uri, text);
  await chat.attach([selection.isEmpty ? { name, text } : lines(name, document, selection)]);
}

/** Adds the files that are chosen in the explorer, else that of the active editor. */
export async function addFiles(server: LanguageServer, chat: ChatView, chosen?: vscode.Uri, all?: readonly vscode.Uri[]): Promise<void> {
  const active = chosen ?? vscode.window.activeTextEditor?.document.uri;
  const uris = all?.length ? all : active ? [active] : [];
  if (uris.length === 0) {
    throw new Error("Open a file, or choose one in the explorer, to add it to the chat.");
  }
  const files: Attachment[] = [];
  for (const uri of uris) {
    const text = await read(uri);
    files.push({ name: await permitted(server, uri, text), text });
  }
  await chat.attach(files);
}

/** Returns the name of a file in the workspace. Throws an Error with a sentence if the file is never sent. */
async function permitted(server: LanguageServer, uri: vscode.Uri, text: string): Promise<string> {
  const { name, refusal } = await server.request(AttachmentRequest, { textDocument: { uri: uri.toString() }, text });
  if (refusal !== null) {
    throw new Error(refusal);
  }
  return name;
}

function lines(name: string, document: vscode.TextDocument, { start, end }: vscode.Selection): Attachment {
  const last = end.character === 0 && end.line > start.line ? end.line - 1 : end.line;
  const place = last === start.line ? `${last + 1}` : `${start.line + 1}-${last + 1}`;
  return { name: `${name}:${place}`, text: document.getText(new vscode.Range(start.line, 0, last, Number.MAX_SAFE_INTEGER)) };
}

/** Returns the text of a file, with what is not saved yet. */
async function read(uri: vscode.Uri): Promise<string> {
  const open = vscode.workspace.textDocuments.find((document) => document.uri.toString() === uri.toString());
  if (open !== undefined) {
    return open.getText();
  }
  const name = vscode.workspace.asRelativePath(uri);
  const { size, type } = await vscode.workspace.fs.stat(uri);
  if (type & vscode.FileType.Directory) {
    throw new Error(`${name} is a folder: choose files in it.`);
  }
  if (size > MAX_BYTES) {
    throw new Error(`${name} is too large for the chat: select a part of it.`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await vscode.workspace.fs.readFile(uri));
  } catch (error) {
    throw error instanceof TypeError ? new Error(`${name} is not UTF-8 text: choose a text file.`) : error;
  }
}
