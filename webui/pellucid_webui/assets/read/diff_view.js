// A diff that a model has read: the old and the new lines next to each other, coloured by token, with the bits of each.

import { make } from "../shared/dom.js";
import * as colours from "../tokens/colours.js";

/** @type {Record<string, string>} */
const NAMES = { " ": "unchanged", "-": "removed", "+": "added" };

/**
 * @param {Page.DiffHunk[]} hunks
 * @returns {HTMLElement[]} a table for each
 */
export function diffView(hunks) {
  const most = Math.max(1, ...hunks.flatMap((hunk) => hunk.rows.flat().map((side) => (side === null || side[0] === " " ? 0 : side[2] || 0))));
  return hunks.map((hunk) => {
    const heads = ["Old", "Old text", "Bits", "New", "New text", "Bits"].map((name) => make("th", { scope: "col" }, name));
    const rows = hunk.rows.map(([old, fresh]) => make("tr", {}, ...cells(old, most), ...cells(fresh, most)));
    const caption = make("caption", {}, hunk.section ? `${hunk.file}: ${hunk.section}` : hunk.file);
    const table = make("table", { class: "pl-diff" }, caption, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
    return make("div", { class: "pl-diff-hunk pl-heat", "data-mode": "probability", tabindex: "0", role: "region", "aria-label": `Change in ${hunk.file}` }, table);
  });
}

/**
 * @param {Page.DiffSide} side
 * @param {number} most bits of a changed line
 * @returns {HTMLElement[]}
 */
function cells(side, most) {
  if (side === null) return [make("td", { colspan: 3, class: "pl-diff-none" })];
  const [kind, number, bits, pieces] = side;
  const look = `pl-diff-${NAMES[kind]}`;
  const isChanged = kind !== " ";
  const text = make("td", { class: `pl-diff-text ${look}` }, isChanged ? make("span", { class: "pl-visually-hidden" }, `${NAMES[kind]}: `) : null, ...pieces.map(piece));
  const share = isChanged && bits !== null ? `--share: ${((100 * bits) / most).toFixed(1)}%` : null;
  return [
    make("td", { class: `pl-diff-number ${look}` }, `${isChanged ? kind : ""}${number}`),
    text,
    make("td", { class: `pl-diff-bits ${look}` }, bits === null ? "–" : bits.toFixed(1), share === null ? null : make("span", { class: "pl-line-bar", style: share })),
  ];
}

/**
 * @param {[text: string, bits: number | null]} given
 * @returns {HTMLElement}
 */
function piece([text, bits]) {
  const shown = text.replace(/[\r\n]+/gu, "↵");
  if (bits === null) return make("span", {}, shown);
  const probability = 2 ** -bits;
  return make("span", { class: `pl-token ${colours.likelihoodClasses(probability).join(" ")}`, title: `${bits.toFixed(2)} bits` }, shown);
}
