/** Finds the `pellucid` program: in the setting `pellucid.command`, in the workspace's `.venv`, or on the PATH. */

import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { homedir } from "node:os";
import * as path from "node:path";

export interface Command {
  program: string;
  args: string[];
}

export interface Surroundings {
  /** The workspace's folders; empty for an untrusted workspace, so that no program of it is run. */
  folders: string[];
  environment: NodeJS.ProcessEnv;
  windows: boolean;
}

/** Returns the program to run for the user's setting, which may be empty, or a sentence that says why there is none. */
export async function findCommand(setting: string[], around: Surroundings): Promise<Command | string> {
  const [program, ...args] = setting;
  if (program !== undefined) {
    const found = await findProgram(program, around);
    return found === undefined
      ? `Pellucid cannot run "${program}", the program in the setting pellucid.command.`
      : { program: found, args };
  }
  const found = (await findInEnvironments(around)) ?? (await findOnPath("pellucid", around));
  return found === undefined
    ? "Pellucid was not found in the workspace's .venv or on the PATH: install it, or set pellucid.command."
    : { program: found, args: ["lsp"] };
}

async function findProgram(program: string, around: Surroundings): Promise<string | undefined> {
  if (!/[\\/]/.test(program)) {
    return findOnPath(program, around);
  }
  if (program.startsWith("~/")) {
    return runnable(path.join(homedir(), program.slice(2)));
  }
  if (path.isAbsolute(program)) {
    return runnable(program);
  }
  return firstRunnable(around.folders.map((folder) => path.join(folder, program)));
}

function findInEnvironments({ folders, windows }: Surroundings): Promise<string | undefined> {
  const inside = windows ? [".venv", "Scripts", "pellucid.exe"] : [".venv", "bin", "pellucid"];
  return firstRunnable(folders.map((folder) => path.join(folder, ...inside)));
}

function findOnPath(program: string, { environment, windows }: Surroundings): Promise<string | undefined> {
  const folders = (environment["PATH"] ?? environment["Path"] ?? "").split(windows ? ";" : ":");
  const name = windows && path.extname(program) === "" ? `${program}.exe` : program;
  // A relative folder on the PATH would be a folder of the workspace.
  return firstRunnable(folders.filter((folder) => path.isAbsolute(folder)).map((folder) => path.join(folder, name)));
}

async function firstRunnable(files: string[]): Promise<string | undefined> {
  for (const file of files) {
    if ((await runnable(file)) !== undefined) {
      return file;
    }
  }
  return undefined;
}

async function runnable(file: string): Promise<string | undefined> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile() ? file : undefined;
  } catch {
    return undefined; // no such file, or not executable by this user
  }
}
