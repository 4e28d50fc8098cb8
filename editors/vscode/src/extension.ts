/** The extension: starts the language server and connects it with the status bar, the commands and the token view. */

import * as vscode from "vscode";
import { acceptSure } from "./acceptSure";
import { addFiles, addSelection } from "./attachments";
import { CHAT_VIEW, ChatView } from "./chatView";
import { writeCommitMessage } from "./commitMessage";
import { Explanations } from "./explanation";
import { fineTune } from "./fineTuning";
import { InstructedEdits } from "./instructedEdits";
import { LanguageModels } from "./languageModels";
import { LanguageServer, reason } from "./languageServer";
import { showMenu } from "./menu";
import { ModelServer } from "./modelServer";
import { NextEdits } from "./nextEdits";
import { AddressRequest, ExplainEditsRequest, ExplainRequest, ServerCommand, type Status } from "./protocol";
import { SECTION } from "./settings";
import { StatusBar } from "./statusBar";
import { clearSurprises, markSurprises } from "./surprises";
import { LastSuggestion } from "./lastSuggestion";
import { TokensView, VIEW } from "./tokensView";

let server: LanguageServer | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const last = new LastSuggestion();
  const explanations = new Explanations();
  const running = (server = new LanguageServer(last, explanations));
  const statusBar = new StatusBar();
  const tokens = new TokensView(context.extensionUri, running, last);
  const edits = new NextEdits(context.extensionUri, running);
  const instructed = new InstructedEdits(running, context.workspaceState);
  const models = new ModelServer(() => running.request(AddressRequest, {}));
  const chat = new ChatView(context.extensionUri, running, models, instructed);
  const languageModels = new LanguageModels(running, models);
  let status: Status | undefined;

  const explain = async (id?: string): Promise<void> => {
    const explanation = await running.request(ExplainRequest, id === undefined ? {} : { id });
    if (explanation === null) {
      void vscode.window.showInformationMessage("No suggestion has been requested yet: type in an editor first.");
    } else {
      await explanations.openSuggestion(explanation);
    }
  };

  const explainEdits = async (): Promise<void> => {
    const document = vscode.window.activeTextEditor?.document;
    const explanation = document && (await running.request(ExplainEditsRequest, { textDocument: { uri: document.uri.toString() } }));
    if (document && explanation) {
      await explanations.openEdits(document.uri, explanation);
    } else {
      void vscode.window.showInformationMessage("No edit has been looked for here yet: change something in an editor first.");
    }
  };

  context.subscriptions.push(
    last,
    running,
    statusBar,
    explanations,
    tokens,
    edits,
    instructed,
    chat,
    languageModels,
    running.onDidChangeStatus((changed) => statusBar.show((status = changed))),
    vscode.window.registerWebviewViewProvider(VIEW, tokens),
    vscode.window.registerWebviewViewProvider(CHAT_VIEW, chat, { webviewOptions: { retainContextWhenHidden: true } }),
    vscode.lm.registerLanguageModelChatProvider(SECTION, languageModels),
    command("openChat", () => vscode.commands.executeCommand(`${CHAT_VIEW}.focus`)),
    command("addSelectionToChat", () => addSelection(running, chat)),
    command("addFileToChat", (chosen?: vscode.Uri, all?: vscode.Uri[]) => addFiles(running, chat, chosen, all)),
    command("toggleEverywhere", () => running.execute(ServerCommand.toggle)),
    command("toggleHere", () => running.execute(ServerCommand.toggleWorkspace)),
    command("restartServer", () => running.restart()),
    command("openServerPage", () => running.execute(ServerCommand.openPage)),
    command("showTokens", () => tokens.focus()),
    command("explainLast", explain),
    command("explainEdits", explainEdits),
    command("acceptSure", () => acceptSure(running, last)),
    command("nextEdit", () => edits.goOrMake()),
    command("dismissEdit", () => edits.dismiss()),
    command("listEdits", () => edits.list()),
    command("editByInstruction", () => instructed.instruct()),
    command("commitMessage", (view?: { rootUri?: vscode.Uri }) => writeCommitMessage(running, view)),
    command("fineTune", () => fineTune(models)),
    command("markSurprises", () => markSurprises(running, ServerCommand.showSurprise)),
    command("markSurprisesInChanges", () => markSurprises(running, ServerCommand.showSurpriseInChanges)),
    command("clearSurprises", () => clearSurprises(running)),
    command("showMenu", () => showMenu(status)),
    command("showLog", () => running.log.show()),
    vscode.workspace.onDidChangeConfiguration(async (change) => {
      if (change.affectsConfiguration(`${SECTION}.command`)) {
        await running.restart();
      }
    }),
    vscode.workspace.onDidGrantWorkspaceTrust(() => running.restart()),
  );
  void running.start(); // commands do not wait for the server
}

export async function deactivate(): Promise<void> {
  await server?.stop();
}

/** Registers a command of the palette; an error is shown as one sentence. */
function command<Args extends unknown[]>(name: string, run: (...args: Args) => unknown): vscode.Disposable {
  return vscode.commands.registerCommand(`${SECTION}.${name}`, async (...args: Args) => {
    try {
      await run(...args);
    } catch (error) {
      void vscode.window.showErrorMessage(reason(error));
    }
  });
}
