// The legend of Compare: what the colours of the tokens mean.

import { make } from "../shared/dom.js";
import * as compareParts from "./compare_parts.js";

/**
 * @param {Page.CompareMode} mode
 * @param {string[]} letters the two columns of the difference map
 * @returns {(Node | string)[]}
 */
export function comparisonLegend(mode, [a, b]) {
  /** @param {string[]} classes */
  const scale = (classes) => make("span", { class: "pl-steps", "aria-hidden": "true" }, ...classes.map((name) => make("i", { class: `pl-swatch ${name}` }, "\u00a0")));
  /** @param {string} name */
  const steps = (name) => scale([0, 2, 4, 6, 8].map((at) => `${name}${at}`));
  const bold = [make("strong", { class: "pl-apart" }, "bold"), " only in some answers"];
  if (mode === "surprisal") return ["0 ", steps("s"), " 12 bits; ", ...bold];
  if (mode === "probability") return ["100 % ", steps("p"), " 0 %; ", ...bold];
  const toA = [8, 6, 4, 2].map((at) => `pl-d${at} pl-more-${a}`);
  const toB = [0, 2, 4, 6, 8].map((at) => `pl-d${at} pl-more-${b}`);
  return [compareParts.badge(a), " more likely ", scale([...toA, ...toB]), compareParts.badge(b), " more likely; a line marks a large difference; ", ...bold];
}
