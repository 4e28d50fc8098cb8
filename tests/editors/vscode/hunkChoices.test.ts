import assert from "node:assert/strict";
import { test } from "node:test";
import { choices } from "../../../editors/vscode/src/hunkChoices";
import type { Hunk } from "../../../editors/vscode/src/protocol";

function hunk(first: number, old: string[], lines: string[], breaksSyntax: boolean | null = false): Hunk {
  const range = { start: { line: first, character: 0 }, end: { line: first + old.length, character: 0 } };
  return { range, newText: lines.join("\n"), first, old, new: lines, breaksSyntax };
}

test("a change that breaks the syntax says so and is not marked; others are", () => {
  const made = choices([hunk(0, ["a"], ["b"]), hunk(1, ["c"], ["d = ("], true), hunk(2, ["e"], ["f"], null)]);
  assert.deepEqual(
    made.map(({ description, picked }) => [description, picked]),
    [
      ["", true],
      ["breaks the syntax", false],
      ["", true],
    ],
  );
});

test("a change is named by its old lines and its first new one", () => {
  const made = choices([hunk(0, ["a"], ["", "  b", "c"]), hunk(2, ["a", "b"], []), hunk(4, [], ["x".repeat(90)])]);
  assert.deepEqual(
    made.map(({ label, detail }) => [label, detail]),
    [
      ["Line 1", "b …"],
      ["Lines 3 to 4", "delete"],
      ["Line 5", `${"x".repeat(80)} …`],
    ],
  );
});
