/** Looks up where names are defined, as VS Code's other language servers know. */

import * as vscode from "vscode";
import type { FindDefinitions, FoundDefinitions } from "./protocol";

type Found = FoundDefinitions["names"][number];

const PROVIDERS = ["vscode.executeDefinitionProvider", "vscode.executeTypeDefinitionProvider"];

/** Returns what is found. If the document has changed since, that is nothing, and the names are asked for again. */
export async function findDefinitions({ textDocument, names }: FindDefinitions): Promise<FoundDefinitions> {
  const { uri, version } = textDocument;
  const document = vscode.workspace.textDocuments.find((one) => one.uri.toString() === vscode.Uri.parse(uri).toString());
  if (document?.version !== version) {
    return { textDocument: { uri }, names: [] };
  }
  const found: Found[] = [];
  for (const { name, position } of names) {
    found.push({ name, definitions: await lookUp(document.uri, new vscode.Position(position.line, position.character)) });
  }
  return { textDocument: { uri }, names: found };
}

async function lookUp(uri: vscode.Uri, position: vscode.Position): Promise<Found["definitions"]> {
  const definitions: Found["definitions"] = [];
  let described = false;
  for (const provider of PROVIDERS) {
    for (const one of await ask<vscode.Location | vscode.LocationLink>(provider, uri, position)) {
      const [target, range] = "targetUri" in one ? [one.targetUri, one.targetSelectionRange ?? one.targetRange] : [one.uri, one.range];
      const [start, end] = [plain(range.start), plain(range.end)];
      const definition: Found["definitions"][number] = { uri: target.toString(), range: { start, end } };
      if (provider === PROVIDERS[0] && !described && vscode.workspace.getWorkspaceFolder(target) === undefined) {
        described = true;
        definition.description = await describe(uri, position);
      }
      definitions.push(definition);
    }
  }
  return definitions;
}

/** Returns a position as the protocol has it. */
function plain({ line, character }: vscode.Position): { line: number; character: number } {
  return { line, character };
}

/** Returns the first hover text of another extension: Pellucid's own describes tokens, without a block of code. */
async function describe(uri: vscode.Uri, position: vscode.Position): Promise<string> {
  const hovers = await ask<vscode.Hover>("vscode.executeHoverProvider", uri, position);
  const texts = hovers.flatMap((hover) => hover.contents).map((one) => (typeof one === "string" ? one : one.value));
  return texts.find((text) => text.includes("```")) ?? "";
}

/** Returns what the providers of all extensions answer; one that fails knows nothing. */
async function ask<Result>(command: string, uri: vscode.Uri, position: vscode.Position): Promise<Result[]> {
  try {
    return (await vscode.commands.executeCommand<Result[] | undefined>(command, uri, position)) ?? [];
  } catch {
    return [];
  }
}
