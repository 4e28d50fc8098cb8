import assert from "node:assert/strict";
import { test } from "node:test";
import { entropy, fits, percent, pieces, probability, spoken, typed } from "../../../editors/vscode/src/view/tokenText";

function token(text: string, whole = text) {
  return {
    id: 0,
    token: text,
    bytes: [...new TextEncoder().encode(whole)],
    logprob: 0,
  };
}

function shown(text: string): string {
  return pieces(token(text))
    .map((piece) => piece.text)
    .join("");
}

test("white space is visible, and everything else is itself", () => {
  assert.equal(shown(" return x\n\t"), "·return·x⏎→");
  assert.equal(shown("<b>é🎉"), "<b>é🎉");
});

test("bytes that are no character on their own are shown as bytes", () => {
  assert.deepEqual(pieces({ id: 0, token: "\uFFFD", bytes: [0xe2, 0x82], logprob: 0 }), [{ text: "<e2><82>", blank: true }]);
});

test("white space is read out by name and number", () => {
  assert.equal(spoken(token(")\n    ")), ") new line 4 times space");
});

test("a percentage has a decimal where a whole number would hide something", () => {
  assert.deepEqual([1, 0.99951, 0.997, 0.93, 0.0951, 0.042, 0.0004, 0].map(percent), [
    "100",
    "100",
    "99.7",
    "93",
    "9.5",
    "4.2",
    "<0.1",
    "0",
  ]);
});

test("a token without a logprob has no probability, and none is above one", () => {
  assert.equal(probability({ logprob: null }), undefined);
  assert.equal(probability({ logprob: 1e-9 }), 1);
});

test("entropy is shown in bits", () => {
  assert.equal(entropy({ entropy: Math.LN2 }), "1.00 bits");
  assert.equal(entropy({ entropy: 0 }), "0.00 bits");
});

test("an entropy that is not known exactly is shown as its range, and an unknown one not at all", () => {
  assert.equal(entropy({ entropy: null, entropy_range: [1.9 * Math.LN2, 2.6 * Math.LN2] }), "1.90 to 2.60 bits");
  assert.equal(entropy({ entropy: null, entropy_range: [1.9 * Math.LN2, 1.901 * Math.LN2] }), "1.90 bits");
  assert.equal(entropy({ entropy: null }), undefined);
});

test("of a word that was begun, what is typed already is known, and only what begins with it fits", () => {
  const begun = typed(token("ean", " mean"));
  assert.equal(String.fromCharCode(...begun), " m");
  assert.equal(fits(token(" median"), begun), true);
  assert.equal(fits(token(" return"), begun), false);
});

test("a token that is cut at its end has nothing typed", () => {
  assert.deepEqual(typed(token(")", ")\n")), []);
  assert.deepEqual(typed(token("whole")), []);
});
