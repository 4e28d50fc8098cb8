import assert from "node:assert/strict";
import test from "node:test";
import { trainingCommand } from "../../../editors/vscode/src/trainingCommand";

test("the training runs the language server's program, with a valid adapter name for the folder", () => {
  const command = { program: "/bin/uv", args: ["run", "pellucid", "lsp"] };
  for (const [folder, name] of [
    ["/projects/my shop", "my-shop"],
    ["/projects/.config", "config"],
    ["/projects/日本", "workspace"],
    [`/projects/${"x".repeat(63)}..`, "x".repeat(63)],
  ] as const) {
    const args = ["run", "pellucid", "finetune", folder, "--name", name, "--replace"];
    assert.deepEqual(trainingCommand(command, folder), { name, command: { program: "/bin/uv", args } });
  }
});

test("a program that is no pellucid lsp trains nothing", () => {
  assert.match(String(trainingCommand({ program: "/bin/server", args: [] }, "/projects")), /has to end with "lsp"/);
});
