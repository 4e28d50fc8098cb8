// Review: two answers side by side, without the names of their models, and a rater's verdict.

import { make, button, announce, hasModifier, memory, openTab } from "../shared/dom.js";
import { mount } from "../shared/mounts.js";
import { call } from "../shared/wire.js";
import { table } from "../compare/compare_parts.js";
import { ReviewForm } from "./review_form.js";

const VERDICTS = [
  ["left", "Left is better", "1"],
  ["both", "Both are good", "2"],
  ["neither", "Neither is good", "3"],
  ["right", "Right is better", "4"],
];

/** @typedef {Page.ReviewValue & { pair: number }} ShownPair */

class Review {
  /** @param {HTMLElement} element */
  constructor(element) {
    /** @type {ShownPair | null} */
    this.drawn = null;
    this.names = make("select", { class: "pl-field", "aria-label": "Review to rate", onchange: () => this.choose() });
    this.rater = make("input", { class: "pl-field", "aria-label": "Your name", placeholder: "Your name", autocomplete: "off", onchange: () => this.rename() });
    this.choice = make("div", { class: "pl-row" }, this.names, this.rater);
    this.status = make("p", { class: "pl-note", role: "status", tabindex: "-1" });
    this.results = make("div", { class: "pl-review-results" });
    this.prompt = make("div", { class: "pl-body pl-review-prompt", role: "region", tabindex: "0", "aria-label": "The prompt" });
    /** @type {("left" | "right")[]} */
    const sides = ["left", "right"];
    this.sides = sides.map((side) => {
      const body = make("div", { class: "pl-body", role: "region", tabindex: "0", "aria-label": `The answer on the ${side}` });
      return { side, body, whole: make("section", {}, make("h3", {}, side === "left" ? "Left" : "Right"), body) };
    });
    this.verdicts = make("div", { class: "pl-row" });
    this.reasons = make("fieldset", { class: "pl-row" });
    this.note = make("input", { class: "pl-field", "aria-label": "Note", placeholder: "Other remarks (saved with the verdict)" });
    this.previousButton = button("Previous pair", { onclick: () => this.drawn && this.ask("show", this.drawn.pair - 1) });
    this.pair = make(
      "div",
      { hidden: true },
      this.prompt,
      make("div", { class: "pl-review-sides" }, ...this.sides.map(({ whole }) => whole)),
      this.reasons,
      this.note,
      make("div", { class: "pl-row" }, this.verdicts, this.previousButton),
    );
    this.form = new ReviewForm({ status: this.status, say: (text, wrong) => this.say(text, wrong), onMade: openReview });
    this.root = make("section", { class: "pl-review", "aria-label": "Review" }, this.choice, this.status, this.pair, this.results, this.form.element);
    element.replaceChildren(this.root);
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.rater.value = memory.get("rater") || "";
    document.addEventListener("pellucid-server-back", () => this.ask("refresh"));
    this.ask("refresh");
  }

  /** @param {object} asked */
  send(asked) {
    call("review", asked, (/** @type {Page.ReviewValue} */ value) => this.update(value));
  }

  get raterName() {
    return this.rater.value.trim();
  }

  /**
   * @param {string} verb
   * @param {number | null} [pair]
   */
  ask(verb, pair = null) {
    this.send({ verb, review: wanted || this.names.value, rater: this.raterName, pair });
  }

  choose() {
    wanted = "";
    this.ask("refresh");
  }

  /** Show the review that was made just now, and begin to rate. */
  begin() {
    this.status.focus();
    this.ask("refresh");
  }

  rename() {
    memory.set("rater", this.raterName);
    this.ask("refresh");
  }

