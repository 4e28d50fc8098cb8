import assert from "node:assert/strict";
import test from "node:test";
import { chosenInstruction, matching } from "../../../editors/vscode/src/chosenInstruction";

const EARLIER = ["Rename mean to average.", "Write this as a loop."];

test("what is typed is meant, whatever the list has marked for an earlier text", () => {
  assert.equal(chosenInstruction("Add types. ", { label: "Add ty", value: "Add ty" }, EARLIER), "Add types.");
  assert.equal(chosenInstruction("Add types.", { label: "Add types.", value: "Add types." }, EARLIER), "Add types.");
  assert.equal(chosenInstruction("Rename", { label: EARLIER[0]!, value: "" }, EARLIER), "Rename");
  assert.equal(chosenInstruction(EARLIER[0]!, { label: EARLIER[1]!, value: EARLIER[0]! }, EARLIER), EARLIER[0]);
});

test("earlier instructions are offered that have what is typed, in any case, and more", () => {
  assert.deepEqual(matching(EARLIER, "MEAN "), [EARLIER[0]]);
  assert.deepEqual(matching(EARLIER, EARLIER[0]!), []);
});

test("an earlier instruction is meant if it is marked for what is typed, or for nothing", () => {
  assert.equal(chosenInstruction("", { label: EARLIER[1]!, value: "" }, EARLIER), EARLIER[1]);
  assert.equal(chosenInstruction("loop", { label: EARLIER[1]!, value: "loop" }, EARLIER), EARLIER[1]);
});

test("no text and no earlier instructions: no instruction", () => {
  assert.equal(chosenInstruction("  ", { label: "", value: "" }, []), "");
});
