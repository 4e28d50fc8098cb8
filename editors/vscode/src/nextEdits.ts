/**
 * Edits that may come next: marked in the margin, the next one shown with its probability, reached and made by one key.
 *
 * If none is left in the document, the first place in another file is shown at the cursor, and the key goes there.
 */

import * as vscode from "vscode";
import { DOCUMENTS, type LanguageServer } from "./languageServer";
import { type NextEdit, NextEditsElsewhereRequest, NextEditsRequest, type Place, ServerCommand } from "./protocol";
import { SECTION } from "./settings";

/** The wait between a change and the request. */
const WAIT_MS = 400;

/** Set while an edit is shown, for the keys. */
const CONTEXT = `${SECTION}.hasNextEdit`;

/** The progress of a search that the user has asked for. */
const SEARCH = {
  location: vscode.ProgressLocation.Notification,
  title: "Pellucid: searching for next edits",
  cancellable: true,
};

/** The most characters of a new line that are shown. */
const MAX_SHOWN = 80;

/** What is known of a document since the last change of any. */
interface Known {
  readonly version: number;
  readonly edits: readonly NextEdit[];
  /** Places in other files; undefined before they were searched. */
  readonly places: readonly Place[] | undefined;
}

/** The last change. It is settled once the cursor leaves its line, or the document is saved or left. */
interface Change {
  readonly document: vscode.TextDocument;
  readonly line: number;
  settled: boolean;
}

interface Choice extends vscode.QuickPickItem {
  run: () => unknown;
}

export class NextEdits implements vscode.Disposable {
  private readonly mark: vscode.TextEditorDecorationType;
  private readonly next: vscode.TextEditorDecorationType;
  private readonly elsewhere: vscode.TextEditorDecorationType;
  private readonly subscriptions: vscode.Disposable[];
  private timer: NodeJS.Timeout | undefined;
  private running: vscode.CancellationTokenSource | undefined;
  private readonly known = new Map<vscode.TextDocument, Known>();
  private change: Change | undefined;
  /** True while a suggested edit is made. */
  private making = false;

