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
  title: "Pellucid reads where your last edit may be repeated",
  cancellable: true,
};

/** The most characters of a new line that are shown. */
const MAX_SHOWN = 80;

interface Shown {
  readonly document: vscode.TextDocument;
  readonly version: number;
  readonly edits: readonly NextEdit[];
  /** Places in other files; none while there are edits here. */
  readonly places: readonly Place[];
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
  private shown: Shown | undefined;
  /** A document without edits: other files are searched when the cursor leaves the line, or the document is saved. */
  private waiting: { document: vscode.TextDocument; version: number; line: number } | undefined;
  /** Changes so far: without a new one, a document has no other edits than before. */
  private changes = 0;
  private readonly asked = new WeakMap<vscode.TextDocument, number>();
  private made = false;

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
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (contentChanges.length > 0 && document === vscode.window.activeTextEditor?.document) {
          this.changes++;
          this.shown = undefined;
          this.requestSoon(document, false);
        }
      }),
      vscode.workspace.onDidSaveTextDocument((document) => this.searchOtherFiles(document)),
      vscode.window.onDidChangeTextEditorSelection(({ textEditor, selections }) => {
        const { document } = textEditor;
        const line = selections[0]?.active.line;
        if (document === this.waiting?.document && line !== this.waiting.line) {
          this.searchOtherFiles(document);
        } else if (line !== undefined && textEditor === this.current().editor) {
          this.moveTo(line, document);
        }
      }),
      vscode.window.onDidChangeActiveTextEditor((editor) => this.enter(editor?.document)),
    ];
  }

  /** Goes to the next edit or, if the cursor is on its line already, makes it. Without one here, opens the next file with one. */
  async goOrMake(): Promise<void> {
    const { editor, edit, place } = this.current();
    if (editor === undefined || edit === undefined) {
      await (place === undefined ? this.list() : this.open(place));
      return;
    }
    const range = rangeOf(edit);
    if (editor.selection.active.line !== lineOf(edit, editor.document)) {
      reveal(editor, edit);
      return;
    }
    this.made = true;
    if (!(await editor.edit((change) => change.replace(range, edit.text)))) {
      throw new Error("VS Code refused to change the document: check whether it is read-only.");
    }
    await this.server.execute(ServerCommand.editAccepted, edit.id);
  }

  /** Does not suggest the next edit again, and shows the one after it. */
  async dismiss(): Promise<void> {
    const { editor, edit, place } = this.current();
    if (this.shown === undefined || editor === undefined) {
      return;
    }
    if (edit !== undefined) {
      await this.server.execute(ServerCommand.editDismissed, edit.id);
      this.show({ ...this.shown, edits: this.shown.edits.slice(1) });
      if (this.shown.edits.length === 0) {
        this.wait(editor);
        this.searchOtherFiles(editor.document);
      }
    } else if (place !== undefined) {
      await this.drop(place);
    }
  }

  /** Lists the next edits of this document and of other files, and goes to the one that the user chooses. */
  async list(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined || vscode.languages.match(DOCUMENTS, editor.document) === 0) {
      void vscode.window.showInformationMessage("Open a file first: Pellucid repeats your last edit elsewhere.");
      return;
    }
    this.cancel();
    const { document } = editor;
    const version = document.version;
    const found = await vscode.window.withProgress(SEARCH, async (_, token) => {
      const edits = await this.editsOf(document, token);
      return token.isCancellationRequested ? undefined : { edits, places: await this.placesElsewhere(document, token) };
    });
    if (found === undefined || vscode.window.activeTextEditor !== editor) {
      return;
    }
    const { edits, places } = found;
    if (document.version !== version) {
      void vscode.window.showInformationMessage("The document was changed meanwhile: list the edits again.");
      return;
    }
    if (edits.length + places.length === 0) {
      void vscode.window.showInformationMessage('No edit is suggested. The command "Explain the Next Edits" says why.');
      return;
    }
    this.show({ document, version, edits, places });
    const items: Choice[] = [
      ...edits.map((edit) => choice(document.uri, lineOf(edit, document), newLines(edit), edit.probability, () => reveal(editor, edit))),
      ...places.map((place) => choice(vscode.Uri.parse(place.uri), place.line, place.new, place.probability, () => this.open(place))),
    ];
    const options = { title: "Next edits", placeHolder: "Choose one to go there", matchOnDescription: true };
    await (await vscode.window.showQuickPick(items, options))?.run();
  }

  dispose(): void {
    this.cancel();
    this.show(undefined);
    this.subscriptions.forEach((one) => one.dispose());
  }

  /** Makes an edit in the cursor's line the next one, and draws a place elsewhere behind that line. */
  private moveTo(line: number, document: vscode.TextDocument): void {
    const { edits = [] } = this.shown ?? {};
    const index = edits.findIndex((edit) => lineOf(edit, document) === line);
    if (this.shown !== undefined && index > 0) {
      this.show({ ...this.shown, edits: [...edits.slice(index), ...edits.slice(0, index)] });
    } else if (edits.length === 0) {
      this.draw();
    }
  }

  /** Draws what is known of a document that is active now, or requests its edits: the last edit of another one may be repeated there. */
  private enter(document: vscode.TextDocument | undefined): void {
    this.cancel();
    this.draw();
    const isKnown = document === undefined || this.changes === 0 || this.asked.get(document) === this.changes;
    if (!isKnown && vscode.languages.match(DOCUMENTS, document) > 0) {
      this.requestSoon(document, true);
    }
  }

  private requestSoon(document: vscode.TextDocument, entered: boolean): void {
    this.cancel();
    this.draw();
    this.timer = setTimeout(() => void this.request(document, entered), WAIT_MS);
  }

  /** Requests the edits of a document; of one that was entered, those from the cursor on. */
  private async request(document: vscode.TextDocument, entered: boolean): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!this.server.running || editor?.document !== document || editor.selections.length > 1) {
      return;
    }
    await this.unasked(async (token) => {
      const version = document.version;
      this.asked.set(document, this.changes);
      const edits = await this.editsOf(document, token, entered ? editor.selection.active : undefined);
      if (token.isCancellationRequested || document.version !== version) {
        return;
      }
      if (edits.length > 0) {
        this.show({ document, version, edits, places: [] });
      } else if (!entered) {
        this.wait(editor);
      }
    });
    if (this.made) {
      this.made = false;
      this.searchOtherFiles(document);
    }
  }

  private wait({ document, selection }: vscode.TextEditor): void {
    this.waiting = { document, version: document.version, line: selection.active.line };
  }

  /** Searches other files if this document waits for that. */
  private searchOtherFiles(document: vscode.TextDocument): void {
    const waiting = this.waiting;
    if (waiting?.document !== document) {
      return;
    }
    this.waiting = undefined;
    const { version } = waiting;
    void this.unasked(async (token) => {
      const places = document.version === version ? await this.placesElsewhere(document, token) : [];
      if (!token.isCancellationRequested && document.version === version && places.length > 0) {
        this.show({ document, version, edits: [], places });
      }
    });
  }

  /** Runs what the user has not asked for: the next change or another document cancels it, and its errors are only logged. */
  private async unasked(run: (token: vscode.CancellationToken) => Promise<void>): Promise<void> {
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

  private async editsOf(
    document: vscode.TextDocument,
    token: vscode.CancellationToken,
    position?: vscode.Position,
  ): Promise<readonly NextEdit[]> {
    const where = position === undefined ? {} : { position: { line: position.line, character: position.character } };
    return (await this.server.request(NextEditsRequest, { textDocument: { uri: document.uri.toString() }, ...where }, token)).edits;
  }

  private async placesElsewhere(document: vscode.TextDocument, token: vscode.CancellationToken): Promise<readonly Place[]> {
    return (await this.server.request(NextEditsElsewhereRequest, { textDocument: { uri: document.uri.toString() } }, token)).places;
  }

  /** Opens another file at a place. There the edit is requested again, for the text that the file has then. */
  private async open(place: Place): Promise<void> {
    const start = new vscode.Position(place.line, 0);
    try {
      await vscode.window.showTextDocument(vscode.Uri.parse(place.uri), { selection: new vscode.Range(start, start) });
    } catch (error) {
      await this.drop(place);
      throw error;
    }
  }

  /** Does not suggest a place again. */
  private async drop(place: Place): Promise<void> {
    if (this.shown !== undefined) {
      this.show({ ...this.shown, places: this.shown.places.filter((one) => one.id !== place.id) });
    }
    await this.server.execute(ServerCommand.editDismissed, place.id);
  }

  /** Returns the editor, and its next edit or the next place elsewhere, as long as they belong together. */
  private current(): { editor?: vscode.TextEditor; edit?: NextEdit | undefined; place?: Place | undefined } {
    const editor = vscode.window.activeTextEditor;
    const { document, version, edits, places } = this.shown ?? {};
    if (editor === undefined || editor.document !== document || document.version !== version) {
      return {};
    }
    const edit = edits?.[0];
    return { editor, edit, place: edit === undefined ? places?.[0] : undefined };
  }

  private cancel(): void {
    clearTimeout(this.timer);
    this.running?.cancel();
    this.waiting = undefined;
  }

  private show(shown: Shown | undefined): void {
    this.shown = shown;
    this.draw();
  }

  private draw(): void {
    const { editor, edit, place } = this.current();
    for (const visible of vscode.window.visibleTextEditors) {
      const isHere = visible === editor;
      visible.setDecorations(this.mark, isHere ? (this.shown?.edits ?? []).map(rangeOf) : []);
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

/** Returns how an edit is shown: the old text marked, the new text and the probability behind its last line. */
function editDecoration(edit: NextEdit, document: vscode.TextDocument): vscode.DecorationOptions {
  return {
    range: document.validateRange(rangeOf(edit)),
    hoverMessage: hover(`${percent(edit.probability)} probable`, edit.text, document.languageId),
    renderOptions: behind(`${summary(newLines(edit))}  ${percent(edit.probability)}`),
  };
}

/** Returns how a place in another file is shown: behind the cursor's line. */
function placeDecoration(place: Place, editor: vscode.TextEditor): vscode.DecorationOptions {
  const { document, selection } = editor;
  const where = `${vscode.workspace.asRelativePath(vscode.Uri.parse(place.uri))}:${place.line + 1}`;
  const end = document.lineAt(selection.active.line).range.end;
  return {
    range: new vscode.Range(end, end),
    hoverMessage: hover(`${where}, ${percent(place.probability)} probable`, place.new.join("\n"), document.languageId),
    renderOptions: behind(`${where}  ${summary(place.new)}  ${percent(place.probability)}`),
  };
}

function hover(title: string, text: string, language: string): vscode.MarkdownString {
  return new vscode.MarkdownString().appendText(`Pellucid: ${title}`).appendCodeblock(text, language);
}

function behind(text: string): vscode.DecorationInstanceRenderOptions {
  return {
    after: {
      contentText: `  → ${text}`,
      color: new vscode.ThemeColor("editorGhostText.foreground"),
      backgroundColor: new vscode.ThemeColor("diffEditor.insertedTextBackground"),
    },
  };
}
