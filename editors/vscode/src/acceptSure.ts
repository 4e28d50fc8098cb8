/** Accepts the sure beginning of a suggestion; its doubtful rest stays on the screen. */

import * as vscode from "vscode";
import type { LanguageServer } from "./languageServer";
import type { LastSuggestion, Suggestion } from "./lastSuggestion";
import { DidPartiallyAcceptNotification } from "./protocol";

/** Inserts what is left of the sure beginning at the cursor; without any, VS Code accepts all that it shows. */
export async function acceptSure(server: LanguageServer, { current }: LastSuggestion): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  const left = current && editor ? sureLeft(current, editor) : "";
  if (current === undefined || editor === undefined || left === "") {
    await vscode.commands.executeCommand("editor.action.inlineSuggest.commit");
    return;
  }
  if (await editor.edit((edit) => edit.insert(editor.selection.active, left))) {
    await server.notify(DidPartiallyAcceptNotification, { id: current.id, acceptedLength: current.sure });
  }
}

/** Returns the part of the sure beginning that is not in the document yet. */
function sureLeft({ item, document, position, sure }: Suggestion, editor: vscode.TextEditor): string {
  if (editor.document !== document || typeof item.insertText !== "string") {
    return "";
  }
  const typed = document.getText(new vscode.Range(item.range?.start ?? position, editor.selection.active));
  const beginning = item.insertText.slice(0, sure);
  return beginning.startsWith(typed) ? beginning.slice(typed.length) : "";
}