  constructor(
    extension: vscode.Uri,
    private readonly server: LanguageServer,
  ) {
    this.mark = vscode.window.createTextEditorDecorationType({
      gutterIconPath: vscode.Uri.joinPath(extension, "media", "edit.svg"),
      gutterIconSize: "80%",
      overviewRulerColor: new vscode.ThemeColor("editorInfo.foreground"),
      overviewRulerLane: vscode.OverviewRulerLane.Right,
    });
    this.next = vscode.window.createTextEditorDecorationType({
      backgroundColor: new vscode.ThemeColor("diffEditor.removedTextBackground"),
    });
    this.elsewhere = vscode.window.createTextEditorDecorationType({});
    this.subscriptions = [
      this.mark,
      this.next,
      this.elsewhere,
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges: [change] }) => {
        const isActive = document === vscode.window.activeTextEditor?.document;
        if (change !== undefined && isActive && vscode.languages.match(DOCUMENTS, document) > 0) {
          const line = change.range.start.line + change.text.split("\n").length - 1;
          this.change = { document, line, settled: this.making };
          this.known.clear();
          this.requestSoon(document);
        }
      }),
      vscode.workspace.onDidSaveTextDocument((document) => this.settle(document)),
      vscode.workspace.onDidCloseTextDocument((document) => this.known.delete(document)),
      vscode.window.onDidChangeTextEditorSelection(({ textEditor: { document }, selections: [selection] }) => {
        if (selection !== undefined && document === vscode.window.activeTextEditor?.document) {
          this.moveTo(selection.active.line, document);
        }
      }),
      vscode.window.onDidChangeActiveTextEditor((editor) => this.enter(editor?.document)),
    ];
  }

  /** Goes to the next edit or, if the cursor is on its line already, makes it. Without one here, opens the next file with one or, if none is known, lists all. */
  async goOrMake(): Promise<void> {
    const { editor, edit, place } = this.current();
    if (editor === undefined || edit === undefined) {
      await (editor === undefined || place === undefined ? this.list() : this.open(editor.document, place));
      return;
    }
    const range = rangeOf(edit);
    if (editor.selection.active.line !== lineOf(edit, editor.document)) {
      reveal(editor, edit);
      return;
    }
    this.making = true;
    let made: boolean;
    try {
      made = await editor.edit((change) => change.replace(range, edit.text));
    } finally {
      this.making = false;
    }
    if (!made) {
      throw new Error("VS Code refused to change the document: check whether it is read-only.");
    }
    await this.server.execute(ServerCommand.editAccepted, edit.id);
  }

  /** Does not suggest the next edit again, and shows the one after it. */
  async dismiss(): Promise<void> {
    const { editor, edit, place } = this.current();
    const next = edit ?? place;
    if (editor !== undefined && next !== undefined) {
      this.drop(editor.document, next);
      this.searchOtherFiles(editor.document);
      await this.server.execute(ServerCommand.editDismissed, next.id);
    }
  }

  /** Lists the next edits of this document and of other files, and goes to the one that the user chooses. */
  async list(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined || vscode.languages.match(DOCUMENTS, editor.document) === 0) {
      void vscode.window.showInformationMessage("Open a file first.");
      return;
    }
    this.cancel();
    const { document } = editor;
    const version = document.version;
    const found = await vscode.window.withProgress(SEARCH, async (_, token) => {
      try {
        return { edits: await this.editsOf(editor, token), places: await this.placesElsewhere(document, token) };
      } catch (error) {
        if (token.isCancellationRequested) {
          return undefined;
        }
        throw error;
      }
    });
    if (found === undefined || vscode.window.activeTextEditor !== editor) {
      return;
    }
    const { edits, places } = found;
    if (document.version !== version) {
      void vscode.window.showInformationMessage("The document has changed. List the edits again.");
      return;
    }
    if (edits.length + places.length === 0) {
      void vscode.window.showInformationMessage('No edit is suggested. The command "Explain the Next Edits" says why.');
      return;
    }
    this.known.set(document, { version, edits, places });
    this.draw();
    const items: Choice[] = [
      ...edits.map((edit) => choice(document.uri, lineOf(edit, document), newLines(edit), edit.probability, () => reveal(editor, edit))),
      ...places.map((place) =>
        choice(vscode.Uri.parse(place.uri), place.line, place.new, place.probability, () => this.open(document, place)),
      ),
    ];
    const options = { title: "Next edits", placeHolder: "Choose one to go there", matchOnDescription: true };
    await (await vscode.window.showQuickPick(items, options))?.run();
  }

  dispose(): void {
    this.cancel();
    this.known.clear();
    this.draw();
    this.subscriptions.forEach((one) => one.dispose());
  }

  /** Searches other files once the last change is settled. */
  private settle(document: vscode.TextDocument): void {
    if (this.change?.document === document && !this.change.settled) {
      this.change.settled = true;
      this.searchOtherFiles(document);
    }
  }

  /** Makes an edit in the cursor's line the next one, and draws a place elsewhere at the end of that line. */
  private moveTo(line: number, document: vscode.TextDocument): void {
    if (line !== this.change?.line) {
      this.settle(document);
    }
    const known = this.known.get(document);
    const index = known?.edits.findIndex((edit) => lineOf(edit, document) === line) ?? -1;
    if (known !== undefined && index > 0) {
      this.known.set(document, { ...known, edits: [...known.edits.slice(index), ...known.edits.slice(0, index)] });
      this.draw();
    } else if (this.current().place !== undefined) {
      this.draw();
    }
  }

  /** Draws what is known of a document that is active now, or requests its edits: the last edit of another one may be repeated there. */
  private enter(document: vscode.TextDocument | undefined): void {
    this.cancel();
    this.draw();
    if (this.change === undefined || document === undefined || vscode.languages.match(DOCUMENTS, document) === 0) {
      return;
    }
    if (document !== this.change.document) {
      this.change.settled = true;
    }
    if (this.known.get(document)?.version === document.version) {
      this.searchIfSettled(document);
    } else {
      this.requestSoon(document);
    }
  }

  private requestSoon(document: vscode.TextDocument): void {
    this.cancel();
    this.draw();
    this.timer = setTimeout(() => void this.request(document), WAIT_MS);
  }

  private async request(document: vscode.TextDocument): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!this.server.running || editor?.document !== document || editor.selections.length > 1) {
      return;
    }
    await this.runInBackground(async (token) => {
      const version = document.version;
      const edits = await this.editsOf(editor, token);
      if (!token.isCancellationRequested && document.version === version) {
        this.known.set(document, { version, edits, places: undefined });
        this.draw();
      }
    });
    this.searchIfSettled(document);
  }

  private searchIfSettled(document: vscode.TextDocument): void {
    if (this.change?.document === document && this.change.settled) {
      this.searchOtherFiles(document);
    }
  }

  /** Searches other files if this document is known to have no edits. */
  private searchOtherFiles(document: vscode.TextDocument): void {
    const known = this.known.get(document);
    const isActive = document === vscode.window.activeTextEditor?.document;
    if (!isActive || known?.version !== document.version || known.edits.length > 0 || known.places !== undefined) {
      return;
    }
    void this.runInBackground(async (token) => {
      const places = await this.placesElsewhere(document, token);
      if (!token.isCancellationRequested && this.known.get(document) === known) {
        this.known.set(document, { ...known, places });
        this.draw();
      }
    });
  }

  /** Runs what the user has not asked for: the next change or another document cancels it, and its errors are only logged. */
  private async runInBackground(run: (token: vscode.CancellationToken) => Promise<void>): Promise<void> {
    this.running?.cancel();
    const running = (this.running = new vscode.CancellationTokenSource());
    try {
      await run(running.token);
    } catch (error) {
      this.server.log.debug(String(error));
    } finally {
      running.dispose();
    }
  }

  /** Returns the edits of a document; if the last change was in another one, from the cursor on. */
  private async editsOf({ document, selection }: vscode.TextEditor, token: vscode.CancellationToken): Promise<readonly NextEdit[]> {
    const { line, character } = selection.active;
    const where = this.change?.document === document ? {} : { position: { line, character } };
    return (await this.server.request(NextEditsRequest, { textDocument: { uri: document.uri.toString() }, ...where }, token)).edits;
  }

  private async placesElsewhere(document: vscode.TextDocument, token: vscode.CancellationToken): Promise<readonly Place[]> {
    return (await this.server.request(NextEditsElsewhereRequest, { textDocument: { uri: document.uri.toString() } }, token)).places;
  }

  /** Opens another file at a place. There the edit is requested again, for the text that the file has then. */
  private async open(from: vscode.TextDocument, place: Place): Promise<void> {
    const start = new vscode.Position(place.line, 0);
    try {
      await vscode.window.showTextDocument(vscode.Uri.parse(place.uri), { selection: new vscode.Range(start, start) });
    } catch (error) {
      this.drop(from, place);
      await this.server.execute(ServerCommand.editDismissed, place.id);
      throw error;
    }
  }

  /** Forgets an edit of a document, or a place that was found for it. */
  private drop(document: vscode.TextDocument, next: NextEdit | Place): void {
    const known = this.known.get(document);
    if (known !== undefined) {
      const edits = known.edits.filter(({ id }) => id !== next.id);
      this.known.set(document, { ...known, edits, places: known.places?.filter(({ id }) => id !== next.id) });
      this.draw();
    }
  }

  /** Returns the active editor, and its next edit or the next place elsewhere, if they are known. */
  private current(): { editor?: vscode.TextEditor; edit?: NextEdit | undefined; place?: Place | undefined } {
    const editor = vscode.window.activeTextEditor;
    const known = editor && this.known.get(editor.document);
    if (known?.version !== editor?.document.version) {
      return {};
    }
    const edit = known?.edits[0];
    return editor === undefined ? {} : { editor, edit, place: edit === undefined ? known?.places?.[0] : undefined };
  }

  private cancel(): void {
    clearTimeout(this.timer);
    this.running?.cancel();
  }

  private draw(): void {
    const { editor, edit, place } = this.current();
    for (const visible of vscode.window.visibleTextEditors) {
      const isHere = visible === editor;
      const edits = isHere && edit !== undefined ? (this.known.get(editor.document)?.edits ?? []) : [];
      visible.setDecorations(this.mark, edits.map(rangeOf));
      visible.setDecorations(this.next, isHere && edit !== undefined ? [editDecoration(edit, editor.document)] : []);
      visible.setDecorations(this.elsewhere, isHere && place !== undefined ? [placeDecoration(place, editor)] : []);
    }
    void vscode.commands.executeCommand("setContext", CONTEXT, edit !== undefined || place !== undefined);
  }
}

