/** The view of the chat: the model server's own page in the side bar. This side forwards its requests, and does what concerns the editor. */

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import * as vscode from "vscode";
import type { InstructedEdits } from "./instructedEdits";
import { type LanguageServer, reason } from "./languageServer";
import { showDocument } from "./lastSuggestion";
import { events, type ModelServer, refusal } from "./modelServer";
import { openSettings } from "./settings";
import type { Attachment, FromChat, ToChat } from "./view/chatMessages";

export const CHAT_VIEW = "pellucid.chat";

/** Routes of the server's page that the view may use. */
const ROUTES = /^page\/[\w/]+$/;

/** Between two questions whether the server has prepared its page. */
const PREPARING_MS = 500;
const NOT_READY = 503;
const NOT_FOUND = 404;

/** The chat without the page around it, as the server sends it. */
interface Frame {
  body: string;
  style: string;
  module: string;
}

export class ChatView implements vscode.WebviewViewProvider, vscode.Disposable {
  private readonly listening: vscode.Disposable;
  private view: vscode.WebviewView | undefined;
  private state: "waiting" | "failed" | "shown" = "waiting";
  private sentence = "";
  private url = "";
  /** Whether the chat listens to messages, and those that wait for that. */
  private ready = false;
  private unsent: ToChat[] = [];
  private loads = 0;
  private waking = false;
  private readonly running = new Map<number, AbortController>();

  constructor(
    private readonly extension: vscode.Uri,
    private readonly server: LanguageServer,
    private readonly models: ModelServer,
    private readonly edits: InstructedEdits,
  ) {
    this.listening = server.onDidChangeStatus(({ state, message, url }) => {
      const isBack = this.state === "failed" && state !== "failed" && server.running;
      const isOther = this.state === "shown" && url !== "" && url !== this.url;
      if (isBack || isOther) {
        void this.load();
      } else if (this.state === "waiting" && message !== "") {
        this.say(message);
      }
    });
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    view.webview.options = { enableScripts: true, localResourceRoots: [] };
    view.webview.onDidReceiveMessage((message: FromChat) => this.receive(message));
    view.onDidDispose(() => {
      this.view = undefined;
      this.leave();
    });
    void this.load();
  }

  /** Shows the view, and adds files to its next message. */
  async attach(files: readonly Attachment[]): Promise<void> {
    await vscode.commands.executeCommand(`${CHAT_VIEW}.focus`);
    this.send({ kind: "attach", files });
  }

  dispose(): void {
    this.listening.dispose();
    this.leave();
  }

  /** Shows the server's chat in place of what is shown, once the server is ready; until then, and if that fails, a sentence. */
  private async load(): Promise<void> {
    const number = ++this.loads;
    const isLast = (): boolean => number === this.loads;
    this.leave();
    this.state = "waiting";
    await this.draw(WAITING);
    this.say("Waiting for the model server.");
    try {
      this.url = (await this.models.connect()).url;
      const frame = await this.frame((sentence) => isLast() && this.say(sentence));
      if (isLast()) {
        this.leave();
        this.state = "shown";
        await this.draw(frame);
      }
    } catch (error) {
      if (isLast()) {
        this.state = "failed";
        this.say(reason(error));
      }
    }
  }

  /** Returns the chat, after the server has loaded its models and prepared its page. */
  private async frame(onWait: (sentence: string) => void): Promise<Frame> {
    for (;;) {
      const reply = await this.models.send("page/editor", { method: "POST", body: "{}" });
      if (reply.ok && reply.body !== null) {
        for await (const frame of events(reply.body)) {
          return frame as Frame;
        }
      }
      if (reply.status === NOT_FOUND) {
        throw new Error("The model server has no chat for editors: it is older than this extension, or was started with --no-page.");
      }
      const sentence = await refusal(reply);
      if (reply.status !== NOT_READY) {
        throw new Error(sentence);
      }
      onWait(sentence);
      await new Promise((resolve) => setTimeout(resolve, PREPARING_MS));
    }
  }

  private async draw(frame: Frame): Promise<void> {
    const built = vscode.Uri.joinPath(this.extension, "dist");
    const [script, style] = await Promise.all(
      ["chat.js", "chat.css"].map((name) => readFile(vscode.Uri.joinPath(built, name).fsPath, "utf8")),
    );
    if (this.view !== undefined) {
      this.view.webview.html = page(frame, script ?? "", style ?? "");
    }
  }

  /** Ends what belongs to the page that is shown. */
  private leave(): void {
    this.ready = false;
    this.running.forEach((one) => one.abort());
    this.running.clear();
  }

