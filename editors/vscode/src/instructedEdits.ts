/** Edits by instruction: a prompt at the selection, the new text as a diff while it comes, then a choice of its changes. */

import * as vscode from "vscode";
import type { Position } from "vscode-languageclient/node";
import { chosenInstruction, type MarkedItem, matching } from "./chosenInstruction";
import { choices, type HunkChoice } from "./hunkChoices";
import { DOCUMENTS, type LanguageServer, reason } from "./languageServer";
import { ApplyCodeRequest, type Hunk, type InstructedEdit, InstructedEditRequest } from "./protocol";

const SCHEME = "pellucid-edit";

/** The instructions that are kept, the newest first. */
const MAX_HISTORY = 50;
const HISTORY = "instructions";

const APPLIED = "Code from the chat";
const ASK_AGAIN = "Ask Again";
const ANOTHER: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("refresh"), tooltip: "Ask again with another seed" };

interface Selection {
  readonly document: vscode.TextDocument;
  readonly version: number;
  readonly range: vscode.Range;
}

export class InstructedEdits implements vscode.Disposable {
  private readonly preview = new Preview();

  constructor(
    private readonly server: LanguageServer,
    private readonly memory: vscode.Memento,
  ) {}

  /** Asks for an instruction, and edits the selected lines by it. */
  async instruct(): Promise<void> {
    const selected = this.selected();
    const instruction = await this.ask(selected.range);
    if (instruction !== undefined) {
      await this.edit(selected, instruction);
    }
  }

  /** Compares code of a chat with the active editor's document, or with what is selected there, and makes the changes that the user chooses. */
  async apply(code: string): Promise<void> {
    const selected = this.selected();
    const { document, range } = selected;
    const where = range.isEmpty ? {} : { range: { start: place(range.start), end: place(range.end) } };
    const made = await this.server.request(ApplyCodeRequest, { textDocument: { uri: document.uri.toString() }, code, ...where });
    if (made.reason !== null) {
      throw new Error(made.reason);
    }
    await this.make(selected, async () => {
      await this.preview.open(selected, APPLIED);
      this.preview.show(replaced(document, made.hunks));
      const chosen = await pick(APPLIED, made, []);
      return chosen === "another" ? [] : chosen;
    });
  }

  dispose(): void {
    this.preview.dispose();
  }