function rangeOf({ range: { start, end } }: NextEdit): vscode.Range {
  return new vscode.Range(start.line, start.character, end.line, end.character);
}

/** Returns the line of an edit; the last one for lines that are added at the end. */
function lineOf(edit: NextEdit, document: vscode.TextDocument): number {
  return Math.min(edit.range.start.line, document.lineCount - 1);
}

/** Returns the new lines of an edit. Whole lines that are inserted have an end that is no line of its own. */
function newLines(edit: NextEdit): string[] {
  return edit.text.replace(/^\r?\n|\r?\n$/g, "").split(/\r?\n/);
}

/** Moves the cursor to the line of an edit. */
function reveal(editor: vscode.TextEditor, edit: NextEdit): void {
  const start = editor.document.lineAt(lineOf(edit, editor.document)).range.start;
  editor.selection = new vscode.Selection(start, start);
  editor.revealRange(rangeOf(edit), vscode.TextEditorRevealType.InCenterIfOutsideViewport);
}

function choice(file: vscode.Uri, line: number, lines: readonly string[], probability: number, run: () => unknown): Choice {
  const label = summary(lines).replaceAll("$(", "$\u200b("); // which would be an icon
  return { label, description: `${vscode.workspace.asRelativePath(file)}:${line + 1}  ${percent(probability)}`, run };
}

