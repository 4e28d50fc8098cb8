/** The view of the last suggestion's tokens: this side talks to the language server, and src/view draws. */

import { randomBytes } from "node:crypto";
import * as vscode from "vscode";
import { type LanguageServer, reason } from "./languageServer";
import { BranchRequest, TokensRequest } from "./protocol";
import { type LastSuggestion, type Suggestion, insert, isCurrent, showDocument, suggestionOf } from "./lastSuggestion";
import type { Tokens } from "./tokenTypes";
import type { FromView, ToView } from "./view/messages";

export const VIEW = "pellucid.tokens";

export class TokensView implements vscode.WebviewViewProvider, vscode.Disposable {
  private readonly listening: vscode.Disposable;
  private view: vscode.WebviewView | undefined;
  private shown: Suggestion | undefined;
  private asked = 0;
  /** Whether the page is ready for messages; VS Code discards it while it is hidden. */
  private ready = false;
  private focusing = false;

  constructor(
    private readonly extension: vscode.Uri,
    private readonly server: LanguageServer,
    private readonly last: LastSuggestion,
  ) {
    this.listening = last.onDidChange(() => void this.refresh());
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    const built = vscode.Uri.joinPath(this.extension, "dist");
    this.view = view;
    view.webview.options = { enableScripts: true, localResourceRoots: [built] };
    view.webview.onDidReceiveMessage((message: FromView) => this.receive(message));
    view.onDidChangeVisibility(() => (this.ready &&= view.visible));
    view.onDidDispose(() => {
      this.ready = false;
      this.view = undefined;
    });
    view.webview.html = page(view.webview, built);
  }

  /** Opens the view and moves the keyboard focus to the tokens. */
  async focus(): Promise<void> {
    this.focusing = true;
    await vscode.commands.executeCommand(`${VIEW}.focus`);
    if (this.ready) {
      this.giveFocus();
    }
  }

  dispose(): void {
    this.listening.dispose();
  }

  /** Moves the keyboard focus to the page, if that was requested. */
  private giveFocus(): void {
    if (this.focusing) {
      this.focusing = false;
      this.send({ kind: "focus" });
    }
  }

  /** Draws the last suggestion, if the view is visible. */
  private async refresh(): Promise<void> {
    const suggestion = this.last.current;
    if (!this.ready || suggestion === undefined) {
      return;
    }
    const asked = ++this.asked;
    try {
      const tokens = await this.server.request(TokensRequest, { id: suggestion.id });
      if (asked === this.asked && tokens !== null) {
        this.draw(suggestion, tokens);
      }
    } catch (error) {
      this.send({ kind: "problem", sentence: reason(error) });
    }
  }

  private draw(suggestion: Suggestion, tokens: Tokens, selected = 0): void {
    this.shown = suggestion;
    this.send({ kind: "tokens", tokens, insertable: !suggestion.accepted, selected });
  }

  private async receive(message: FromView): Promise<void> {
    try {
      switch (message.kind) {
        case "ready":
          this.ready = true;
          this.giveFocus();
          return await this.refresh();
        case "branch":
          return await this.branch(message.token, message.alternative);
        case "insert":
          return this.shown && (await insert(this.shown));
        case "explain":
          await vscode.commands.executeCommand("pellucid.explainLast", this.shown?.id);
          return;
        case "leave":
          return await this.leave();
      }
    } catch (error) {
      this.send({ kind: "problem", sentence: reason(error) });
    }
  }

  /** Draws the suggestion that continues from an alternative. */
  private async branch(token: number, alternative: number): Promise<void> {
    const from = this.shown;
    if (from === undefined) {
      return;
    }
    const item = await this.server.request(BranchRequest, { id: from.id, token, alternative });
    if (item === null) {
      throw new Error(
        "Cannot continue from this alternative: it does not begin with the typed text, or nothing follows it. Choose another one.",
      );
    }
    const suggestion = suggestionOf(this.server.inlineItem(item), from.document, from.position);
    const tokens = suggestion && (await this.server.request(TokensRequest, { id: suggestion.id }));
    if (!suggestion || !tokens) {
      throw new Error("The language server no longer has this suggestion: request a new one.");
    }
    this.asked++;
    this.last.branched(suggestion);
    this.draw(suggestion, tokens, token);
  }

  /** Goes back to the editor, which then offers the suggestion that is shown here. */
  private async leave(): Promise<void> {
    if (this.shown === undefined) {
      await vscode.commands.executeCommand("workbench.action.focusActiveEditorGroup");
      return;
    }
    await showDocument(this.shown.document);
    if (!this.shown.accepted && isCurrent(this.shown)) {
      this.last.keep(this.shown);
      await vscode.commands.executeCommand("editor.action.inlineSuggest.trigger");
    }
  }

  private send(message: ToView): void {
    void this.view?.webview.postMessage(message);
  }
}

/** The page, which loads nothing from other places. */
function page(webview: vscode.Webview, built: vscode.Uri): string {
  const nonce = randomBytes(16).toString("base64");
  const script = webview.asWebviewUri(vscode.Uri.joinPath(built, "tokens.js")).toString();
  const style = webview.asWebviewUri(vscode.Uri.joinPath(built, "tokens.css")).toString();
  const policy = `default-src 'none'; style-src ${webview.cspSource}; script-src 'nonce-${nonce}'`;
  return `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="${policy}" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <link rel="stylesheet" href="${style}" />
    <title>Suggestion tokens</title>
  </head>
  <body tabindex="-1">
    <p id="empty">No suggestion yet: type in an editor, and the tokens of the suggestion appear here.</p>
    <p id="problem" role="alert" hidden></p>
    <main id="suggestion" hidden>
      <header>
        <span id="summary"></span>
        <span id="scale" aria-hidden="true"><span>unlikely</span><span class="ramp"></span><span>likely</span></span>
        <button id="explain" type="button" class="secondary">Explain</button>
        <button id="insert" type="button" title="Ctrl+Enter">Insert</button>
      </header>
      <div class="columns">
        <div id="tokens" role="listbox" aria-label="Tokens of the suggestion" aria-orientation="horizontal"></div>
        <section id="choice" aria-label="The selected token">
          <h2 id="chosen"></h2>
          <p id="figures"></p>
          <div id="alternatives" role="listbox" aria-label="Alternatives"></div>
        </section>
      </div>
      <p id="help">Left and Right choose a token, Enter goes to its alternatives, and Enter there continues from one. Ctrl+Enter inserts. Escape goes back.</p>
    </main>
    <script nonce="${nonce}" src="${script}"></script>
  </body>
</html>`;
}
