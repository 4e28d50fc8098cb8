/** Runs Pellucid's language server as a process, sends it requests, and reports when it cannot run. */

import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { homedir } from "node:os";
import * as vscode from "vscode";
import {
  CloseAction,
  ErrorAction,
  ErrorCodes,
  type InlineCompletionItem,
  LanguageClient,
  type LanguageClientOptions,
  type Middleware,
  type NotificationType,
  ProgressType,
  type RequestParam,
  type RequestType,
  ResponseError,
  RevealOutputChannelOn,
  State,
  type StateChangeEvent,
} from "vscode-languageclient/node";
import type { Command } from "./executable";
import { findDefinitions } from "./definitions";
import {
  DefinitionsNotification,
  DidChangeStatusNotification,
  DidShowNotification,
  ExplainCodeRequest,
  FindDefinitionsNotification,
  InstructedEditRequest,
  ServerCommand,
  type Status,
  StatusRequest,
} from "./protocol";
import type { Explanations } from "./explanation";
import { SECTION, configuredCommand, openSettings, serverSettings } from "./settings";
import type { LastSuggestion } from "./lastSuggestion";

/** The documents whose text the server has. */
export const DOCUMENTS = [{ scheme: "file" }, { scheme: "untitled" }, { scheme: "vscode-notebook-cell" }];

/** A server that ends more often than this within three minutes is not started again. */
const MAX_RESTARTS = 4;
const RESTART_WINDOW_MS = 3 * 60 * 1000;

const OPEN_SETTINGS = "Open Settings";
const SHOW_LOG = "Show Log";

/** The codes of requests whose connection ended before the answer. */
const ENDED: readonly number[] = [ErrorCodes.PendingResponseRejected, ErrorCodes.ConnectionInactive];

/** The commands of code actions that wait for the model, and what is shown meanwhile. */
const WRITING: readonly string[] = [ServerCommand.instruct, ServerCommand.explainCode];
const PROGRESS = { location: vscode.ProgressLocation.Notification, title: "Pellucid is writing", cancellable: true };

/** How long to wait for the last output of a process that failed. */
const LAST_WORDS_MS = 1000;

/** A client that shows no messages of its own: LanguageServer shows each error once, as a sentence. */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }
}

/**
 * The language server's process. Starts and stops follow one another, because two clients at a time would register the same commands. A
 * newer one replaces those that wait, and a start that is not finished.
 */
export class LanguageServer implements vscode.Disposable {
  private readonly statusChanged = new vscode.EventEmitter<Status>();
  private client: LanguageClient | undefined;
  private process: ChildProcessWithoutNullStreams | undefined;
  private ended: Promise<unknown> = Promise.resolve();
  /** The last start or stop, which ends after all earlier ones. */
  private turn: Promise<void> = Promise.resolve();
  private turns = 0;
  private ends: number[] = [];
  private lastWords = "";

  readonly onDidChangeStatus = this.statusChanged.event;
  readonly log = vscode.window.createOutputChannel("Pellucid", { log: true });

  constructor(
    private readonly last: LastSuggestion,
    private readonly explanations: Explanations,
  ) {}

  /** Whether the server can be asked. */
  get running(): boolean {
    return this.client?.isRunning() ?? false;
  }

  /** Throws an Error with a sentence for the user if the server does not run. */
  requireRunning(): void {
    void this.requests;
  }

  /** Sends a request. Throws an Error with a sentence for the user if the server does not run, or a ServerEnded if it ends before it answers. */
  async request<Params, Result>(
    type: RequestType<Params, Result, void>,
    params: RequestParam<Params>,
    token?: vscode.CancellationToken,
  ): Promise<Result> {
    return answered(this.requests.sendRequest(type, params, token));
  }

  /** Sends a notification. Throws an Error with a sentence for the user if the server does not run. */
  async notify<Params>(type: NotificationType<Params>, params: RequestParam<Params>): Promise<void> {
    await this.requests.sendNotification(type, params);
  }

  /** Receives the lines that come before the answer to a request with this token. */
  onLines(token: string, receive: (lines: readonly string[]) => void): vscode.Disposable {
    return this.requests.onProgress(new ProgressType<{ lines: string[] }>(), token, ({ lines }) => receive(lines));
  }

  /** Converts an item of the server's to one of VS Code's. */
  inlineItem(item: InlineCompletionItem): vscode.InlineCompletionItem {
    return this.requests.protocol2CodeConverter.asInlineCompletionItem(item);
  }

  /** The running client. Throws an Error with a sentence for the user if there is none. */
  private get requests(): LanguageClient {
    if (this.client === undefined || !this.running) {
      throw new Error("Pellucid's language server is not running: start it with the command Pellucid: Restart.");
    }
    return this.client;
  }

  /** Starts the server in place of one that runs; if that fails, shows why in one sentence. */
  start(): Promise<void> {
    return this.next((isLast) => this.launch(isLast));
  }

