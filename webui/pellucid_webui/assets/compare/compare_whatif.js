// The what-if sliders of Compare: the same settings for all columns, and how far the columns are from each other then.

import { make } from "../shared/dom.js";
import { WhatIfSliders } from "../tokens/whatif_sliders.js";

export class CompareWhatIf {
  /**
   * @param {(settings: Page.Sampling) => void} onChange at most once a frame
   * @param {() => void} onClose
   */
  constructor(onChange, onClose) {
    this.isQueued = false;
    this.isReady = false;
    this.said = make("div", { class: "pl-compare-whatif-kl", role: "status" });
    this.sliders = new WhatIfSliders((settings) => {
      if (!this.isReady || this.element.hidden) return;
      if (settings === null) onClose();
      if (settings === null || this.isQueued) return;
      this.isQueued = true;
      requestAnimationFrame(() => {
        this.isQueued = false;
        if (this.sliders.value) onChange(this.sliders.value);
      });
    });
    this.element = make("div", { class: "pl-heat pl-compare-whatif", hidden: true }, this.sliders.element, make("p", { class: "pl-hint" }, "The settings apply to all columns."), this.said);
    this.isReady = true;
  }

  /** @returns {Page.Sampling | null} the settings; null while the sliders are not shown */
  get value() {
    return this.element.hidden ? null : this.sliders.value;
  }

  /** @param {boolean} isShown */
  show(isShown) {
    this.element.hidden = !isShown;
    this.sliders.element.open = isShown;
  }

  /**
   * Say how far the columns are from the first one, and the first one from them.
   * @param {import("./compare_readings.js").CompareReadings} readings
   * @param {string[]} letters
   */
  sumUp(readings, letters) {
    const pairs = letters.slice(1).flatMap((_, at) => [/** @type {const} */ ([0, at + 1]), /** @type {const} */ ([at + 1, 0])]);
    this.said.replaceChildren(...pairs.map(([one, other]) => make("p", {}, words(letters[one], letters[other], readings.divergences(one, other)))));
  }
}

/**
 * @param {string} a
 * @param {string} b
 * @param {{ known: number, infinite: number, mean: number }} found
 * @returns {string}
 */
function words(a, b, { known, infinite, mean }) {
  if (!known) return `KL(${a}‖${b}) is not known at any token of ${a}'s answer.`;
  const rest = `at least ${(mean / Math.LN2).toFixed(3)} bits per token`;
  if (!infinite) return `KL(${a}‖${b}) is ${rest} on average over ${a}'s answer.`;
  const start = `KL(${a}‖${b}) is infinite at ${infinite} of ${known} tokens of ${a}'s answer, where ${a} could take a token that ${b} never takes`;
  return infinite === known ? `${start}.` : `${start}; at the others ${rest}.`;
}
