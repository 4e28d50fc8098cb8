// The card of a token: its text, its probability and its alternatives. It floats next to the token.

import { make } from "../shared/dom.js";
import * as colours from "./colours.js";
import * as visible from "./token_text.js";
import { whyUnsure } from "./why_unsure.js";

const GAP = 6; // pixels between a token and its card
const MARGIN = 8; // pixels that the card keeps from the edges of the window
const MIN_HEIGHT = 160; // pixels of a card that scrolls; in a lower window it covers its token
const UNREPORTED = "not reported by the engine";
const HALF = "This is only half a character, so no answer can continue from it.";

/**
 * @param {number | null} value
 * @param {number} digits
 * @returns {string}
 */
const rounded = (value, digits) => (value === null ? "–" : value.toFixed(digits));

/**
 * @param {number | null} value from 0 to 1
 * @returns {string}
 */
const share = (value) => (value === null ? "–" : `${visible.percent(value)} %`);

export class TokenCard {
  /**
   * @param {{ docked?: boolean }} [options] a docked card has a place of its own on the page, which it fills
   */
  constructor({ docked = false } = {}) {
    this.docked = docked;
    /** @type {((alternative: number) => void) | null} */
    this.onBranch = null;
    /** @type {() => void} */
    this.onClose = () => {};
    /** @type {HTMLElement[]} */
    this.rows = [];
    // Focusable, so that a click into it takes the focus instead of losing it.
    const role = docked ? { class: "pl-card pl-docked", role: "group" } : { class: "pl-card", popover: "manual", role: "dialog" };
    this.element = make("div", { ...role, tabindex: "-1", onkeydown: (event) => this.key(event) });
    /** @type {HTMLElement} */
    this.anchor = this.element; // the token, while the card is open
    /** @type {HTMLElement | null} */
    this.clear = null; // is not covered, if it is above the token
  }

  get isOpen() {
    return this.docked ? this.element.childElementCount > 0 : this.element.matches(":popover-open");
  }

  /** Whether the keyboard focus is in the card. */
  get hasFocus() {
    return this.element.contains(document.activeElement);
  }

  /**
   * Show a token. `anchor` is its element; `onBranch` is null where branching is impossible; `onClose` closes the card.
   * @param {Page.CardOptions} options
   */
  show({ index, record, difference, verdict, onBranch, onClose, anchor, note = "", figures = null, hint = "", clear = null, isUnreported = false }) {
    const isSame = this.isOpen && this.element.dataset.index === String(index);
    this.clear = clear;
    this.onBranch = onBranch;
    this.onClose = onClose;
    this.anchor = anchor;
    this.describe(index, record);
    this.rows = [];
    const parts = [this.head(record), figures ?? this.figures(record, isUnreported)];
    const why = difference ? "" : whyUnsure(record);
    if (why) parts.push(make("p", { class: "pl-remark pl-why" }, why));
    if (note) parts.push(make("p", { class: "pl-remark pl-branch-remark" }, note));
    if (difference && difference.text) parts.push(make("p", { class: "pl-remark" }, difference.text));
    if (record.g) parts.push(make("p", { class: "pl-remark" }, grammarWords(record.g)));
    if (verdict) parts.push(this.verdict(verdict));
    if (record.a.length) parts.push(this.alternatives(record, verdict));
    if (hint) parts.push(make("p", { class: "pl-remark pl-card-hint" }, hint));
    this.element.replaceChildren(...parts);
    if (this.docked) return;
    if (!this.isOpen) this.element.showPopover();
    this.place();
    if (!isSame) this.element.scrollTop = 0; // else another token's card would open with its head out of view
  }

  hide() {
    if (!this.isOpen) return;
    if (!this.docked) this.element.hidePopover();
    else this.empty();
  }

  /** Take the token out of a docked card. */
  empty() {
    this.rows = [];
    this.element.replaceChildren();
    this.element.removeAttribute("aria-label");
    for (const name of Object.keys(this.element.dataset)) delete this.element.dataset[name];
  }