  /** Returns what is selected in the active editor. Throws an Error with a sentence if it cannot be edited. */
  private selected(): Selection {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined) {
      throw new Error("Open a file and select the lines to change.");
    }
    this.server.requireRunning();
    const { document, selection } = editor;
    if (vscode.languages.match(DOCUMENTS, document) === 0) {
      throw new Error("Pellucid edits files and untitled documents only: save this document as a file first.");
    }
    return { document, version: document.version, range: new vscode.Range(selection.start, selection.end) };
  }

  /** Shows the edit, and makes the changes that the user chooses. */
  private edit(selected: Selection, instruction: string, seed?: number): Promise<void> {
    return this.make(selected, () => this.choose(selected, instruction, seed));
  }

  private async make(selected: Selection, choose: () => Promise<readonly Hunk[]>): Promise<void> {
    let chosen: readonly Hunk[];
    try {
      chosen = await choose();
    } finally {
      await this.preview.close();
    }
    if (chosen.length > 0) {
      await make(selected, chosen);
    }
  }

  /** Returns the changes that the user wants, after as many answers as seeds are asked for. */
  private async choose(selected: Selection, instruction: string, first?: number): Promise<readonly Hunk[]> {
    for (let seed = first; ; seed = anySeed()) {
      const made = await this.stream(selected, instruction, seed);
      if (made === undefined) {
        return [];
      }
      if (made.reason !== null) {
        void this.offerAgain(selected, instruction, made.reason);
        return [];
      }
      requireUnchanged(selected);
      this.preview.show(replaced(selected.document, made.hunks));
      const chosen = await pick(instruction, made, [ANOTHER]);
      if (chosen !== "another") {
        return chosen;
      }
      requireUnchanged(selected);
    }
  }

  /** Says why nothing was changed, in a message that may stay unanswered, and asks again if the user wants that. */
  private async offerAgain(selected: Selection, instruction: string, why: string): Promise<void> {
    if ((await vscode.window.showInformationMessage(why, ASK_AGAIN)) !== ASK_AGAIN) {
      return;
    }
    try {
      requireUnchanged(selected);
      await this.edit(selected, instruction, anySeed());
    } catch (error) {
      void vscode.window.showErrorMessage(reason(error));
    }
  }

  /** Returns the edit, or undefined if the user has cancelled it. The box that shows the progress has the focus, so that Escape cancels. */
  private async stream(selected: Selection, instruction: string, seed: number | undefined): Promise<InstructedEdit | undefined> {
    const { document, range } = selected;
    const partialResultToken = `instruct-${Date.now()}`;
    const params = {
      textDocument: { uri: document.uri.toString() },
      range: { start: place(range.start), end: place(range.end) },
      instruction,
      partialResultToken,
      ...(seed === undefined ? {} : { seed }),
    };
    const lines: string[] = [];
    const progress = this.server.onLines(partialResultToken, (come) => {
      lines.push(...come);
      this.preview.show(withLines(document, range, lines));
    });
    const cancelling = new vscode.CancellationTokenSource();
    const waiting = vscode.window.createQuickPick();
    Object.assign(waiting, { title: instruction, placeholder: "Writing… Escape cancels.", busy: true, ignoreFocusOut: true });
    const cancelled = new Promise<undefined>((resolve) => {
      waiting.onDidHide(() => {
        cancelling.cancel();
        resolve(undefined);
      });
    });
    waiting.show();
    try {
      await this.preview.open(selected, instruction);
      if (cancelling.token.isCancellationRequested) {
        return undefined;
      }
      const made = this.server.request(InstructedEditRequest, params, cancelling.token);
      made.catch(() => undefined); // of a request that was cancelled
      return await Promise.race([made, cancelled]);
    } finally {
      progress.dispose();
      waiting.dispose();
      cancelling.dispose();
    }
  }

  /** Returns an instruction that is typed, or chosen from earlier ones. */
  private ask(selection: vscode.Range): Promise<string | undefined> {
    const earlier = this.memory.get<string[]>(HISTORY, []);
    const input = vscode.window.createQuickPick();
    input.title = selection.isEmpty ? "Insert code here" : `Change ${count(lastLine(selection) - selection.start.line + 1, "line")}`;
    input.placeholder = "What should change? For example: handle an empty list";
    const items = earlier.map((label) => ({ label }));
    input.items = items;
    let marked: MarkedItem = { label: earlier[0] ?? "", value: "" };
    input.onDidChangeActive(([item]) => {
      marked = { label: item?.label ?? "", value: input.value };
    });
    input.onDidChangeValue((value) => {
      const typed = { label: value, alwaysShow: true };
      input.items = value.trim() === "" ? items : [typed, ...matching(earlier, value).map((label) => ({ label }))];
      input.activeItems = input.items.slice(0, 1);
    });
    return new Promise((resolve) => {
      input.onDidAccept(() => {
        const instruction = chosenInstruction(input.value, marked, earlier);
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
  readonly onDidChange = this.changed.event;
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this); // after onDidChange, which is read here
  private uri: vscode.Uri | undefined;
  private text = "";

  provideTextDocumentContent(): string {
    return this.text;
  }

  /** Shows the user's text on both sides. */
  async open({ document, range }: Selection, instruction: string): Promise<void> {
    if (this.uri !== undefined) {
      this.show(document.getText());
      return;
    }
    this.text = document.getText();
    this.uri = document.uri.with({ scheme: SCHEME, query: String(Date.now()) });
    const selection = new vscode.Range(range.start, range.start);
    const options = { preview: false, preserveFocus: true, selection }; // a preview would take the place of the user's tab if that is one
    await vscode.commands.executeCommand("vscode.diff", document.uri, this.uri, `Pellucid: ${instruction}`, options);
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

/** Returns the changes that the user marks, and "another" for an edit with another seed. What breaks the syntax has no mark yet. */
function pick(
  title: string,
  { hunks, note }: InstructedEdit,
  buttons: readonly vscode.QuickInputButton[],
): Promise<readonly Hunk[] | "another"> {
  const input = vscode.window.createQuickPick<HunkChoice>();
  input.title = title;
  input.placeholder = `${note === null ? "" : `${note} `}Space marks a change or not, Enter makes the marked ones, Escape makes none`;
  input.canSelectMany = true;
  input.items = choices(hunks);
  input.selectedItems = input.items.filter(({ picked }) => picked);
  input.buttons = buttons;
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
      resolve([]);
      input.dispose();
    });
    input.show();
  });
}

function anySeed(): number {
  return Math.floor(Math.random() * 2 ** 31);
}

/** Throws an Error with a sentence if the document has changed since it was selected. */
function requireUnchanged({ document, version }: Selection): void {
  if (document.version !== version) {
    throw new Error("The document has changed since you selected the lines, so nothing was changed: ask again.");
  }
}

/** Makes changes, which one undo takes back. Throws an Error with a sentence if the document does not allow it. */
async function make(selected: Selection, hunks: readonly Hunk[]): Promise<void> {
  requireUnchanged(selected);
  const { document } = selected;
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

/** Returns the document's text with the lines so far in place of the first selected ones that are not blank, or above the cursor's line. */
function withLines(document: vscode.TextDocument, range: vscode.Range, lines: readonly string[]): string {
  const all = document.getText().split(/\r?\n/);
  const last = lastLine(range);
  const isBlank = (line: number): boolean => all[line]?.trim() === "";
  const end = range.isEmpty && !isBlank(last) ? range.start.line : last + 1;
  let first = range.start.line;
  while (first < last && isBlank(first)) {
    first++;
  }
  const rest = all.slice(Math.min(first + lines.length, end), end);
  return [...all.slice(0, first), ...lines, ...rest, ...all.slice(end)].join(document.eol === vscode.EndOfLine.CRLF ? "\r\n" : "\n");
}

/** Returns the last line that a range has a part of. */
function lastLine({ start, end }: vscode.Range): number {
  return end.character === 0 && end.line > start.line ? end.line - 1 : end.line;
}

/** Returns a place as the protocol has it; VS Code's own becomes an array in JSON if it is within a range. */
function place({ line, character }: vscode.Position): Position {
  return { line, character };
}

function rangeOf({ range: { start, end } }: Hunk): vscode.Range {
  return new vscode.Range(start.line, start.character, end.line, end.character);
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
