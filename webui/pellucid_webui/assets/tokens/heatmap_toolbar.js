// The tools above a map of tokens: the mode, its legend, and a button that goes to the next surprising token.

import { make } from "../shared/dom.js";
import * as colours from "./colours.js";

/** @type {Partial<Record<Page.Mode, string>>} */
const NEXT = { difference: "Next difference", entropy: "Next unsure choice" };

let groups = 0; // of choices between map and table

export class HeatMapToolbar {
  /**
   * Call `onMode` and `onRanks` when the user chooses, and `onNext` to go to the next surprising token. With `onTable` the user can
   * choose a table instead of the map.
   * @param {Page.HeatMapToolbarOptions} options
   */
  constructor({ mode, ranks, words, onMode, onRanks, onNext, onTable = null }) {
    this.mode = mode;
    this.ranks = ranks;
    this.words = words;
    this.onRanks = onRanks;
    /** @type {Set<Page.InexactEntropy>} */
    this.inexact = new Set(); // the marks of inexact entropies that the map has
    /** @type {HTMLSelectElement} */
    this.select = make(
      "select",
      { class: "pl-mode", onchange: () => onMode(/** @type {Page.Mode} */ (this.select.value)) },
      ...Object.entries(colours.MODES).map(([value, text]) => make("option", { value }, text)),
    );
    this.legend = make("div", { class: "pl-legend", role: "group", "aria-label": "What the colours mean" });
    this.next = make("button", { type: "button", class: "pl-tool", title: "Key n; p goes to the previous one", onclick: onNext });
    this.status = make("span", { class: "pl-status", role: "status" });
    groups += 1;
    const views = [false, true].map((isTable) => {
      const input = make("input", { type: "radio", name: `pl-token-view-${groups}`, value: String(isTable), onchange: () => onTable?.(isTable) });
      return make("label", { class: "pl-inspect-choice" }, input, isTable ? "Table" : "Map");
    });
    this.element = make(
      "div",
      { class: "pl-toolbar" },
      onTable && make("div", { class: "pl-inspect-choices", role: "radiogroup", "aria-label": "Show tokens as" }, ...views),
      make("label", { class: "pl-labelled" }, make("span", {}, "Colour by"), this.select),
      this.next,
      this.status,
      this.legend,
    );
    this.allowDifference(false);
    this.show(mode);
  }

  /**
   * Show the mode of the map.
   * @param {Page.Mode} mode
   */
  show(mode) {
    this.mode = mode;
    this.select.value = mode;
    this.next.textContent = NEXT[mode] ?? "Next surprising token";
    this.say("");
    this.drawLegend();
  }

  /**
   * Offer the mode that needs compared tokens.
   * @param {boolean} allowed
   * @param {string[]} [words] for a difference of -1 and of 1
   */
  allowDifference(allowed, words = this.words) {
    this.words = words;
    const option = /** @type {HTMLOptionElement} */ (this.select.querySelector("[value=difference]"));
    option.hidden = option.disabled = !allowed;
    if (this.mode === "difference") this.drawLegend();
  }

  /**
   * Explain the mark of a token whose exact entropy is not known.
   * @param {Page.InexactEntropy | null} mark
   */
  showInexact(mark) {
    if (mark === null || this.inexact.has(mark)) return;
    this.inexact.add(mark);
    if (this.mode === "entropy") this.drawLegend();
  }

  /** Explain no such marks, as the map has other tokens now. */
  forgetInexact() {
    if (!this.inexact.size) return;
    this.inexact.clear();
    if (this.mode === "entropy") this.drawLegend();
  }

  /** @param {boolean} isTable */
  showTable(isTable) {
    for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (this.element.querySelectorAll("[type=radio]"))) input.checked = input.value === String(isTable);
    this.next.hidden = this.legend.hidden = isTable;
  }

  /** @param {string} text */
  say(text) {
    this.status.textContent = text;
  }

  drawLegend() {
    this.legend.replaceChildren(...colours.legend(this.mode, this.words, this.inexact).map((part) => this.legendPart(part)));
  }

  /**
   * @param {Page.LegendPart} part
   * @returns {HTMLElement}
   */
  legendPart(part) {
    if ("scale" in part) return legendScale(part);
    if ("meaning" in part) return make("span", { class: "pl-meaning" }, part.meaning);
    const sample = make("i", { class: `pl-sample ${part.sample}` }, "ab");
    if (part.threshold === undefined) return make("span", { class: "pl-key" }, sample, part.text);
    if (part.threshold === null) return make("span", { class: "pl-key" }, sample, "above");
    return make("label", { class: "pl-key" }, sample, part.threshold ? "up to" : "rank up to", this.threshold(part.threshold));
  }

  /**
   * @param {number} index
   * @returns {HTMLInputElement}
   */
  threshold(index) {
    const input = make("input", { type: "number", class: "pl-threshold", min: 1, step: 1, value: this.ranks[index], "aria-label": `Highest rank of colour ${index + 1}` });
    input.addEventListener("change", () => this.takeRank(index, input));
    return input;
  }

  /**
   * @param {number} index
   * @param {HTMLInputElement} input
   */
  takeRank(index, input) {
    const ranks = this.ranks.map((rank, at) => (at === index ? Number(input.value) : rank));
    const rise = ranks.every((rank, at) => Number.isInteger(rank) && rank > (at ? ranks[at - 1] : 0));
    input.setAttribute("aria-invalid", String(!rise));
    if (!rise) {
      this.say("Ranks must be whole numbers that increase from left to right.");
      return;
    }
    this.say("");
    this.ranks = ranks;
    this.onRanks(ranks);
  }
}

/**
 * Return a scale with what its ends mean: a word and a number.
 * @param {Page.LegendScale} scale
 * @returns {HTMLElement}
 */
export function legendScale({ scale, from, to }) {
  const steps = scale.map((className) => make("i", { class: `pl-swatch ${className}` }, "\u00a0"));
  const [word, least] = from;
  const [most, other] = to;
  return make("span", { class: "pl-scale" }, make("b", {}, word), least, make("span", { class: "pl-steps", "aria-hidden": "true" }, ...steps), most, make("b", {}, other));
}
