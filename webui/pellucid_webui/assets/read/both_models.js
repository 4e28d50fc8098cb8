// How two models find one token: the figures of both side by side, and the bits that the second one saves, always with that sign.

import { make } from "../shared/dom.js";
import * as colours from "../tokens/colours.js";
import * as visible from "../tokens/token_text.js";

/**
 * @param {number} value
 * @param {number} digits
 * @returns {string} the number with its sign, and zero without one
 */
export function signed(value, digits) {
  const shown = Math.abs(value).toFixed(digits);
  return Number(shown) === 0 ? shown : `${value > 0 ? "+" : "\u2212"}${shown}`;
}

/**
 * @param {number} bits
 * @param {string} model
 * @returns {string}
 */
export const savedWords = (bits, model) => `Bits saved by ${model}: ${signed(bits, 2)}`;

/**
 * Return a table with the figures of a token by both models. Where they split the text differently, both are of the shortest piece
 * at whose ends both have a token border.
 * @param {Page.TokenRecord} record of the first model
 * @param {Page.BothFigures} both
 * @param {string[]} models
 * @returns {HTMLElement}
 */
export function bothTable(record, both, models) {
  const [first, second, here, there, rank, entropy, text] = both;
  const isOne = here === 1;
  /** @type {[name: string, first: string, second: string][]} */
  const rows = [
    ["probability", share(first), share(second)],
    ["rank", isOne ? ordinal(record.r) : "–", ordinal(rank)],
    ["surprisal", `${first.toFixed(2)} bits`, `${second.toFixed(2)} bits`],
    ["entropy", isOne ? colours.entropyWords(colours.entropyRange(record), 2) : "–", colours.entropyWords(entropy, 2)],
  ];
  const table = make(
    "table",
    { class: "pl-both" },
    make("thead", {}, make("tr", {}, make("td", {}), ...models.map((model) => make("th", { scope: "col" }, model)))),
    make("tbody", {}, ...rows.map(([name, ...values]) => make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value) => make("td", {}, value))))),
  );
  if (!text) return table;
  const piece = make("span", { class: "pl-name" }, ...visible.standing(visible.piecesOf(text, undefined)));
  const words = `, which is ${count(here)} to ${models[0]} and ${count(there)} to ${models[1]}.`;
  return make("div", {}, table, make("p", { class: "pl-remark" }, "The figures are of ", piece, words));
}

/**
 * @param {number} bits
 * @returns {string}
 */
const share = (bits) => `${visible.percent(2 ** -bits)} %`;

/**
 * @param {number | null} rank
 * @returns {string}
 */
const ordinal = (rank) => (rank === null ? "–" : String(rank));

/**
 * @param {number} tokens
 * @returns {string}
 */
const count = (tokens) => (tokens === 1 ? "one token" : `${tokens} tokens`);
