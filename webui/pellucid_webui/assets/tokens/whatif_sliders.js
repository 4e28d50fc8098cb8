// The what-if sliders: temperature, top-k, top-p and min-p.

import { make } from "../shared/dom.js";
import { OFF, isSame } from "./sampler_whatif.js";

/** @typedef {{ name: keyof Page.Sampling, label: string, least: number, most: number, step: number }} SliderOptions */

/** @type {SliderOptions[]} */
const SLIDERS = [
  { name: "temperature", label: "Temperature", least: 0, most: 2, step: 0.05 },
  { name: "top_k", label: "Top-k", least: 0, most: 50, step: 1 },
  { name: "top_p", label: "Top-p", least: 0.01, most: 1, step: 0.01 },
  { name: "min_p", label: "Min-p", least: 0, most: 0.5, step: 0.01 },
];

/**
 * @param {keyof Page.Sampling} name
 * @param {number} value
 * @returns {string}
 */
function wordOf(name, value) {
  if (name === "temperature") return value === 0 ? "0 (greedy)" : String(value);
  return value === OFF[name] ? "off" : String(value);
}

/** A part that opens and holds the sliders, which apply while it is open. */
export class WhatIfSliders {
  /**
   * @param {(settings: Page.Sampling | null) => void} onChange gets null when the part is closed
   */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {Page.Sampling | null} */
    this.used = null; // the settings with which the tokens were sampled
    /** @type {Page.Sampling} */
    this.settings = { ...OFF };
    this.sliders = SLIDERS.map((slider) => this.buildSlider(slider));
    this.resetButton = make("button", { type: "button", class: "pl-tool", onclick: () => this.change({ ...(this.used || OFF) }) });
    this.element = make(
      "details",
      { class: "pl-whatif", ontoggle: () => this.report() },
      make("summary", {}, "What if…"),
      make("p", { class: "pl-hint" }, "Shows how likely each alternative would have been with these settings, and which tokens the sampler would have dropped. Nothing is generated again."),
      make("div", { class: "pl-sliders" }, ...this.sliders.map((slider) => slider.row)),
      this.resetButton,
    );
    this.draw();
  }

  /** The sliders' settings; null while the part is closed. */
  get value() {
    return this.element.open ? this.settings : null;
  }

  /**
   * Set the settings with which the tokens were sampled, where the sliders start.
   * @param {Page.Sampling | null} used null for tokens that were read
   */
  setUsed(used) {
    const untouched = isSame(this.settings, this.used || OFF);
    this.used = used;
    if (untouched) this.settings = { ...(used || OFF) };
    this.draw();
    this.report();
  }

  /**
   * @param {Partial<Page.Sampling>} settings
   */
  change(settings) {
    this.settings = { ...this.settings, ...settings };
    this.draw();
    this.report();
  }

  report() {
    this.onChange(this.value);
  }

  /**
   * @param {SliderOptions} options
   */
  buildSlider({ name, label, least, most, step }) {
    const output = make("output", {});
    /** @type {HTMLInputElement} */
    const input = make("input", { type: "range", min: least, max: most, step, oninput: () => this.change({ [name]: Number(input.value) }) });
    input.dataset.setting = name;
    const row = make("label", { class: "pl-slider" }, make("span", {}, label), input, output);
    return { name, most, input, output, row };
  }

  draw() {
    for (const { name, most, input, output } of this.sliders) {
      const value = this.settings[name];
      input.max = String(Math.max(most, this.used ? this.used[name] : 0, value));
      input.value = String(value);
      output.textContent = wordOf(name, value);
      input.setAttribute("aria-valuetext", output.textContent);
    }
    this.resetButton.textContent = this.used ? "Reset to the settings that were used" : "Reset to the model's own distribution";
    this.resetButton.disabled = isSame(this.settings, this.used || OFF);
  }
}
