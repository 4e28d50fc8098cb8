/** The last suggestion: what was shown or accepted last, in which document and at which version of it. */

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
}

/** Enough for an acceptance that is told after the next suggestions were made. */
const MOST_REMEMBERED = 32;

/** Remembers the last suggestion and tells who wants to know. */
export class LastSuggestion implements vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<Suggestion>();
  private readonly known = new Map<string, Suggestion>();
  private kept: Suggestion | undefined;

  readonly onDidChange = this.changed.event;
  current: Suggestion | undefined;

  /** The items that VS Code gets for a cursor, of those that the server has. VS Code shows the first. */
  offer(items: readonly vscode.InlineCompletionItem[], document: vscode.TextDocument, position: vscode.Position) {
    const kept = this.kept;
    this.kept = kept?.document === document && isCurrent(kept) && kept.position.isEqual(position) ? kept : undefined;
    const offered = this.kept ? [this.kept.item, ...items.filter((item) => item.insertText !== kept?.item.insertText)] : [...items];
    const suggestions = offered.flatMap((item) => suggestionOf(item, document, position) ?? []);
    suggestions.forEach((one) => this.remember(one));
    if (suggestions[0] !== undefined) {
      this.show(suggestions[0]);
    }
    return { offered, first: suggestions[0] };
  }

  /** From now on this suggestion is offered before any other, as long as its document and the cursor stay as they are. */
  keep(suggestion: Suggestion): void {
    this.kept = suggestion;
  }

  /** A suggestion that the token view shows, and VS Code does not. */
  branched(suggestion: Suggestion): void {
    this.remember(suggestion);
    this.current = suggestion;
  }

  /** The suggestion is in the document now. The next one may be on the screen already. */
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
    for (const [id] of [...this.known].slice(0, -MOST_REMEMBERED)) {
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

/** The suggestion that an item stands for; none if the item is not one of Pellucid's. */
export function suggestionOf(
  item: vscode.InlineCompletionItem,
  document: vscode.TextDocument,
  position: vscode.Position,
): Suggestion | undefined {
  const id: unknown = item.command?.command === ServerCommand.accepted ? item.command.arguments?.[0] : undefined;
  if (typeof id !== "string") {
    return undefined;
  }
  return { id, item, document, version: document.version, position, accepted: false };
}

/** Whether the document is still what the suggestion was made for. */
export function isCurrent({ document, version }: Suggestion): boolean {
  return !document.isClosed && document.version === version;
}

/** Puts a suggestion into its document as if it had been accepted there. Throws an Error with a sentence where that cannot be done any more. */
export async function insert(suggestion: Suggestion): Promise<void> {
  const { document, item, position } = suggestion;
  const range = item.range ?? new vscode.Range(position, position);
  const text = typeof item.insertText === "string" ? item.insertText : item.insertText.value;
  const editor = await showDocument(document);
  if (!isCurrent(suggestion)) {
    throw new Error("The document has changed since this was suggested.");
  }
  if (!(await editor.edit((edit) => edit.replace(range, text)))) {
    throw new Error("VS Code did not let the document be changed.");
  }
  const end = document.positionAt(document.offsetAt(range.start) + lengthIn(document, text));
  editor.selection = new vscode.Selection(end, end);
  editor.revealRange(new vscode.Range(end, end));
  await vscode.commands.executeCommand(ServerCommand.accepted, suggestion.id);
}

/** Shows a document where it is shown already. */
export function showDocument(document: vscode.TextDocument): Thenable<vscode.TextEditor> {
  const column = vscode.window.visibleTextEditors.find((editor) => editor.document === document)?.viewColumn;
  return vscode.window.showTextDocument(document, column);
}

/** The length of a text once VS Code has given it the document's own line ends. */
function lengthIn(document: vscode.TextDocument, text: string): number {
  const lineEnd = document.eol === vscode.EndOfLine.CRLF ? "\r\n" : "\n";
  return text.replace(/\r\n|\r|\n/g, lineEnd).length;
}
