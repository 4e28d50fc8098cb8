/** Edits by instruction: a prompt at the selection, the new text as a diff while it comes, then a choice of its changes. */

import * as vscode from "vscode";
import type { LanguageServer } from "./languageServer";
import { type Hunk, type InstructedEdit, InstructedEditRequest } from "./protocol";

const SCHEME = "pellucid-edit";

/** The instructions that are kept, the newest first. */
const MAX_HISTORY = 50;
const HISTORY = "instructions";

/** The most characters of a new line in the list of changes. */
const MAX_SHOWN = 80;

const ANOTHER: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("refresh"), tooltip: "Ask again with another seed" };

interface Selection {
  readonly document: vscode.TextDocument;
  readonly version: number;
  readonly range: vscode.Range;
}

interface HunkItem extends vscode.QuickPickItem {
  readonly hunk: Hunk;
}

export class InstructedEdits implements vscode.Disposable {
  private readonly preview = new Preview();

  constructor(
    private readonly server: LanguageServer,
    private readonly memory: vscode.Memento,
  ) {}

  /** Asks for an instruction, and edits the selected lines by it. */
  async instruct(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined) {
      throw new Error("Open a file and select the lines to change.");
    }
    const { document, selection } = editor;
    const selected = { document, version: document.version, range: new vscode.Range(selection.start, selection.end) };
    const instruction = await this.ask(selection);
    if (instruction !== undefined) {
      await this.edit(selected, instruction);
    }
  }

  dispose(): void {
    this.preview.dispose();
  }

  /** Shows the edit, and lets the user choose among its changes: as often as another seed is wanted. */
  private async edit(selected: Selection, instruction: string): Promise<void> {
    for (let seed: number | undefined; ; seed = Math.floor(Math.random() * 2 ** 31)) {
      await this.preview.open(selected.document, instruction);
      const made = await this.stream(selected, instruction, seed);
      if (made === undefined) {
        return this.preview.close();
      }
      if (made.reason !== null) {
        await this.preview.close();
        void vscode.window.showInformationMessage(made.reason);
        return;
      }
      this.preview.show(replaced(selected.document, made.hunks));
      const chosen = await choose(instruction, made.hunks);
      if (chosen === "another") {
        continue;
      }
      await this.preview.close();
      if (chosen !== undefined && chosen.length > 0) {
        await make(selected, chosen);
      }
      return;
    }
  }

  /** Returns the edit, or undefined if the user has cancelled it. */
  private async stream(selected: Selection, instruction: string, seed: number | undefined): Promise<InstructedEdit | undefined> {
    const { document, range } = selected;
    const partialResultToken = `instruct-${Date.now()}`;
    const params = {
      textDocument: { uri: document.uri.toString() },
      range,
      instruction,
      partialResultToken,
      ...(seed === undefined ? {} : { seed }),
    };
    const lines: string[] = [];
    const progress = this.server.onLines(partialResultToken, (come) => {
      lines.push(...come);
      this.preview.show(withLines(document, range, lines));
    });
    const options = { location: vscode.ProgressLocation.Notification, title: `Pellucid: ${instruction}`, cancellable: true };
    try {
      return await vscode.window.withProgress(options, async (_, token) => {
        const made = this.server.request(InstructedEditRequest, params, token);
        const cancelled = new Promise<undefined>((resolve) => token.onCancellationRequested(() => resolve(undefined)));
        made.catch(() => undefined); // of a request that was cancelled
        return Promise.race([made, cancelled]);
      });
    } catch (error) {
      await this.preview.close();
      throw error;
    } finally {
      progress.dispose();
    }
  }

  /** Returns an instruction that is typed, or chosen from earlier ones. */
  private ask(selection: vscode.Selection): Promise<string | undefined> {
    const earlier = this.memory.get<string[]>(HISTORY, []);
    const input = vscode.window.createQuickPick();
    input.title = selection.isEmpty ? "Insert code here" : `Change ${count(selection.end.line - selection.start.line + 1, "line")}`;
    input.placeholder = "What should change? For example: handle an empty list";
    const items = earlier.map((label) => ({ label }));
    input.items = items;
    input.onDidChangeValue((value) => {
      input.items = value.trim() === "" ? items : [{ label: value, alwaysShow: true }, ...items.filter(({ label }) => label !== value)];
    });
    return new Promise((resolve) => {
      input.onDidAccept(() => {
        const instruction = (input.activeItems[0]?.label ?? input.value).trim();
        if (instruction === "") {
          return;
        }
        void this.memory.update(HISTORY, [instruction, ...earlier.filter((one) => one !== instruction)].slice(0, MAX_HISTORY));
        resolve(instruction);
        input.hide();
      });
      input.onDidHide(() => {
        resolve(undefined);
        input.dispose();
      });
      input.show();
    });
  }
}

