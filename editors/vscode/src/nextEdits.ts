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
  run?: () => unknown;
}

export class NextEdits implements vscode.Disposable {
  private readonly place: vscode.TextEditorDecorationType;
  private readonly next: vscode.TextEditorDecorationType;
  private readonly elsewhere: vscode.TextEditorDecorationType;
  private readonly subscriptions: vscode.Disposable[];
  private timer: NodeJS.Timeout | undefined;
  private shown: Shown | undefined;
  /** True once anything was edited: before, nothing can be repeated. */
  private edited = false;

  constructor(
    extension: vscode.Uri,
    private readonly server: LanguageServer,
  ) {
    this.place = vscode.window.createTextEditorDecorationType({
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
      this.place,
      this.next,
      this.elsewhere,
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (contentChanges.length > 0 && document === vscode.window.activeTextEditor?.document) {
          this.edited = true;
          this.requestSoon(document, true);
        }
      }),
      vscode.window.onDidChangeActiveTextEditor((editor) => {
        this.clear();
        if (editor !== undefined && this.edited && vscode.languages.match(DOCUMENTS, editor.document) > 0) {
          this.requestSoon(editor.document, false);
        }
      }),
    ];
  }

  /** Goes to the next edit or, if the cursor is on its line already, makes it. */
  async goOrMake(): Promise<void> {
    const { editor, edit, place } = this.current();
    if (editor === undefined || edit === undefined) {
      await (place === undefined ? this.list() : open(place));
      return;
    }
    const range = rangeOf(edit);
    if (editor.selection.active.line !== lineOf(edit, editor.document)) {
      reveal(editor, edit);
      return;
    }
    if (!(await editor.edit((change) => change.replace(range, edit.text)))) {
      throw new Error("VS Code refused to change the document: check whether it is read-only.");
    }
    await this.server.execute(ServerCommand.editAccepted, edit.id);
  }

  /** Does not suggest the next edit again, and shows the one after it. */
  async dismiss(): Promise<void> {
    const { edit, place } = this.current();
    const next = edit ?? place;
    if (next !== undefined && this.shown !== undefined) {
      const { edits, places } = this.shown;
      this.show({ ...this.shown, edits: edits.slice(1), places: edit === undefined ? places.slice(1) : places });
      await this.server.execute(ServerCommand.editDismissed, next.id);
    }
  }

  /** Lists the next edits of this document and of other files, and goes to the one that the user chooses. */
  async list(): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (editor === undefined) {
      void vscode.window.showInformationMessage("Open a file first: Pellucid repeats your last edit elsewhere.");
      return;
    }
    const about = { textDocument: { uri: editor.document.uri.toString() } };
    const title = "Pellucid: the model reads where your last edit may be repeated";
    const [edits, places] = await vscode.window.withProgress({ location: vscode.ProgressLocation.Window, title }, async () => [
      (await this.server.request(NextEditsRequest, about)).edits,
      (await this.server.request(NextEditsElsewhereRequest, about)).places,
    ]);
    if (edits.length + places.length === 0) {
      void vscode.window.showInformationMessage('No edit is suggested. The command "Explain the Next Edits" says why.');
      return;
    }
    const items: Choice[] = [
      ...edits.map((edit) =>
        choice(editor.document.uri, lineOf(edit, editor.document), newLines(edit), edit.probability, () => reveal(editor, edit)),
      ),
      ...places.map((place) => choice(vscode.Uri.parse(place.uri), place.line, place.new, place.probability, () => open(place))),
    ];
    const chosen = await vscode.window.showQuickPick(items, {
      title: "Next edits",
      placeHolder: "Choose one to go there",
      matchOnDescription: true,
    });
    await chosen?.run?.();
  }

  dispose(): void {
    this.clear();
    this.subscriptions.forEach((one) => one.dispose());
  }

  private requestSoon(document: vscode.TextDocument, elsewhere: boolean): void {
    this.clear();
    const version = document.version;
    this.timer = setTimeout(() => void this.request(document, version, elsewhere), WAIT_MS);
  }

  /** Requests the edits of a document; with `elsewhere` also those of other files, if it has none. */
  private async request(document: vscode.TextDocument, version: number, elsewhere: boolean): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!this.server.running || editor?.document !== document || editor.selections.length > 1) {
      return;
    }
    try {
      const about = { textDocument: { uri: document.uri.toString() } };
      const { edits } = await this.server.request(NextEditsRequest, about);
      const isCurrent = (): boolean => document.version === version && vscode.window.activeTextEditor?.document === document;
      const ask = elsewhere && edits.length === 0 && isCurrent();
      const places = ask ? (await this.server.request(NextEditsElsewhereRequest, about)).places : [];
      if (isCurrent()) {
        this.show({ document, version, edits, places });
      }
    } catch (error) {
      this.server.log.debug(String(error)); // the user has not asked for an edit
    }
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

  private clear(): void {
    clearTimeout(this.timer);
    if (this.shown !== undefined) {
      this.show(undefined);
    }
  }

  private show(shown: Shown | undefined): void {
    this.shown = shown;
    const { editor, edit, place } = this.current();
    for (const visible of vscode.window.visibleTextEditors) {
      const isHere = visible === editor;
      visible.setDecorations(this.place, isHere ? (shown?.edits ?? []).map(rangeOf) : []);
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

/** Opens another file at a place. There the edit is requested again, for the text that the file has then. */
async function open(place: Place): Promise<void> {
  const start = new vscode.Position(place.line, 0);
  await vscode.window.showTextDocument(vscode.Uri.parse(place.uri), { selection: new vscode.Range(start, start) });
}

function choice(file: vscode.Uri, line: number, lines: readonly string[], probability: number, run: () => unknown): Choice {
  return { label: summary(lines), description: `${vscode.workspace.asRelativePath(file)}:${line + 1}  ${percent(probability)}`, run };
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
