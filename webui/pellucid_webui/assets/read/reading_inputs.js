// The place right below the button, where progress and errors appear as soon as it is pressed; and what the controls ask for, next to
// what was read: results of another text, model or kind are marked.

import { make, button } from "../shared/dom.js";
import { formControls } from "../shared/form_controls.js";

const BELOW = "The results are below.";
const LEAST_SEEN = 120; // pixels of the results that are enough to see that they are there

export class ReadingInputs {
  /**
   * @param {{ onChange: () => void, onStop: () => void }} options
   */
  constructor({ onChange, onStop }) {
    this.controls = formControls("read");
    this.controls.onChange = onChange;
    // Not a live region: the same words are in one above the results.
    this.status = make("p", { class: "pl-note pl-read-status", "aria-hidden": "true" });
    this.bar = make("progress", { max: 1, "aria-label": "How much of the text has been read" });
    this.count = make("span", { class: "pl-quiet" });
    this.progress = make("div", { class: "pl-row pl-progress", hidden: true }, button("Stop", { onclick: onStop }), this.bar, this.count);
    this.place = make("div", { class: "pl-read-now" }, this.status, this.progress);
    /** @type {Page.ReadAsked | null} */
    this.read = null;
  }

  /** @returns {Page.ReadAsked} what the controls ask for; the model is empty until the menu has its choices */
  get asked() {
    const [text, model, second, kind] = this.controls.values;
    return { text, model: model || "", second, kind };
  }

  /** Whether the controls ask for something else than what was read. */
  get isStale() {
    const { read, asked } = this;
    if (read === null || asked.text === undefined) return false;
    return (asked.model && read.model !== asked.model) || read.second !== asked.second || read.kind !== asked.kind || read.text !== asked.text;
  }

  /** Show progress that is not known yet. */
  begin() {
    this.bar.removeAttribute("value");
    this.count.textContent = "";
    this.progress.hidden = false;
  }

  /** @param {Page.ReadProgress} progress */
  advance({ share, words }) {
    this.bar.value = share;
    this.count.textContent = words;
  }

  /**
   * Show a sentence below the button.
   * @param {string} text
   * @param {boolean} isWrong
   */
  say(text, isWrong) {
    this.status.textContent = text;
    this.status.classList.toggle("pl-wrong", isWrong);
  }

  /**
   * On a phone the results are below the window: then say so at the button.
   * @param {HTMLElement} results
   */
  point(results) {
    if (!this.status.textContent && results.getBoundingClientRect().top > window.innerHeight - LEAST_SEEN) this.say(BELOW, false);
  }
}