/** A document with the new text, compared with the user's in a diff editor. */
class Preview implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this);
  private uri: vscode.Uri | undefined;
  private text = "";

  readonly onDidChange = this.changed.event;

  provideTextDocumentContent(): string {
    return this.text;
  }

  async open(document: vscode.TextDocument, instruction: string): Promise<void> {
    this.text = document.getText();
    if (this.uri === undefined) {
      this.uri = document.uri.with({ scheme: SCHEME, query: String(Date.now()) });
      await vscode.commands.executeCommand("vscode.diff", document.uri, this.uri, `Pellucid: ${instruction}`, { preview: true });
    } else {
      this.changed.fire(this.uri);
    }
  }

  show(text: string): void {
    this.text = text;
    if (this.uri !== undefined) {
      this.changed.fire(this.uri);
    }
  }

  async close(): Promise<void> {
    const shown = this.uri?.toString();
    this.uri = undefined;
    const tabs = vscode.window.tabGroups.all.flatMap((group) => group.tabs);
    const ours = tabs.filter(({ input }) => input instanceof vscode.TabInputTextDiff && input.modified.toString() === shown);
    await vscode.window.tabGroups.close(ours);
  }

  dispose(): void {
    this.registration.dispose();
    this.changed.dispose();
  }
}

/** Returns the changes that the user wants, undefined if none of them, and "another" for an edit with another seed. */
function choose(instruction: string, hunks: readonly Hunk[]): Promise<readonly Hunk[] | "another" | undefined> {
  const input = vscode.window.createQuickPick<HunkItem>();
  input.title = instruction;
  input.placeholder = "Enter makes the marked changes, Escape none";
  input.canSelectMany = true;
  input.items = hunks.map((hunk) => ({ label: place(hunk), description: percent(hunk), detail: firstLine(hunk), hunk }));
  input.selectedItems = input.items;
  input.buttons = [ANOTHER];
  input.ignoreFocusOut = true;
  return new Promise((resolve) => {
    input.onDidTriggerButton(() => {
      resolve("another");
      input.hide();
    });
    input.onDidAccept(() => {
      resolve(input.selectedItems.map(({ hunk }) => hunk));
      input.hide();
    });
    input.onDidHide(() => {
      resolve(undefined);
      input.dispose();
    });
    input.show();
  });
}

/** Makes changes, which one undo takes back. Throws an Error with a sentence if the document is another one by now. */
async function make({ document, version }: Selection, hunks: readonly Hunk[]): Promise<void> {
  if (document.version !== version) {
    throw new Error("The document has changed meanwhile, so nothing was changed: ask again.");
  }
  const edit = new vscode.WorkspaceEdit();
  hunks.forEach((hunk) => edit.replace(document.uri, rangeOf(hunk), hunk.newText));
  if (!(await vscode.workspace.applyEdit(edit))) {
    throw new Error("VS Code refused to change the document: check whether it is read-only.");
  }
}

/** Returns the document's text with changes made. */
function replaced(document: vscode.TextDocument, hunks: readonly Hunk[]): string {
  const text = document.getText();
  let [made, end] = ["", 0];
  for (const hunk of hunks) {
    const range = rangeOf(hunk);
    made += text.slice(end, document.offsetAt(range.start)) + hunk.newText;
    end = document.offsetAt(range.end);
  }
  return made + text.slice(end);
}

/** Returns the document's text with the lines so far in place of the first selected ones. */
function withLines(document: vscode.TextDocument, range: vscode.Range, lines: readonly string[]): string {
  const all = document.getText().split(/\r?\n/);
  const last = range.end.character === 0 && range.end.line > range.start.line ? range.end.line - 1 : range.end.line;
  const rest = all.slice(Math.min(range.start.line + lines.length, last + 1), last + 1);
  return [...all.slice(0, range.start.line), ...lines, ...rest, ...all.slice(last + 1)].join(
    document.eol === vscode.EndOfLine.CRLF ? "\r\n" : "\n",
  );
}

function place({ first, old }: Hunk): string {
  return old.length < 2 ? `Line ${first + 1}` : `Lines ${first + 1} to ${first + old.length}`;
}

function percent({ probability }: Hunk): string {
  return probability === null ? "not read" : `${Math.round(100 * probability)} % probable`;
}

function firstLine(hunk: Hunk): string {
  const first = hunk.new.find((line) => line.trim() !== "")?.trim() ?? "";
  const more = hunk.new.length > 1 || first.length > MAX_SHOWN ? " …" : "";
  return hunk.new.length === 0 ? "delete" : `${first.slice(0, MAX_SHOWN)}${more}`;
}

function rangeOf({ range: { start, end } }: Hunk): vscode.Range {
  return new vscode.Range(start.line, start.character, end.line, end.character);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
