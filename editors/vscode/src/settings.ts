/** Reads the language server's settings, in the form in which they are sent. */

import * as vscode from "vscode";
import { type Command, findCommand } from "./executable";

export const SECTION = "pellucid";

/** Settings of this extension, which the server does not have. */
const OWN = ["command", "trace"];

/**
 * Returns all settings of the server. `statusNotifications` is always on, because the status bar needs `pellucid/didChangeStatus`, and so is
 * `doubtfulRests`, because Tab accepts the sure beginning of a suggestion by itself, and `findDefinitions`, which definitions.ts answers.
 */
export function serverSettings(resource?: vscode.Uri): Record<string, unknown> {
  const all = vscode.workspace.getConfiguration(SECTION, resource ?? null);
  const given = JSON.parse(JSON.stringify(all)) as Record<string, unknown>;
  const entries = Object.entries(given).filter(([name]) => !OWN.includes(name));
  return { ...Object.fromEntries(entries), statusNotifications: true, doubtfulRests: true, findDefinitions: true };
}

/** Returns the language server's command, or the reason why no program was found, as a sentence. */
export function configuredCommand(): Promise<Command | string> {
  return findCommand(vscode.workspace.getConfiguration(SECTION).get<string[]>("command", []), {
    folders: vscode.workspace.isTrusted ? (vscode.workspace.workspaceFolders ?? []).map((folder) => folder.uri.fsPath) : [],
    environment: process.env,
    windows: process.platform === "win32",
  });
}

export const LEVELS = ["quiet", "normal", "eager"] as const;
export type Level = (typeof LEVELS)[number];

export function level(): Level {
  return vscode.workspace.getConfiguration(SECTION).get<Level>("completion.level", "normal");
}

/** Sets the level where it is already set: in the workspace if it has its own, else for the user. */
export async function setLevel(level: Level): Promise<void> {
  const settings = vscode.workspace.getConfiguration(SECTION);
  const ofWorkspace = settings.inspect("completion.level")?.workspaceValue !== undefined;
  await settings.update("completion.level", level, ofWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global);
}

export function openSettings(name = ""): Thenable<unknown> {
  return vscode.commands.executeCommand("workbench.action.openSettings", `${SECTION}.${name}`);
}
