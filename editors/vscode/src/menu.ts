/** The menu of the status bar item. */

import * as vscode from "vscode";
import type { Status } from "./protocol";
import { LEVELS, type Level, level, setLevel } from "./settings";

const MEANING: Record<Level, string> = {
  quiet: "only what the model is sure of",
  normal: "what the model is fairly sure of",
  eager: "also what the model is less sure of",
};

interface Choice extends vscode.QuickPickItem {
  run?: () => Thenable<unknown>;
}

export async function showMenu(status: Status | undefined): Promise<void> {
  const choice = await vscode.window.showQuickPick(choices(status), { title: "Pellucid", placeHolder: status?.message ?? "" });
  await choice?.run?.();
}

function choices(status: Status | undefined): Choice[] {
  return [
    command(status?.enabled === false ? "$(eye) Switch on everywhere" : "$(eye-closed) Switch off everywhere", "pellucid.toggleEverywhere"),
    command(
      status?.enabledHere === false ? "$(eye) Switch on in this workspace" : "$(eye-closed) Switch off in this workspace",
      "pellucid.toggleHere",
    ),
    heading("How sure the model must be"),
    ...LEVELS.map((one) => ({
      label: `${one === level() ? "$(check)" : "$(blank)"} ${one[0]?.toUpperCase()}${one.slice(1)}`,
      description: MEANING[one],
      run: () => setLevel(one),
    })),
    heading("Last suggestion"),
    command("$(graph) Show its tokens", "pellucid.showTokens"),
    command("$(question) Explain it", "pellucid.explainLast"),
    heading("Server"),
    command("$(comment-discussion) Chat", "pellucid.openChat"),
    command("$(mortar-board) Fine-tune the model to this workspace", "pellucid.fineTune"),
    command("$(debug-restart) Restart", "pellucid.restartServer"),
    command("$(globe) Open its page", "pellucid.openServerPage"),
    command("$(output) Show the log", "pellucid.showLog"),
  ];
}

function heading(label: string): Choice {
  return { label, kind: vscode.QuickPickItemKind.Separator };
}

function command(label: string, id: string): Choice {
  return { label, run: () => vscode.commands.executeCommand(id) };
}