function percent(probability: number): string {
  return `${Math.round(100 * probability)} %`;
}

/** Returns the first of the new lines, shortened. */
function summary(lines: readonly string[]): string {
  const first = (lines[0] ?? "").trim();
  return lines.join("") === "" ? "delete" : `${first.slice(0, MAX_SHOWN)}${lines.length > 1 || first.length > MAX_SHOWN ? " …" : ""}`;
}

/** Returns how an edit is shown: the old text marked, the new text and the probability at the end of its last line. */
function editDecoration(edit: NextEdit, document: vscode.TextDocument): vscode.DecorationOptions {
  return {
    range: document.validateRange(rangeOf(edit)),
    hoverMessage: hover(`${percent(edit.probability)} probable`, edit.text, document.languageId),
    renderOptions: atLineEnd(`${summary(newLines(edit))}  ${percent(edit.probability)}`),
  };
}

/** Returns how a place in another file is shown: at the end of the cursor's line. */
function placeDecoration(place: Place, editor: vscode.TextEditor): vscode.DecorationOptions {
  const { document, selection } = editor;
  const where = `${vscode.workspace.asRelativePath(vscode.Uri.parse(place.uri))}:${place.line + 1}`;
  const end = document.lineAt(selection.active.line).range.end;
  return {
    range: new vscode.Range(end, end),
    hoverMessage: hover(`${where}, ${percent(place.probability)} probable`, place.new.join("\n"), document.languageId),
    renderOptions: atLineEnd(`${where}  ${summary(place.new)}  ${percent(place.probability)}`),
  };
}

function hover(title: string, text: string, language: string): vscode.MarkdownString {
  return new vscode.MarkdownString().appendText(`Pellucid: ${title}`).appendCodeblock(text, language);
}

function atLineEnd(text: string): vscode.DecorationInstanceRenderOptions {
  return {
    after: {
      contentText: `  → ${text}`,
      color: new vscode.ThemeColor("editorGhostText.foreground"),
      backgroundColor: new vscode.ThemeColor("diffEditor.insertedTextBackground"),
    },
  };
}
