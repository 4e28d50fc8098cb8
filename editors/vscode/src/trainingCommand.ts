/** The command line that trains an adapter on a folder, made from that of the language server. */

import * as path from "node:path";
import type { Command } from "./executable";

const MAX_NAME = 64;

/** Returns the adapter's name and the command, or the reason why the folder cannot be trained on, as a sentence. */
export function trainingCommand({ program, args }: Command, folder: string): { name: string; command: Command } | string {
  if (args.at(-1) !== "lsp") {
    return 'A training runs the program in the setting pellucid.command, which has to end with "lsp" for it, as in "pellucid lsp".';
  }
  const name = adapterName(path.basename(folder));
  return { name, command: { program, args: [...args.slice(0, -1), "finetune", folder, "--name", name, "--replace"] } };
}

/** A folder's name with the characters, the beginning and the end that names of adapters may have. */
function adapterName(folder: string): string {
  const allowed = folder.replace(/[^A-Za-z0-9_.-]+/g, "-").replace(/^[.-]+/, "");
  return allowed.slice(0, MAX_NAME).replace(/\.+$/, "") || "workspace";
}