  /** Ends the server, if there is one. */
  stop(): Promise<void> {
    return this.next(() => Promise.resolve());
  }

  /** Restarts the language server, and with it a model server that an editor started. */
  async restart(): Promise<void> {
    this.ends = [];
    await this.start();
    if (this.running) {
      await this.execute<Status>(ServerCommand.restart).catch((error: unknown) => {
        if (!(error instanceof ServerEnded)) {
          throw error;
        }
        this.log.warn(error.message); // it is started again without the command
      });
    }
  }

  /** Runs a command of the server. */
  async execute<Result>(command: string, ...args: unknown[]): Promise<Result> {
    return answered(this.requests.sendRequest<Result>("workspace/executeCommand", { command, arguments: args }));
  }

  dispose(): void {
    void this.stop();
    this.statusChanged.dispose();
    this.log.dispose();
  }

  /** Ends the server and does something, after all earlier starts and stops, unless a later one comes meanwhile. */
  private next(run: (isLast: () => boolean) => Promise<void>): Promise<void> {
    const number = ++this.turns;
    const isLast = (): boolean => number === this.turns;
    const before = this.turn;
    if (this.client?.state === State.Starting) {
      this.kill(); // it may never answer
    }
    this.turn = (async () => {
      await before;
      await this.end();
      if (isLast()) {
        await run(isLast);
      }
    })();
    return this.turn;
  }

