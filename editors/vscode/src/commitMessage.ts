/** Fills the box of the source control view with a message for the staged changes, through VS Code's own git extension. */

import * as vscode from "vscode";
import type { LanguageServer } from "./languageServer";
import { CommitMessageRequest } from "./protocol";

/** What is used of the git extension's API, version 1. */
interface Repository {
  readonly rootUri: vscode.Uri;
  readonly inputBox: { value: string };
  readonly ui: { readonly selected: boolean };
}
interface Git {
  readonly repositories: readonly Repository[];
}

const PROGRESS = { location: vscode.ProgressLocation.Notification, title: "Pellucid is writing the message", cancellable: true };
const OTHERS = 3;

/** Writes a message for a repository: that of the view in which the button was clicked, else the selected one, else one that is chosen. */
export async function writeCommitMessage(server: LanguageServer, view?: { rootUri?: vscode.Uri }): Promise<void> {
  const repository = await repositoryOf((await gitApi()).repositories, view?.rootUri);
  if (repository === undefined) {
    return;
  }
  const typed = repository.inputBox.value;
  const params = { uri: repository.rootUri.toString(), alternatives: typed.trim() === "" ? 1 : OTHERS };
  const made = await vscode.window.withProgress(PROGRESS, async (_, token) => {
    const answer = server.request(CommitMessageRequest, params, token);
    answer.catch(() => undefined); // of a request that was cancelled
    return Promise.race([answer, new Promise<undefined>((resolve) => token.onCancellationRequested(() => resolve(undefined)))]);
  });
  const first = made?.messages[0];
  if (made === undefined || first === undefined) {
    return;
  }
  made.notes.forEach((note) => void vscode.window.showInformationMessage(note));
  // A message that the user has typed is replaced only by one that the user chooses.
  const text = repository.inputBox.value.trim() === "" ? first.text : await choose(made.messages);
  if (text !== undefined) {
    repository.inputBox.value = text;
  }
}

async function gitApi(): Promise<Git> {
  const extension = vscode.extensions.getExtension<{ readonly enabled: boolean; getAPI(version: 1): Git }>("vscode.git");
  const exported = await extension?.activate();
  if (exported === undefined || !exported.enabled) {
    throw new Error("VS Code's git extension is off: enable the extension Git and the setting git.enabled.");
  }
  return exported.getAPI(1);
}

async function repositoryOf(repositories: readonly Repository[], root: vscode.Uri | undefined): Promise<Repository | undefined> {
  if (repositories.length === 0) {
    throw new Error("No git repository is open: open a folder of one, or run the command Git: Initialize Repository.");
  }
  const asked = repositories.find(({ rootUri }) => rootUri.toString() === root?.toString());
  if (asked !== undefined || repositories.length === 1) {
    return asked ?? repositories[0];
  }
  const items = repositories.map((repository) => ({ label: repository.rootUri.fsPath, picked: repository.ui.selected, repository }));
  return (await vscode.window.showQuickPick(items, { placeHolder: "The repository whose staged changes the message describes" }))
    ?.repository;
}

async function choose(messages: readonly { text: string; probability: number }[]): Promise<string | undefined> {
  const items = messages.map(({ text, probability }) => ({ label: text, description: `${Math.round(100 * probability)} % a token` }));
  return (await vscode.window.showQuickPick(items, { placeHolder: "Replace your message? Escape keeps it." }))?.label;
}
