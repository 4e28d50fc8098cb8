/** Trains an adapter on a folder of the workspace, as a task in the terminal, and then offers it for the suggestions. */

import * as vscode from "vscode";
import type { Command } from "./executable";
import type { ModelServer } from "./modelServer";
import { SECTION, configuredCommand } from "./settings";
import { trainingCommand } from "./trainingCommand";

const USE = "Use It in This Workspace";

/** Trains the adapter of a folder. Throws an Error with a sentence for the user if that cannot be started, or has failed. */
export async function fineTune(models: ModelServer): Promise<void> {
  const folders = vscode.workspace.workspaceFolders ?? [];
  if (folders.length === 0) {
    throw new Error("No folder is open: open the folder with the code that the model is to be tuned to.");
  }
  const folder = folders.length === 1 ? folders[0] : await vscode.window.showWorkspaceFolderPick();
  if (folder === undefined) {
    return;
  }
  const command = await configuredCommand();
  const training = typeof command === "string" ? command : trainingCommand(command, folder.uri.fsPath);
  if (typeof training === "string") {
    throw new Error(training);
  }
  if ((await run(training.command, folder, training.name)) !== 0) {
    throw new Error(`The adapter ${training.name} was not made: see the terminal. The same command resumes an interrupted training.`);
  }
  const { id } = (await (await models.post("v1/adapters", { name: training.name })).json()) as { id: string };
  const sentence = `${id} is trained and loaded. The terminal shows how much better it reads files that it was not trained on.`;
  if ((await vscode.window.showInformationMessage(sentence, USE)) === USE) {
    await vscode.workspace.getConfiguration(SECTION).update("model", id, vscode.ConfigurationTarget.Workspace);
  }
}

/** Runs a training to its end, and returns its exit code. */
async function run({ program, args }: Command, folder: vscode.WorkspaceFolder, name: string): Promise<number | undefined> {
  const task = new vscode.Task({ type: "process" }, folder, `fine-tune ${name}`, "Pellucid", new vscode.ProcessExecution(program, args));
  let watch: vscode.Disposable | undefined;
  const exitCode = new Promise<number | undefined>((resolve) => {
    watch = vscode.tasks.onDidEndTaskProcess(({ execution, exitCode: code }) => {
      if (execution.task.name === task.name && execution.task.source === task.source) {
        resolve(code);
      }
    });
  });
  try {
    await vscode.tasks.executeTask(task);
    return await exitCode;
  } finally {
    watch?.dispose();
  }
}
