/** Shows why something was suggested, or not, and what code does, as Markdown documents. */

import * as vscode from "vscode";
import type { EditsExplanation, Explanation } from "./protocol";

const SCHEME = "pellucid-explanation";
const OF_SUGGESTION = vscode.Uri.from({ scheme: SCHEME, path: "/Explanation of the last suggestion.md" });
const OF_EDITS = vscode.Uri.from({ scheme: SCHEME, path: "/Explanation of the next edits.md" });
const OF_CODE = vscode.Uri.from({ scheme: SCHEME, path: "/Explanation of the code.md" });

/** VS Code's own extension for Markdown, which a user can switch off. */
const MARKDOWN = "vscode.markdown-language-features";

const SOURCES = { model: "generated now", recent: "the rest of an earlier suggestion", ahead: "generated ahead of time" };

/** The documents with the last requested explanation of a suggestion, of next edits and of code. */
export class Explanations implements vscode.TextDocumentContentProvider, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<vscode.Uri>();
  readonly onDidChange = this.changed.event;
  private readonly registration = vscode.workspace.registerTextDocumentContentProvider(SCHEME, this); // after onDidChange, which is read here
  private readonly texts = new Map<string, string>();
  private panel: vscode.WebviewPanel | undefined;

  provideTextDocumentContent(document: vscode.Uri): string {
    return this.texts.get(document.path) ?? "";
  }

  /** Opens the explanation of a suggestion, rendered. */
  async openSuggestion(explanation: Explanation): Promise<void> {
    await this.openRendered(OF_SUGGESTION, markdown(explanation));
  }

  /** Opens the explanation of next edits, rendered. */
  async openEdits(document: vscode.Uri, { reason, calibrationNote, changes }: EditsExplanation): Promise<void> {
    const parts = changes.map((one) => {
      const lines = [...one.old.map((line) => `- ${line}`), ...one.new.map((line) => `+ ${line}`)].join("\n");
      const other = vscode.Uri.parse(one.uri);
      const line = one.line + 1;
      const isHere = other.toString() === document.toString();
      const place = isHere ? `Line ${line}` : `${escaped(vscode.workspace.asRelativePath(other))}, line ${line}`;
      return `## ${place}: ${one.outcome}\n\n${escaped(one.reason)}\n\n${fenced(lines)}`;
    });
    const note = calibrationNote === null ? [] : [escaped(calibrationNote)];
    await this.openRendered(
      OF_EDITS,
      [`# Next edits in ${escaped(vscode.workspace.asRelativePath(document))}`, escaped(reason), ...note, ...parts]
        .join("\n\n")
        .concat("\n"),
    );
  }

  /** Opens the model's explanation of lines, from `first` on and before `end`. VS Code's preview would load images from the web. */
  async openCode(uri: string, first: number, end: number, text: string): Promise<void> {
    const place = `${vscode.workspace.asRelativePath(vscode.Uri.parse(uri))}:${first + 1}${end > first + 1 ? `-${end}` : ""}`;
    const explanation = `# ${escaped(place)}\n\n${text}\n`;
    if (vscode.extensions.getExtension(MARKDOWN) === undefined) {
      this.set(OF_CODE, explanation);
      await show(OF_CODE);
      return;
    }
    const html = await vscode.commands.executeCommand<string>("markdown.api.render", explanation);
    const where = { viewColumn: vscode.ViewColumn.Beside, preserveFocus: true };
    if (this.panel === undefined) {
      this.panel = vscode.window.createWebviewPanel("pellucid.explainedCode", "Explanation of the code", where);
      this.panel.onDidDispose(() => {
        this.panel = undefined;
      });
    }
    this.panel.webview.html = `<!DOCTYPE html><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
      <style>code { font-family: var(--vscode-editor-font-family); } pre { overflow: auto; }</style>${html}`;
    this.panel.reveal(where.viewColumn, where.preserveFocus);
  }

  private async openRendered(document: vscode.Uri, text: string): Promise<void> {
    this.set(document, text);
    if (vscode.extensions.getExtension(MARKDOWN) !== undefined) {
      await vscode.commands.executeCommand("markdown.showPreviewToSide", document);
    } else {
      await show(document);
    }
  }

  private set(document: vscode.Uri, text: string): void {
    this.texts.set(document.path, text);
    this.changed.fire(document);
  }

  dispose(): void {
    this.panel?.dispose();
    this.registration.dispose();
    this.changed.dispose();
  }
}

