/** Edits that may come next: marked in the margin, the next one shown with its probability, reached and made by one key. */

import * as vscode from "vscode";
import type { LanguageServer } from "./languageServer";
import { type NextEdit, NextEditsRequest, ServerCommand } from "./protocol";
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
}

export class NextEdits implements vscode.Disposable {
  private readonly place: vscode.TextEditorDecorationType;
  private readonly next: vscode.TextEditorDecorationType;
  private readonly subscriptions: vscode.Disposable[];
  private timer: NodeJS.Timeout | undefined;
  private shown: Shown | undefined;

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
    this.subscriptions = [
      this.place,
      this.next,
      vscode.workspace.onDidChangeTextDocument(({ document, contentChanges }) => {
        if (contentChanges.length > 0 && document === vscode.window.activeTextEditor?.document) {
          this.requestSoon(document);
        }
      }),
      vscode.window.onDidChangeActiveTextEditor(() => this.clear()),
    ];
  }

  /** Goes to the next edit or, if the cursor is on its line already, makes it. */
  async goOrMake(): Promise<void> {
    const [editor, edit] = this.current();
    if (editor === undefined || edit === undefined) {
      void vscode.window.showInformationMessage("No edit is suggested here.");
      return;
    }
    const range = rangeOf(edit);
    if (editor.selection.active.line !== Math.min(range.start.line, editor.document.lineCount - 1)) {
      const start = editor.document.lineAt(Math.min(range.start.line, editor.document.lineCount - 1)).range.start;
      editor.selection = new vscode.Selection(start, start);
      editor.revealRange(range, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
      return;
    }
    if (!(await editor.edit((change) => change.replace(range, edit.text)))) {
      throw new Error("VS Code refused to change the document: check whether it is read-only.");
    }
    await this.server.execute(ServerCommand.editAccepted, edit.id);
  }

  /** Does not suggest the next edit again, and shows the one after it. */
  async dismiss(): Promise<void> {
    const [, edit] = this.current();
    if (edit !== undefined && this.shown !== undefined) {
      this.show({ ...this.shown, edits: this.shown.edits.slice(1) });
      await this.server.execute(ServerCommand.editDismissed, edit.id);
    }
  }

  dispose(): void {
    this.clear();
    this.subscriptions.forEach((one) => one.dispose());
  }

  private requestSoon(document: vscode.TextDocument): void {
    this.clear();
    const version = document.version;
    this.timer = setTimeout(() => void this.request(document, version), WAIT_MS);
  }

  private async request(document: vscode.TextDocument, version: number): Promise<void> {
    const editor = vscode.window.activeTextEditor;
    if (!this.server.running || editor?.document !== document || editor.selections.length > 1) {
      return;
    }
    try {
      const { edits } = await this.server.request(NextEditsRequest, { textDocument: { uri: document.uri.toString() } });
      this.show({ document, version, edits });
    } catch (error) {
      this.server.log.debug(String(error)); // the user has not asked for an edit
    }
  }

  /** Returns the editor and the next edit, as long as they belong together. */
  private current(): [vscode.TextEditor | undefined, NextEdit | undefined] {
    const editor = vscode.window.activeTextEditor;
    const { document, version, edits } = this.shown ?? {};
    return editor?.document === document && document?.version === version ? [editor, edits?.[0]] : [undefined, undefined];
  }

  private clear(): void {
    clearTimeout(this.timer);
    if (this.shown !== undefined) {
      this.show(undefined);
    }
  }

  private show(shown: Shown | undefined): void {
    this.shown = shown;
    const [editor, next] = this.current();
    for (const visible of vscode.window.visibleTextEditors) {
      const edits = visible === editor ? (shown?.edits ?? []) : [];
      visible.setDecorations(this.place, edits.map(rangeOf));
      visible.setDecorations(this.next, next !== undefined && visible === editor ? [decoration(next, editor.document)] : []);
    }
    void vscode.commands.executeCommand("setContext", CONTEXT, next !== undefined);
  }
}

function rangeOf({ range: { start, end } }: NextEdit): vscode.Range {
  return new vscode.Range(start.line, start.character, end.line, end.character);
}

/** Returns how an edit is shown: the old text marked, the new text and the probability behind its last line. */
function decoration(edit: NextEdit, document: vscode.TextDocument): vscode.DecorationOptions {
  const percent = `${Math.round(100 * edit.probability)} %`;
  const lines = edit.text.replace(/^\r?\n|\r?\n$/g, "").split(/\r?\n/);
  const first = (lines[0] ?? "").trim();
  const shown = edit.text === "" ? "delete" : `${first.slice(0, MAX_SHOWN)}${lines.length > 1 || first.length > MAX_SHOWN ? " …" : ""}`;
  return {
    range: document.validateRange(rangeOf(edit)),
    hoverMessage: new vscode.MarkdownString().appendText(`Pellucid: ${percent} probable`).appendCodeblock(edit.text, document.languageId),
    renderOptions: {
      after: {
        contentText: `  → ${shown}  ${percent}`,
        color: new vscode.ThemeColor("editorGhostText.foreground"),
        backgroundColor: new vscode.ThemeColor("diffEditor.insertedTextBackground"),
      },
    },
  };
}