  /** @param {string} verdict */
  judge(verdict) {
    if (this.drawn === null) return;
    const { review, rater, pair } = this.drawn;
    if (this.names.value !== review || this.raterName !== rater) {
      this.ask("refresh"); // each rater sees the sides in another order, so this verdict would mean nothing
      return;
    }
    const boxes = /** @type {NodeListOf<HTMLInputElement>} */ (this.reasons.querySelectorAll("input:checked"));
    const reasons = [...boxes].map((box) => box.value);
    this.send({ verb: "judge", review, rater, pair, verdict, reasons, note: this.note.value });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const found = VERDICTS.find(([, , key]) => key === event.key);
    const writes = event.target instanceof HTMLInputElement && event.target.type !== "checkbox";
    if (!found || writes || event.target === this.names || this.pair.hidden || hasModifier(event)) return;
    event.preventDefault();
    this.judge(found[0]);
  }

  /**
   * @param {string} text
   * @param {boolean} wrong
   */
  say(text, wrong) {
    this.status.textContent = text;
    this.status.classList.toggle("pl-wrong", wrong);
  }

  /** @param {Page.ReviewValue} value */
  update(value) {
    if (!value.isLoggedIn && value.rater !== this.raterName) return; // for an earlier name: the value for this one will follow
    const { drawn } = this;
    const isWanted = wanted !== "" && value.review === wanted;
    if (isWanted) wanted = "";
    const isOther = !drawn || drawn.pair !== value.pair || drawn.review !== value.review || drawn.rater !== value.rater;
    this.names.replaceChildren(...value.names.map((name) => make("option", { value: name, selected: name === value.review }, name)));
    this.choice.hidden = !value.names.length;
    if (value.isLoggedIn) this.rater.value = value.rater;
    this.rater.disabled = value.isLoggedIn;
    this.say(value.status, value.wrong);
    this.results.replaceChildren(...(value.results ? [...value.results.sentences.map((sentence) => make("p", {}, sentence)), table("Verdicts of all raters", value.results.table)] : []));
    this.form.show(!value.names.length);
    const refused = value.wrong && value.pair === null && !this.pair.hidden; // keep the pair, with the reasons that were chosen
    if (refused) return;
    if (value.pair === null && this.pair.contains(document.activeElement)) this.status.focus();
    this.pair.hidden = value.pair === null;
    this.drawn = hasPair(value) ? value : null;
    if (isWanted && !value.rater) this.rater.focus();
    if (!this.drawn) return;
    draw(this.prompt, value.prompt);
    for (const { side, body } of this.sides) draw(body, value[side]);
    this.previousButton.disabled = value.pair === 0;
    if (!isOther) return;
    if (this.root.contains(document.activeElement)) this.prompt.focus();
    // New buttons for each pair: a button pressed before its pair changed must not judge the next pair.
    const { chosen } = value;
    const made = VERDICTS.map(([verdict, name, key]) => button(name, { "aria-keyshortcuts": key, "aria-pressed": String(verdict === chosen), onclick: () => this.judge(verdict) }, `Key ${key}`));
    this.verdicts.replaceChildren(...made);
    const boxes = value.reasons.map((reason) => make("label", {}, make("input", { type: "checkbox", value: reason, checked: value.given.includes(reason) }), ` ${reason}`));
    this.reasons.replaceChildren(make("legend", { class: "pl-quiet" }, "Why (optional)"), ...boxes);
    this.note.value = value.note;
    announce(value.status);
  }
}

/**
 * @param {Page.ReviewValue} value
 * @returns {value is ShownPair}
 */
const hasPair = (value) => value.pair !== null;

/**
 * Show the server's own safe Markdown.
 * @param {HTMLElement} place
 * @param {string[]} blocks
 */
function draw(place, blocks) {
  place.innerHTML = blocks.map((html) => `<div class="pl-block" dir="auto">${html}</div>`).join("");
}

/** @type {Review | null} */
let mounted = null;
let wanted = ""; // the review to show, once the tab is there

/**
 * Open the tab with a review.
 * @param {string} name
 */
export function openReview(name) {
  wanted = name;
  openTab("Review");
  requestAnimationFrame(() => mounted?.begin()); // when the tab is shown; a new tab does it when it is made
}

mount("pl-review", (element) => (mounted = new Review(element)));
