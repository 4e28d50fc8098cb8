/** The last suggestion that was shown or accepted, with its document and the document's version. */

import * as vscode from "vscode";
import { ServerCommand } from "./protocol";

export interface Suggestion {
  readonly id: string;
  readonly item: vscode.InlineCompletionItem;
  readonly document: vscode.TextDocument;
  /** The document's version and the cursor when the suggestion was made. */
  readonly version: number;
  readonly position: vscode.Position;
  readonly accepted: boolean;
  /** The length of its sure beginning, if it has a doubtful rest; else 0. */
  readonly sure: number;
}

/** The context key by which Tab accepts the sure beginning. */
const HAS_DOUBTFUL_REST = "pellucid.hasDoubtfulRest";

/** Enough for an acceptance that is reported after the next suggestions were made. */
const MAX_REMEMBERED = 32;

/** Remembers the last suggestion and notifies listeners. */
export class LastSuggestion implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<Suggestion>();
  private readonly known = new Map<string, Suggestion>();
  private kept: Suggestion | undefined;

  readonly onDidChange = this.changed.event;
  current: Suggestion | undefined;

  /** Chooses the items that VS Code gets for a cursor from those of the server. VS Code shows the first. */
  offer(items: readonly vscode.InlineCompletionItem[], document: vscode.TextDocument, position: vscode.Position) {
    const kept = this.kept;
    this.kept = kept?.document === document && isCurrent(kept) && kept.position.isEqual(position) ? kept : undefined;
    const offered = this.kept ? [this.kept.item, ...items.filter((item) => item.insertText !== kept?.item.insertText)] : [...items];
    const suggestions = offered.flatMap((item) => suggestionOf(item, document, position) ?? []);
    suggestions.forEach((one) => this.remember(one));
    if (suggestions[0] !== undefined) {
      this.show(suggestions[0]);
    }
    void vscode.commands.executeCommand("setContext", HAS_DOUBTFUL_REST, (suggestions[0]?.sure ?? 0) > 0);
    return { offered, first: suggestions[0] };
  }

  /** Offers this suggestion before any other until its document or the cursor changes. */
  keep(suggestion: Suggestion): void {
    this.kept = suggestion;
  }

  /** Remembers a suggestion that the token view shows, but VS Code does not. */
  branched(suggestion: Suggestion): void {
    this.remember(suggestion);
    this.current = suggestion;
  }

  /** Marks a suggestion as accepted. The next one may already be on the screen. */
  accept(id: string): void {
    const suggestion = this.known.get(id);
    if (suggestion === undefined) {
      return;
    }
    const accepted = { ...suggestion, accepted: true };
    this.known.set(id, accepted);
    if (this.current?.id === id) {
      this.show(accepted);
    }
  }

  private remember(suggestion: Suggestion): void {
    this.known.set(suggestion.id, suggestion);
    for (const [id] of [...this.known].slice(0, -MAX_REMEMBERED)) {
      this.known.delete(id);
    }
  }

  private show(suggestion: Suggestion): void {
    this.current = suggestion;
    this.changed.fire(suggestion);
  }

  dispose(): void {
    this.changed.dispose();
  }
}

/** Returns the suggestion of an item, or undefined if the item is not from Pellucid. */
export function suggestionOf(
  item: vscode.InlineCompletionItem,
  document: vscode.TextDocument,
  position: vscode.Position,
): Suggestion | undefined {
  const id: unknown = item.command?.command === ServerCommand.accepted ? item.command.arguments?.[0] : undefined;
  if (typeof id !== "string") {
    return undefined;
  }
  const [, kind, length] = item.command?.arguments as unknown[];
  const sure = kind === "doubtful" && typeof length === "number" ? length : 0;
  return { id, item, document, version: document.version, position, accepted: false, sure };
}

/** Returns whether the document is still the one that the suggestion was made for. */
export function isCurrent({ document, version }: Suggestion): boolean {
  return !document.isClosed && document.version === version;
}

/** Inserts a suggestion into its document as if it had been accepted. Throws an Error with a sentence if that is no longer possible. */
export async function insert(suggestion: Suggestion): Promise<void> {
  const { document, item, position } = suggestion;
  const range = item.range ?? new vscode.Range(position, position);
  const text = typeof item.insertText === "string" ? item.insertText : item.insertText.value;
  const editor = await showDocument(document);
  if (!isCurrent(suggestion)) {
    throw new Error("The document has changed since this suggestion was made: request a new one.");
  }
  if (!(await editor.edit((edit) => edit.replace(range, text)))) {
    throw new Error("VS Code refused to change the document: check whether it is read-only.");
  }
  const end = document.positionAt(document.offsetAt(range.start) + lengthIn(document, text));
  editor.selection = new vscode.Selection(end, end);
  editor.revealRange(new vscode.Range(end, end));
  await vscode.commands.executeCommand(ServerCommand.accepted, suggestion.id);
}

/** Shows a document in the editor that already shows it. */
export function showDocument(document: vscode.TextDocument): Thenable<vscode.TextEditor> {
  const column = vscode.window.visibleTextEditors.find((editor) => editor.document === document)?.viewColumn;
  return vscode.window.showTextDocument(document, column);
}

/** Returns the length of a text after VS Code has replaced its line ends by those of the document. */
function lengthIn(document: vscode.TextDocument, text: string): number {
  const lineEnd = document.eol === vscode.EndOfLine.CRLF ? "\r\n" : "\n";
  return text.replace(/\r\n|\r|\n/g, lineEnd).length;
}