  private say(sentence: string): void {
    this.sentence = sentence;
    this.post({ kind: "state", sentence, failed: this.state === "failed" });
  }

  private async receive(message: FromChat): Promise<void> {
    try {
      switch (message.kind) {
        case "waiting":
          return this.say(this.sentence);
        case "ready":
          this.ready = true;
          return this.flush();
        case "fetch":
          return await this.forward(message);
        case "abort":
          return this.running.get(message.id)?.abort();
        case "reload":
          return await this.load();
        case "code":
          return await (message.verb === "insert" ? insertAtCursor(message.code) : this.edits.apply(message.code));
        case "restart":
          await this.server.restart();
          return await this.load();
        case "openPage":
          await vscode.commands.executeCommand("pellucid.openServerPage");
          return;
        case "showLog":
          return this.server.log.show();
        case "openSettings":
          await openSettings("server");
          return;
      }
    } catch (error) {
      void vscode.window.showErrorMessage(reason(error));
    }
  }

  /** Sends a request of the page to the server, and the answer to the page as it comes. */
  private async forward({ id, path, method, body }: FromChat & { kind: "fetch" }): Promise<void> {
    const controller = new AbortController();
    this.running.set(id, controller);
    try {
      if (!ROUTES.test(path)) {
        throw new Error(`The chat may not ask for ${path}.`);
      }
      const reply = await this.models.send(path, { method, signal: controller.signal, ...(body === undefined ? {} : { body }) });
      this.post({ kind: "head", id, status: reply.status });
      for await (const bytes of reply.body ?? []) {
        this.post({ kind: "part", id, bytes });
      }
      this.post({ kind: "end", id });
    } catch (error) {
      if (!controller.signal.aborted) {
        this.server.log.debug(`${path}: ${reason(error)}`);
        this.post({ kind: "failed", id });
        if (method === "POST") {
          void this.wake();
        }
      }
    } finally {
      this.running.delete(id);
    }
  }

  /** Starts the server again, which may have exited because nothing was asked. The page finds another process, and is loaded again. */
  private async wake(): Promise<void> {
    if (this.waking) {
      return;
    }
    this.waking = true;
    try {
      await this.models.connect();
      await this.frame(() => undefined);
    } catch (error) {
      this.server.log.warn(reason(error)); // the page says that the server does not answer
    } finally {
      this.waking = false;
    }
  }

  private flush(): void {
    this.unsent.splice(0).forEach((message) => this.post(message));
  }

  /** Sends a message as soon as the chat is shown. */
  private send(message: ToChat): void {
    this.unsent.push(message);
    if (this.ready) {
      this.flush();
    }
  }

  private post(message: ToChat): void {
    void this.view?.webview.postMessage(message);
  }
}

/** Inserts code in place of the selection, indented as the line is; one undo takes it back. */
async function insertAtCursor(code: string): Promise<void> {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    throw new Error("Open a file, and set the cursor where the code should be.");
  }
  const shown = await showDocument(editor.document);
  if (!(await shown.insertSnippet(new vscode.SnippetString().appendText(code.replace(/\n$/, "")), editor.selections))) {
    throw new Error("VS Code refused to change the document: check whether it is read-only.");
  }
}

/** What is shown until the server's chat is. */
const WAITING: Frame = {
  body: `<main id="waiting">
  <p id="state" role="status"></p>
  <div id="remedies" hidden>
    <button type="button" data-kind="reload">Try Again</button>
    <button type="button" data-kind="restart">Restart the Server</button>
    <button type="button" data-kind="openSettings">Open the Settings</button>
    <button type="button" data-kind="showLog">Show the Log</button>
  </div>
</main>`,
  style: "",
  module: "",
};

/** The document of the view. It loads nothing, and runs no other scripts than the extension's and the server's. */
function page({ body, style, module }: Frame, ownScript: string, ownStyle: string): string {
  const nonce = randomBytes(16).toString("base64");
  const policy = `default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'nonce-${nonce}'`;
  return `<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta http-equiv="Content-Security-Policy" content="${policy}" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <style>${style}</style>
    <style>${ownStyle}</style>
    <title>Pellucid</title>
  </head>
  <body>
    ${body}
    <script nonce="${nonce}">${embedded(ownScript)}</script>
    <script nonce="${nonce}" type="module">${embedded(module)}</script>
  </body>
</html>`;
}

/** A script as HTML holds it: no part of it may look like the end of the element. */
function embedded(script: string): string {
  return script.replace(/<(?=\/script|!--)/gi, "\\x3c");
}
