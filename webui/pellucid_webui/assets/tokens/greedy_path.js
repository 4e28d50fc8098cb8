// The most probable token at each place of a text, as a text of its own.

import { button, copy, make } from "../shared/dom.js";
import * as visible from "./token_text.js";

const MEANING =
  "At each place, this is the most probable token after the text that was written before it. It is not what the model would have generated: another token would have changed all that follow.";
const LIMITED = "Where a format, or text that was there, limited the choice, it is the most probable token that was allowed.";

/**
 * Return the most probable token of each place: the token itself where no alternatives are known.
 * @param {Page.TokenRecord[]} records
 * @returns {Page.GreedyToken[]}
 */
export function greedyPath(records) {
  return records.map(({ i, t, b, a }) => {
    const [best] = a;
    return best === undefined || best[0] === i ? { text: t, base64: b, differs: false } : { text: best[1], base64: best[3], differs: true };
  });
}

/**
 * Return the text of a path: its bytes, with a mark in place of each character that is not whole.
 * @param {Page.GreedyToken[]} path
 * @returns {string}
 */
export function greedyText(path) {
  const bytes = path.flatMap(({ text, base64 }) => (base64 === undefined ? [...new TextEncoder().encode(text)] : visible.bytesOf(base64)));
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(bytes));
}

export class GreedyPath {
  constructor() {
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    this.count = make("p", { class: "pl-hint" });
    this.text = make("p", { class: "pl-greedy-text", dir: "auto" });
    this.element = make(
      "details",
      { class: "pl-greedy", ontoggle: () => this.draw() },
      make("summary", {}, "Most probable token at each place, as text"),
      this.count,
      this.text,
      button("Copy text", { onclick: ({ currentTarget }) => copy(greedyText(greedyPath(this.records)), currentTarget) }),
    );
  }

  /** @param {Page.TokenRecord[]} records */
  set(records) {
    this.records = records;
    this.draw();
  }

  draw() {
    if (!this.element.open) return;
    const path = greedyPath(this.records);
    const differing = path.filter(({ differs }) => differs).length;
    const limited = this.records.some(({ c, g }) => c !== undefined || g !== undefined) ? ` ${LIMITED}` : "";
    this.count.textContent = `${differing ? `Differs from what was written at ${differing} of ${path.length} places, which are marked.` : "The same as what was written."} ${MEANING}${limited}`;
    this.text.replaceChildren(
      ...path.flatMap(({ text, base64, differs }) => {
        const parts = visible.flowing(visible.piecesOf(text, base64));
        return differs ? [make("mark", {}, ...parts)] : parts;
      }),
    );
  }
}