  private async launch(isLast: () => boolean): Promise<void> {
    const command = await configuredCommand();
    if (!isLast()) {
      return;
    }
    if (typeof command === "string") {
      this.fail(command, OPEN_SETTINGS);
      return;
    }
    this.log.info(`Starting ${[command.program, ...command.args].join(" ")}`);
    this.lastWords = "";
    const client = (this.client = new QuietClient(SECTION, "Pellucid", () => this.spawn(command), this.options()));
    client.onNotification(FindDefinitionsNotification, async (asked) => {
      const found = await findDefinitions(asked);
      if (client.isRunning()) {
        await client.sendNotification(DefinitionsNotification, found);
      }
    });
    client.onNotification(DidChangeStatusNotification, (status) => this.statusChanged.fire(status));
    client.onDidChangeState((change) => {
      if (client === this.client) {
        this.report(change).catch((error: unknown) => this.log.error(reason(error)));
      }
    });
    try {
      await client.start();
    } catch (error) {
      await Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS))]);
      this.kill();
      if (isLast()) {
        this.fail(`Pellucid's language server did not start: ${this.lastWords || reason(error)}`, OPEN_SETTINGS, SHOW_LOG);
      }
    }
  }

  private async end(): Promise<void> {
    const client = this.client;
    this.client = undefined;
    if (client?.isRunning()) {
      try {
        await client.dispose();
      } catch (error) {
        this.log.warn(reason(error));
        this.kill();
      }
    }
  }

  /** Ends the process at once, and closes its pipes, which processes that it has started may keep open. */
  private kill(): void {
    const child = this.process;
    child?.kill("SIGKILL");
    [child?.stdin, child?.stdout, child?.stderr].forEach((pipe) => pipe?.destroy());
  }

  private async report({ oldState, newState }: StateChangeEvent): Promise<void> {
    if (newState === State.Starting) {
      this.statusChanged.fire(statusOf("starting", "The language server is starting."));
    } else if (newState === State.Running) {
      this.statusChanged.fire(await this.requests.sendRequest(StatusRequest));
    } else if (oldState === State.Running) {
      await this.startAgain();
    }
  }

  private spawn({ program, args }: Command): Promise<ChildProcess> {
    // Not in the workspace, from where Python would import modules.
    const child = (this.process = spawn(program, args, { cwd: homedir(), stdio: "pipe", windowsHide: true }));
    child.stderr.on("data", (data: Buffer) => {
      this.lastWords = data.toString().trim().split("\n").at(-1)?.trim() || this.lastWords;
    });
    this.ended = new Promise((resolve) => child.once("close", resolve));
    return new Promise((resolve, reject) => {
      child.once("spawn", () => resolve(child));
      child.once("error", (error: NodeJS.ErrnoException) => {
        // The program was found: what does not exist is the Python of its environment.
        const missing = `the Python in the first line of ${program} does not exist: install Pellucid again.`;
        reject(error.code === "ENOENT" ? new Error(missing) : error);
      });
    });
  }

  private options(): LanguageClientOptions {
    return {
      documentSelector: DOCUMENTS,
      initializationOptions: serverSettings,
      outputChannel: this.log,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      middleware: this.middleware(),
      initializationFailedHandler: () => false,
      errorHandler: {
        error: (error) => {
          this.log.error(error);
          return { action: ErrorAction.Continue, handled: true };
        },
        closed: () => ({ action: CloseAction.DoNotRestart, message: "The language server has ended.", handled: true }),
      },
    };
  }

  private middleware(): Middleware {
    return {
      provideInlineCompletionItems: async (document, position, context, token, next) => {
        const result = await next(document, position, context, token);
        if (token.isCancellationRequested) {
          return undefined;
        }
        const { offered, first } = this.last.offer(Array.isArray(result) ? result : (result?.items ?? []), document, position);
        if (first !== undefined) {
          await this.client?.sendNotification(DidShowNotification, { id: first.id });
        }
        return offered;
      },
      // A hint has three faint dots here, no key stops at it, and Problems does not list it. All diagnostics are marks of surprising code.
      handleDiagnostics: (uri, diagnostics, next) => {
        diagnostics.forEach((one) => (one.severity = vscode.DiagnosticSeverity.Information));
        next(uri, diagnostics);
      },
      executeCommand: async (command, args: unknown[], next) => {
        const result = await (WRITING.includes(command)
          ? vscode.window.withProgress(PROGRESS, (_, token) => this.write(command, args, token))
          : next(command, args));
        const [id] = args;
        if (command === ServerCommand.accepted && typeof id === "string") {
          this.last.accept(id);
        }
        return result;
      },
      workspace: {
        configuration: (params, token, next) =>
          params.items.every((item) => item.section === SECTION)
            ? params.items.map((item) => serverSettings(item.scopeUri ? vscode.Uri.parse(item.scopeUri) : undefined))
            : next(params, token),
      },
    };
  }

  /**
   * Does what the command of a code action asks for, by a request: the server cannot cancel commands. "Explain" opens a document, where the
   * server would show a message.
   */
  private async write(command: string, args: unknown[], token: vscode.CancellationToken): Promise<void> {
    try {
      const [uri, first, end, instruction] = args as [string, number, number, string];
      const textDocument = { uri };
      const range = { start: { line: first, character: 0 }, end: { line: end, character: 0 } };
      if (command === ServerCommand.explainCode) {
        const { text } = await this.request(ExplainCodeRequest, { textDocument, range }, token);
        await this.explanations.openCode(uri, first, end, text);
        return;
      }
      const made = await this.request(InstructedEditRequest, { textDocument, range, instruction }, token);
      if (made.reason !== null) {
        void vscode.window.showInformationMessage(`Pellucid: ${made.reason}`);
        return;
      }
      const hunks = made.hunks.filter((hunk) => !hunk.breaksSyntax);
      if (hunks.length < made.hunks.length) {
        const rest = hunks.length > 0 ? "Only the other changes were made." : "Nothing was changed: ask again, in other words.";
        void vscode.window.showInformationMessage(`Pellucid: ${made.note} ${rest}`);
      }
      const edit = new vscode.WorkspaceEdit();
      hunks.forEach((hunk) => edit.replace(vscode.Uri.parse(uri), this.requests.protocol2CodeConverter.asRange(hunk.range), hunk.newText));
      await vscode.workspace.applyEdit(edit);
    } catch (error) {
      if (!token.isCancellationRequested) {
        throw error;
      }
    }
  }

  /** Starts a server again that ended by itself, unless that happens too often. */
  private async startAgain(): Promise<void> {
    const now = Date.now();
    this.ends = [...this.ends.filter((at) => now - at < RESTART_WINDOW_MS), now];
    if (this.ends.length <= MAX_RESTARTS) {
      await this.start();
      return;
    }
    this.fail(
      `Pellucid's language server ended ${this.ends.length} times in three minutes: ${this.lastWords || "it printed no reason"}`,
      SHOW_LOG,
    );
  }

  private fail(message: string, ...buttons: string[]): void {
    this.log.error(message);
    this.statusChanged.fire(statusOf("failed", message));
    void vscode.window.showErrorMessage(message, ...buttons).then((button) => {
      if (button === OPEN_SETTINGS) {
        void openSettings("command");
      } else if (button === SHOW_LOG) {
        this.log.show();
      }
    });
  }
}

/** Returns a status on behalf of a language server that does not run. */
function statusOf(state: Status["state"], message: string): Status {
  const counts = { shown: 0, accepted: 0, hidden: 0, typed: 0 };
  const gate = { by: "thresholds", reason: "The language server is not running." } as const;
  return {
    state,
    message,
    progress: null,
    model: null,
    url: "",
    enabled: true,
    enabledHere: true,
    latency: null,
    counts,
    gate,
    log: null,
    definitions: "",
  };
}

/** The server ended before it answered. */
class ServerEnded extends Error {}

/** Waits for an answer. Throws ServerEnded, with a sentence for the user, if the server ended before it. */
async function answered<Result>(answer: Promise<Result>): Promise<Result> {
  try {
    return await answer;
  } catch (error) {
    const ended = error instanceof ResponseError && ENDED.includes(error.code);
    throw ended ? new ServerEnded("Pellucid's language server ended before it answered: try again once it has restarted.") : error;
  }
}

export function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