/** Opens a document next to the editor, which keeps the keyboard. */
async function show(uri: vscode.Uri): Promise<void> {
  const document = await vscode.workspace.openTextDocument(uri);
  await vscode.window.showTextDocument(document, { viewColumn: vscode.ViewColumn.Beside, preview: true, preserveFocus: true });
}

/** An explanation as Markdown. */
export function markdown(explanation: Explanation): string {
  const { outcome, reason, prompt } = explanation;
  return [
    `# ${outcome[0]?.toUpperCase()}${outcome.slice(1)}`,
    escaped(reason),
    facts(explanation),
    section("Suggested", fenced(explanation.shown)),
    section(
      "Answer of the model",
      explanation.answer && explanation.answer === explanation.shown ? "The same." : fenced(explanation.answer),
    ),
    section("Gate", gate(explanation)),
    section("Time", table(["stage", "ms"], entries(explanation.milliseconds, 1))),
    section("Tokens", tokens(explanation)),
    section("Prompt as the model read it", fenced(prompt?.text ?? null)),
    section("Before the cursor", fenced(prompt?.prefix ?? null)),
    section("After the cursor", fenced(prompt?.suffix ?? null)),
    ...(prompt?.extra ?? []).map(({ filename, text }) => section(`From ${code(filename)}`, fenced(text))),
  ]
    .filter((part) => part !== "")
    .join("\n\n")
    .concat("\n");
}

function facts({ uri, position, source, shape, ending }: Explanation): string {
  const place = `${vscode.workspace.asRelativePath(vscode.Uri.parse(uri))}:${position.line + 1}:${position.character + 1}`;
  const facts = [
    `Place: ${code(place)}`,
    source && `Source: ${SOURCES[source]}`,
    shape && `Shape: ${shape}`,
    ending && `Ending: ${ending}`,
  ];
  return facts
    .filter(Boolean)
    .map((fact) => `- ${fact}`)
    .join("\n");
}

function gate({ gate }: Explanation): string {
  if (gate === null) {
    return "";
  }
  const names = [...new Set([...Object.keys(gate.values), ...Object.keys(gate.thresholds)])];
  const rows = names.map((name) => [name, number(gate.values[name], 3), number(gate.thresholds[name], 3)]);
  return `Decided by: ${gate.by}. Level: ${gate.level ?? "none"}\n\n${table(["value", "measured", "threshold"], rows)}`;
}

function tokens({ usage }: Explanation): string {
  return usage === null ? "" : table(["cached", "computed", "generated"], [[usage.cached, usage.computed, usage.generated].map(String)]);
}

function section(title: string, body: string): string {
  return body === "" ? "" : `## ${title}\n\n${body}`;
}

function entries(record: Record<string, number>, digits: number): string[][] {
  return Object.entries(record).map(([name, value]) => [name, number(value, digits)]);
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? "" : String(Number(value.toFixed(digits)));
}

/** A table that is also readable as plain text. */
function table(head: string[], rows: string[][]): string {
  if (rows.length === 0) {
    return "";
  }
  const widths = head.map((name, column) => Math.max(name.length, 3, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: string[]): string => `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** A sentence in which no character is Markdown's. */
function escaped(text: string): string {
  return text.replace(/[\\`*_[\]<>#|~]/g, "\\$&");
}

/** A name as inline code. */
function code(text: string): string {
  return text.includes("`") ? `\`\` ${text} \`\`` : `\`${text}\``;
}

/** A text as a code block, in a fence longer than any inside it; an empty string for no text. */
function fenced(text: string | null): string {
  if (text === null || text === "") {
    return "";
  }
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}\n${text}\n${fence}`;
}