  /** Move the card next to its token, within the window. A card that is too high scrolls, so that the token stays visible. */
  place() {
    if (this.docked) return;
    const token = this.anchor.getClientRects()[0] || this.anchor.getBoundingClientRect();
    const [width, height] = [document.documentElement.clientWidth, window.innerHeight];
    const { offsetWidth, offsetHeight, clientHeight, scrollHeight } = this.element;
    const whole = offsetHeight - clientHeight + scrollHeight; // measured without letting it grow, so that it keeps its scroll position
    const above = this.clear?.getBoundingClientRect().bottom ?? 0;
    const least = above > 0 && above <= token.top ? above + GAP : MARGIN;
    const room = { below: height - MARGIN - token.bottom - GAP, above: token.top - GAP - least };
    const isBelow = whole <= room.below || room.below >= room.above;
    const most = Math.max(MIN_HEIGHT, isBelow ? room.below : room.above);
    const shown = Math.min(whole, most);
    this.element.style.maxHeight = `${Math.floor(most)}px`;
    const next = isBelow ? token.bottom + GAP : token.top - GAP - shown;
    const top = Math.max(MARGIN, Math.min(next, height - MARGIN - shown));
    const left = Math.max(MARGIN, Math.min(token.left, width - offsetWidth - MARGIN));
    this.element.style.left = `${Math.round(left)}px`;
    this.element.style.top = `${Math.round(top)}px`;
  }

  /**
   * Move the focus into the alternatives: to the token itself, if it is one of them.
   * @returns {boolean} whether there are alternatives
   */
  enter() {
    const chosen = this.rows.find((row) => row.getAttribute("aria-current") === "true") || this.rows[0];
    if (chosen) chosen.focus();
    return Boolean(chosen);
  }

  /**
   * Set the unrounded numbers as data attributes, for programs that read the page.
   * @param {number} index
   * @param {Page.TokenRecord} record
   */
  describe(index, record) {
    const numbers = {
      index,
      id: record.i < 0 ? null : record.i,
      logprob: record.l,
      probability: colours.probabilityOf(record),
      surprisal: colours.surprisal(record),
      rank: record.r,
      entropy: record.e,
      entropyLow: record.h?.[0] ?? null,
      entropyHigh: record.h?.[1] ?? null,
      sampled: record.s,
      rest: record.o,
    };
    for (const [name, value] of Object.entries(numbers)) {
      if (value === null) delete this.element.dataset[name];
      else this.element.dataset[name] = String(value);
    }
    this.element.setAttribute("aria-label", `Token ${visible.spoken(record.t, record.b)}`);
  }

  /**
   * @param {Page.TokenRecord} record
   * @returns {HTMLElement}
   */
  head(record) {
    const parts = [make("span", { class: "pl-name" }, ...visible.standing(visible.piecesOf(record.t, record.b)))];
    if (record.b !== undefined) parts.push(make("span", { class: "pl-bytes" }, `bytes ${visible.hexOf(visible.bytesOf(record.b))}`));
    if (record.i >= 0) parts.push(make("span", { class: "pl-id" }, `id ${record.i}`));
    // For touch screens, which have no Escape key and, if the map fills the screen, no place to tap outside. Not a tab stop.
    parts.push(make("button", { type: "button", class: "pl-close", tabindex: "-1", title: "Close", "aria-label": "Close", onclick: () => this.onClose() }, "×"));
    return make("div", { class: "pl-card-head" }, ...parts);
  }

  /**
   * @param {Page.TokenRecord} record
   * @param {boolean} isUnreported whether the sampler drew the token with a probability that the engine did not report
   * @returns {HTMLElement}
   */
  figures(record, isUnreported) {
    const probability = colours.probabilityOf(record);
    const surprisal = colours.surprisal(record);
    /**
     * @param {string} name
     * @param {string} text
     * @param {number | null} value
     * @returns {HTMLElement}
     */
    const figure = (name, text, value) => make("div", {}, make("dt", {}, name), make("dd", { title: value === null ? null : String(value) }, text));
    return make(
      "dl",
      { class: "pl-numbers" },
      figure("probability", share(probability), probability),
      figure("sampling probability", isUnreported ? UNREPORTED : share(record.s), record.s),
      figure("rank", record.r === null ? "–" : String(record.r), record.r),
      figure("surprisal", surprisal === null ? "–" : `${rounded(surprisal, 2)} bits`, surprisal),
      figure("entropy", colours.entropyWords(colours.entropyRange(record), record.e === null ? 2 : 3), record.e),
      ...(record.c === undefined || record.l === null ? [] : [figure("unconstrained", share(Math.exp(record.l)), Math.exp(record.l))]),
    );
  }

