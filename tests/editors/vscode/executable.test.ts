import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { after, before, test } from "node:test";
import { findCommand } from "../../../editors/vscode/src/executable";

let folder: string;
let workspace: string;
let bin: string;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "pellucid-executable-"));
  workspace = path.join(folder, "workspace");
  bin = path.join(folder, "bin");
  await program(path.join(workspace, ".venv/bin/pellucid"));
  await program(path.join(bin, "pellucid"));
  await program(path.join(bin, "uv"));
});

after(() => rm(folder, { recursive: true }));

async function program(file: string): Promise<void> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, "");
  await chmod(file, 0o755);
}

function around(folders: string[], PATH: string) {
  return { folders, environment: { PATH }, windows: false };
}

test("the workspace's own program goes before that of the PATH", async () => {
  const expected = {
    program: path.join(workspace, ".venv/bin/pellucid"),
    args: ["lsp"],
  };
  assert.deepEqual(await findCommand([], around([workspace], bin)), expected);
});

test("without a trusted workspace, the program is the PATH's", async () => {
  assert.deepEqual(await findCommand([], around([], bin)), {
    program: path.join(bin, "pellucid"),
    args: ["lsp"],
  });
});

test("a relative folder of the PATH is not searched: it would be the workspace's", async () => {
  const relative = path.relative(process.cwd(), bin);
  assert.match(String(await findCommand([], around([], relative))), /was not found/);
});

test("a command is found on the PATH by its first word, and keeps the others", async () => {
  const expected = {
    program: path.join(bin, "uv"),
    args: ["run", "pellucid", "lsp"],
  };
  assert.deepEqual(await findCommand(["uv", "run", "pellucid", "lsp"], around([], bin)), expected);
});

test("a relative command starts at the workspace's folder, and is nothing without a trusted one", async () => {
  const command = [".venv/bin/pellucid", "lsp"];
  assert.deepEqual(await findCommand(command, around([workspace], "")), {
    program: path.join(workspace, command[0]!),
    args: ["lsp"],
  });
  assert.match(String(await findCommand(command, around([], ""))), /cannot run ".venv\/bin\/pellucid"/);
});

test("a folder and a file that may not be run are no programs", async () => {
  await chmod(path.join(bin, "uv"), 0o644);
  assert.match(String(await findCommand([path.join(bin, "uv")], around([], ""))), /cannot run/);
  assert.match(String(await findCommand([bin], around([], ""))), /cannot run/);
});
