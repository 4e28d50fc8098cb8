// The keys of the page and the words for its figures, in a dialog that `?` opens.

import { make, button, hasModifier, memory, takesKeys } from "../shared/dom.js";

export const commandKey = /Mac|iPhone|iPad/.test(navigator.platform) ? "Cmd" : "Ctrl";

/** @type {Page.KeyGroup[]} */
const GROUPS = [
  {
    title: "Everywhere",
    keys: [
      [`${commandKey}+K`, "open the command palette"],
      ["?", "show these keys"],
      ["Escape", "close a dialog, drawer or inspector"],
    ],
  },
  {
    title: "Chat",
    keys: [
      ["Enter", "send the message"],
      ["Shift+Enter", "start a new line"],
      ["Escape", "stop the answer"],
      ["v", "show all versions as a tree"],
      [`${commandKey}+Enter`, "save an edited message"],
      ["i", "inspect tokens: text, unsure words, heat map"],
      ["l", "go to the least likely word of the answer in view"],
    ],
  },
  {
    title: "Versions",
    keys: [
      ["Arrow keys, Home, End", "move from row to row; left and right: to the message before and after"],
      ["Enter", "show this version in the chat"],
      ["Space", "choose an answer to compare"],
    ],
  },
  {
    title: "Tokens, in every tab",
    keys: [
      ["Arrow keys, Home, End", "move from token to token"],
      ["n, p", "go to the next or previous unsure token"],
      ["Enter, Space", "move to the inspector; its arrow keys choose an alternative"],
      ["Escape", "close the inspector"],
    ],
  },
  {
    title: "List of conversations",
    keys: [
      ["F2", "rename"],
      ["p", "pin or unpin"],
      ["Delete", "delete; Undo restores it"],
    ],
  },
  {
    title: "Compare",
    keys: [
      ["d", "go to the next difference"],
      ["Shift+D", "go to the previous difference"],
    ],
  },
  {
    title: "Read",
    keys: [[". ,", "go to the next or previous line of the list"]],
  },
  {
    title: "Review",
    keys: [["1, 2, 3, 4", "left is better, both are good, neither, right is better"]],
  },
  {
    title: "Values of a JSON answer",
    keys: [
      ["Arrow keys, Home, End", "move from row to row, collapse and expand"],
      ["Enter, Space", "mark the tokens of the value"],
    ],
  },
];

/** @type {[term: string, meaning: string][]} */
const TERMS = [
  ["Token", "a word or a part of a word: what the model reads and generates, one after the other"],
  ["Probability", "how likely the model found the token at its place, before any setting changed that"],
  ["Sampling probability", "how likely it was to be generated, with temperature, top-p and the other settings"],
  ["Rank", "1: no other token was more probable there"],
  ["Surprisal", "a low probability as a number: 1 bit is one chance in 2, 10 bits are one in 1,024"],
  ["Entropy", "how undecided the model was between all tokens: 0 bits if only one was possible, 1 bit for two equal ones"],
  ["Unsure", "less probable than 30 %"],
  ["Branch", "another version of an answer that continues from another token; the old version is kept"],
  ["Read", "a text of yours, and how surprising each of its lines is to a model, or to two"],
  ["Compare", "one prompt, several models or settings, token by token"],
  ["Infill", "what an editor would suggest at a cursor"],
  ["Review", "two answers side by side, without the names of their models, for people to rate"],
  ["HTTP API", "the same server for programs: OpenAI's routes begin with /v1, and /openapi.json describes all routes"],
];

/**
 * @param {string} title
 * @param {[name: Page.Child[], words: string][]} rows
 * @returns {HTMLElement}
 */
const list = (title, rows) =>
  make("section", {}, make("h3", {}, title), make("dl", {}, ...rows.map(([name, words]) => make("div", {}, make("dt", {}, ...name), make("dd", {}, words)))));

const SWITCH_KEY = "keys"; // in `memory`: "off" if keys of one letter do nothing

/** @returns {HTMLElement} */
function letterSwitch() {
  const input = make("input", { type: "checkbox", checked: memory.get(SWITCH_KEY) !== "off" });
  input.addEventListener("change", () => memory.set(SWITCH_KEY, input.checked ? null : "off"));
  return make("p", {}, make("label", {}, input, " Keys of a single letter, such as i or v, outside of text fields"));
}

/** @returns {HTMLDialogElement} */
function create() {
  /** @type {HTMLDialogElement} */
  const created = make(
    "dialog",
    { class: "pl-dialog pl-help", "aria-labelledby": "pl-help-title", closedby: "any" },
    make("div", { class: "pl-dialog-head" }, make("h2", { id: "pl-help-title" }, "Keys and words"), button("Close", { onclick: () => created.close() }, "Escape")),
    letterSwitch(),
    ...GROUPS.map(({ title, keys }) => list(title, keys.map(([key, words]) => [keyElements(key), words]))),
    list("Words", TERMS.map(([term, meaning]) => [[term], meaning])),
  );
  document.body.append(created);
  return created;
}

/**
 * @param {string} keys
 * @returns {Page.Child[]} the keys as `kbd` elements, with what separates them
 */
const keyElements = (keys) => keys.split(/(, |\+)/).map((part, index) => (index % 2 ? part : make("kbd", {}, part)));

/** @type {HTMLDialogElement | null} */
let dialog = null;

export function showKeys() {
  dialog ??= create();
  if (!dialog.open) dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (event.key !== "?" || hasModifier(event) || event.defaultPrevented || takesKeys(target)) return;
  event.preventDefault();
  showKeys();
});

// A speech recogniser or a stray finger may press letters.
document.addEventListener(
  "keydown",
  (event) => {
    const isLetter = /^[\w?.,]$/.test(event.key) && !hasModifier(event) && !takesKeys(/** @type {Element} */ (event.target));
    if (isLetter && memory.get(SWITCH_KEY) === "off") event.stopImmediatePropagation();
  },
  { capture: true },
);