  /**
   * @param {Page.WhatIfResult} result
   * @returns {HTMLElement}
   */
  verdict({ chosen }) {
    const text = chosen.kept ? `What if: probability ${about(chosen.probability)}` : `What if: would ${chosen.sure ? "" : "probably "}have been dropped`;
    return make("p", { class: "pl-remark pl-verdict", title: range(chosen.probability), "data-whatif": String(chosen.probability.middle) }, text);
  }

  /**
   * @param {Page.TokenRecord} record
   * @param {Page.WhatIfResult | null} verdict
   * @returns {HTMLElement}
   */
  alternatives(record, verdict) {
    const rows = record.a.map((_, index) => this.row(record, index, verdict));
    const chosenIsListed = record.a.some((one) => one[0] === record.i);
    if (!chosenIsListed && record.l !== null) rows.push(this.unlisted(record, record.l, verdict));
    rows.push(this.rest(record, chosenIsListed || record.l === null, verdict));
    return make("ul", { class: `pl-alternatives${verdict ? " pl-weighed" : ""}`, "aria-label": "Alternatives" }, ...rows);
  }

  /**
   * @param {Page.TokenRecord} record
   * @param {number} index of the alternative
   * @param {Page.WhatIfResult | null} verdict
   * @returns {HTMLElement}
   */
  row(record, index, verdict) {
    const [id, text, logprob, base64] = record.a[index];
    const isChosen = id === record.i;
    const probability = Math.exp(colours.constrain(record, logprob));
    const weighed = verdict ? verdict.alternatives[index] : null;
    const half = base64 !== undefined;
    const said = [visible.spoken(text, base64), visible.spokenPercent(probability)];
    if (isChosen) said.push("chosen");
    if (weighed) said.push(spokenOf(weighed));
    /** @type {Page.Attributes} */
    const attributes = { class: "pl-alternative", tabindex: "-1" };
    if (isChosen) attributes["aria-current"] = "true";
    const name = visible.standing(visible.piecesOf(text, base64));
    const cells = this.cells(isChosen, name, probability, weighed);
    const { onBranch } = this;
    let row;
    if (onBranch) {
      const hint = half ? HALF : isChosen ? "Generate the text after this token again" : "Continue with this token instead";
      Object.assign(attributes, { type: "button", title: hint, "aria-label": `${said.join(", ")}. ${hint}`, "aria-disabled": half ? "true" : null });
      row = make("button", { ...attributes, onclick: () => half || onBranch(index) }, ...cells);
    } else {
      row = make("div", attributes, ...cells);
    }
    Object.assign(row.dataset, { alternative: String(index), id: String(id), logprob: String(logprob), probability: String(probability) });
    if (weighed) row.dataset.whatif = String(weighed.probability.middle);
    row.classList.toggle("pl-out", isOut(weighed));
    this.rows.push(row);
    return make("li", {}, row);
  }

  /**
   * Return a row for the token itself, when it is not among the alternatives.
   * @param {Page.TokenRecord} record
   * @param {number} logprob
   * @param {Page.WhatIfResult | null} verdict
   * @returns {HTMLElement}
   */
  unlisted(record, logprob, verdict) {
    const weighed = verdict ? verdict.chosen : null;
    const name = visible.standing(visible.piecesOf(record.t, record.b));
    const row = make("div", { class: "pl-alternative", "aria-current": "true" }, ...this.cells(true, name, Math.exp(colours.constrain(record, logprob)), weighed));
    row.classList.toggle("pl-out", isOut(weighed));
    return make("li", { class: "pl-unlisted" }, row);
  }

