/** Marks of words that do not fit: the server shows them as hints, and its code actions put an alternative in. */

import * as vscode from "vscode";
import type { LanguageServer } from "./languageServer";
import { ServerCommand, type Surprises } from "./protocol";

/** Marks words of the active editor, by a command of the server that reads all of it or only what has changed. */
export async function markSurprises(
  server: LanguageServer,
  command: typeof ServerCommand.showSurprise | typeof ServerCommand.showSurpriseInChanges,
): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    void vscode.window.showInformationMessage("Open a file first: Pellucid marks surprising code in the active editor.");
    return;
  }
  const { line, character } = editor.selection.active;
  const about = { textDocument: { uri: editor.document.uri.toString() }, position: { line, character } };
  const title = "Pellucid: the model reads the code";
  const found = await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title }, () =>
    server.execute<Surprises>(command, about),
  );
  void vscode.window.showInformationMessage(found.message);
}

/** Shows no marks any more, in any editor. */
export async function clearSurprises(server: LanguageServer): Promise<void> {
  await server.execute(ServerCommand.clearSurprise);
}
