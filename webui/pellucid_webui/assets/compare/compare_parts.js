// The small parts of Compare: menus, tables, ranges of tokens, and what a browser tab keeps.

import { make, tabMemory } from "../shared/dom.js";
import { emptyState } from "../shared/empty_state.js";
import { isForm } from "./compare_link.js";

export const INFINITE = 999; // stands for infinity, as in comparison_payload.py

/**
 * @param {string} letter of a column
 * @returns {HTMLElement}
 */
export const badge = (letter) => make("span", { class: "pl-letter", "data-column": letter }, letter);

/**
 * Return what distinguishes tokens of models with different vocabularies.
 * @param {string} text
 * @param {string | undefined} bytes
 * @returns {string}
 */
export const keyOf = (text, bytes) => `${bytes ?? ""}\u0000${text}`;

/**
 * @param {string} name
 * @param {[value: string, text: string][]} options
 * @param {() => void} onChange
 */
export function select(name, options, onChange) {
  /** @type {HTMLSelectElement} */
  const field = make("select", { class: "pl-field", onchange: onChange });
  /**
   * @param {[value: string, text: string][]} choices
   * @param {string} chosen
   */
  const offer = (choices, chosen) => {
    field.replaceChildren(...choices.map(([value, text]) => make("option", { value }, text)));
    field.value = chosen;
  };
  offer(options, options[0]?.[0] ?? "");
  return { element: make("label", { class: "pl-compare-choice" }, make("span", {}, name), field), field, offer };
}

/**
 * @param {string} caption
 * @param {string[][]} rows the head is the first
 * @returns {HTMLElement}
 */
export function table(caption, [head, ...rows]) {
  return make(
    "div",
    { class: "pl-compare-wide", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      { class: "pl-table" },
      make("caption", {}, caption),
      make("thead", {}, make("tr", {}, ...head.map((cell) => (cell ? make("th", { scope: "col" }, cell) : make("td", {}))))),
      make("tbody", {}, ...rows.map(([name, ...cells]) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell))))),
    ),
  );
}

/**
 * @param {(number | null)[]} row
 * @param {number} at
 * @returns {[low: number, high: number] | null}
 */
export function range(row, at) {
  const [low, high] = [row[at], row[at + 1]];
  return low === null || low === undefined || high === null || high === undefined ? null : [low, high];
}

/**
 * @param {[from: number, to: number][]} ranges
 * @param {number} count
 * @returns {boolean[]}
 */
export function flags(ranges, count) {
  const found = Array.from({ length: count }, () => false);
  for (const [from, to] of ranges) found.fill(true, from, to);
  return found;
}

/**
 * @param {[from: number, to: number][]} ranges in order
 * @returns {[from: number, to: number][]} the same without overlaps
 */
export function merged(ranges) {
  /** @type {[from: number, to: number][]} */
  const found = [];
  for (const [from, to] of ranges) {
    const last = found[found.length - 1];
    if (last && from <= last[1]) last[1] = Math.max(last[1], to);
    else found.push([from, to]);
  }
  return found;
}

/** The form as it was left in this browser tab; the browser forgets it when the tab is closed. */
export const draft = {
  /** @returns {Page.CompareFormValue | null} */
  get() {
    try {
      const form = JSON.parse(tabMemory.get("compare.form") ?? "null");
      return isForm(form) ? form : null;
    } catch {
      return null; // it is not JSON
    }
  },
  /** @param {Page.CompareFormValue} form */
  set(form) {
    tabMemory.set("compare.form", JSON.stringify(form));
  },
};

/**
 * Return what the tab shows before the first comparison.
 * @param {Page.CompareFormValue} form the example
 * @param {HTMLElement} place
 * @param {() => void} run
 * @returns {HTMLElement}
 */
export function emptyCompare({ prompt, columns }, place, run) {
  return emptyState({
    picture: [["A", "p4", "blue"], ["B", "p7", "green"]].map(([letter, step, word]) => make("span", {}, badge(letter), "The sky is ", make("strong", { class: `pl-token ${step}` }, word))),
    promise: "The answers appear here side by side. The stronger a colour, the less likely the model found the token, and bold is only in some answers. A click on a token shows what each column found likely there.",
    example: prompt,
    does: columns[0]?.model === columns[1]?.model ? "compare the answers at temperature 0 and 1" : "compare the answers of two models",
    place,
    hasOwn: () => draft.get() !== null,
    run,
  });
}