  /**
   * Return a row for all other tokens.
   * @param {Page.TokenRecord} record
   * @param {boolean} excludesChosen
   * @param {Page.WhatIfResult | null} verdict
   * @returns {HTMLElement}
   */
  rest(record, excludesChosen, verdict) {
    const weighed = verdict ? { kept: verdict.rest.high > 0, sure: true, probability: verdict.rest } : null;
    const others = record.c === undefined ? record.o : Math.max(0, record.o + record.c - 1) / record.c;
    const name = excludesChosen ? "all others" : "all others, this token included";
    const row = make("div", { class: "pl-alternative pl-rest" }, ...this.cells(false, [name], others, weighed));
    row.dataset.probability = String(others);
    if (weighed) row.dataset.whatif = String(weighed.probability.middle);
    row.classList.toggle("pl-out", isOut(weighed));
    return make("li", {}, row);
  }

  /**
   * @param {boolean} isChosen
   * @param {Page.Child[]} name
   * @param {number} probability
   * @param {Page.Weighed | null} weighed
   * @returns {Page.Child[]}
   */
  cells(isChosen, name, probability, weighed) {
    /**
     * @param {string} className
     * @param {number} value from 0 to 1
     * @returns {HTMLElement}
     */
    const bar = (className, value) => {
      const part = make("span", { class: className });
      part.style.setProperty("--share", `${(100 * value).toFixed(2)}%`);
      return part;
    };
    const bars = make("span", { class: "pl-bars" }, bar("pl-bar", probability), weighed && bar("pl-bar pl-bar-weighed", weighed.probability.middle));
    return [
      make("span", { class: "pl-dot", "aria-hidden": "true" }, isChosen ? "●" : ""),
      make("span", { class: "pl-name" }, ...name),
      bars,
      make("span", { class: "pl-number", title: String(probability) }, share(probability)),
      weighed && make("span", { class: "pl-number pl-number-weighed", title: range(weighed.probability) }, weighed.kept ? about(weighed.probability) : "dropped"),
    ];
  }

  /**
   * @param {KeyboardEvent} event
   */
  key(event) {
    const at = this.rows.findIndex((row) => row === document.activeElement);
    const last = this.rows.length - 1;
    /** @type {Record<string, number>} */
    const goals = { ArrowUp: Math.max(at - 1, 0), ArrowDown: Math.min(at + 1, last), Home: 0, End: last };
    if (!(event.key in goals) || last < 0) return;
    this.rows[goals[event.key]].focus();
    event.preventDefault();
    event.stopPropagation();
  }
}

/**
 * Return whether an interval is wider than its shown precision.
 * @param {Page.Interval} interval
 * @returns {boolean}
 */
const isWide = ({ low, high }) => high - low > 0.001;

/**
 * @param {Page.Interval} probability
 * @returns {string}
 */
const about = (probability) => `${isWide(probability) ? "≈ " : ""}${share(probability.middle)}`;

/**
 * @param {Page.Interval} probability
 * @returns {string}
 */
const range = (probability) =>
  isWide(probability) ? `between ${share(probability.low)} and ${share(probability.high)}` : String(probability.middle);

/**
 * @param {Page.Weighed | null} weighed
 * @returns {boolean}
 */
const isOut = (weighed) => weighed !== null && !weighed.kept;

/**
 * @param {Page.Weighed} weighed
 * @returns {string}
 */
const spokenOf = (weighed) => (weighed.kept ? `what if: ${visible.spokenPercent(weighed.probability.middle)}` : "what if: dropped");

/**
 * @param {[mass: number, allowed: number, logprob: number]} score
 * @returns {string}
 */
function grammarWords([mass, allowed, logprob]) {
  if (allowed === 1) return `The format allowed no other token; the model gave it ${visible.percent(mass)} %.`;
  return `The format allowed ${allowed} tokens, to which the model gave ${visible.percent(mass)} %; among them this one has ${visible.percent(Math.exp(logprob))} %.`;
}
