// The lines of a text from the most surprising one down. Choosing a line goes to it in the map.

import { make, button } from "../shared/dom.js";
import * as bothModels from "./both_models.js";

const SHOWN = 100; // lines that are shown at first, and more at each wish
/** @type {Record<string, string>} */
const SORTS = { bits: "Total bits of the line", mean: "Mean bits of a token", most: "Most surprising token" };
const SAVED = "saved";

export class LineList {
  /** @param {Page.LineListOptions} options */
  constructor({ onGo, onEnter, onSort }) {
    this.onGo = onGo;
    this.onEnter = onEnter;
    /** @type {Page.LineColumns | null} */
    this.columns = null;
    /** @type {string[]} */
    this.texts = [];
    this.second = ""; // the model that saves bits
    /** @type {number[]} */
    this.values = [];
    /** @type {number[]} */
    this.order = []; // indices of the columns
    this.shown = SHOWN;
    this.current = -1; // place in the order
    /** @type {HTMLSelectElement} */
    this.select = make("select", {
      class: "pl-button",
      "aria-label": "Sort lines by",
      onchange: () => {
        this.sort();
        onSort();
      },
    });
    this.offer("");
    this.previous = button("Previous", { onclick: () => this.step(-1) }, "Key , (comma)");
    this.next = button("Next", { onclick: () => this.step(1) }, "Key . (full stop)");
    this.place = make("span", { class: "pl-quiet", role: "status" });
    this.list = make("ol", { class: "pl-line-list", "aria-label": "Lines by surprisal", onkeydown: (event) => this.key(event) });
    this.more = button("", { onclick: () => this.showMore() });
    this.element = make(
      "section",
      { class: "pl-lines", "aria-label": "Most surprising lines" },
      make("label", { class: "pl-lines-sort" }, make("span", { "aria-hidden": "true" }, "Lines by"), this.select),
      make("div", { class: "pl-row" }, this.previous, this.next, this.place),
      this.list,
      this.more,
    );
  }

  /**
   * Show the lines of a text; null shows none.
   * @param {Page.LineColumns | null} columns
   * @param {string[]} texts of all lines of the text
   * @param {string} second the model that saves bits, or ""
   */
  set(columns, texts, second) {
    Object.assign(this, { columns, texts, second, current: -1 });
    this.offer(columns !== null && columns.saved !== undefined ? second : "");
    if (columns?.saved !== undefined) this.select.value = SAVED;
    this.sort();
  }

  /**
   * Offer the sorts, with that by saved bits if a second model is named.
   * @param {string} second
   */
  offer(second) {
    const before = this.select.value;
    const sorts = Object.entries({ ...SORTS, ...(second ? { [SAVED]: `Bits saved by ${second}` } : {}) });
    this.select.replaceChildren(...sorts.map(([value, name]) => make("option", { value }, name)));
    if (sorts.some(([value]) => value === before)) this.select.value = before;
  }

  sort() {
    const by = this.select.value;
    const { columns } = this;
    const all = columns === null ? [] : columns.number.map((_, at) => at);
    this.values = columns === null ? [] : valuesOf(columns, by);
    const size = this.values.map(Math.abs);
    this.order = all.sort((one, other) => size[other] - size[one] || one - other);
    this.shown = SHOWN;
    this.current = -1;
    this.place.textContent = "";
    this.list.replaceChildren(...this.rows(0, SHOWN));
    this.list.scrollTop = 0;
    this.offerMore();
  }

  /**
   * @param {number} from
   * @param {number} to
   * @returns {HTMLElement[]}
   */
  rows(from, to) {
    return this.order.slice(from, to).map((at, index) => this.row(at, from + index));
  }

  /**
   * @param {number} at
   * @param {number} place
   * @returns {HTMLElement}
   */
  row(at, place) {
    const columns = /** @type {Page.LineColumns} */ (this.columns);
    const number = columns.number[at];
    const value = this.values[at];
    const isSaved = this.select.value === SAVED;
    const most = Math.abs(this.values[this.order[0]]) || 1;
    const bits = isSaved ? bothModels.signed(value, 1) : value.toFixed(1);
    const text = (this.texts[number - 1] || "").trim() || "(blank)";
    const spoken = isSaved ? `${bits} bits saved by ${this.second}` : `${bits} bits`;
    const bar = make("span", { class: `pl-line-bar${value < 0 ? " pl-line-lost" : ""}${isSaved ? " pl-line-saved" : ""}`, style: `--share: ${((100 * Math.abs(value)) / most).toFixed(1)}%` });
    const choose = make(
      "button",
      { type: "button", class: "pl-line-row", tabindex: place ? "-1" : "0", "aria-label": `Line ${number}, ${spoken}: ${text}`, onclick: () => this.choose(place) },
      make("span", { class: "pl-line-number" }, String(number)),
      make("span", { class: "pl-line-text pl-mono", dir: "auto" }, text),
      make("span", { class: "pl-line-bits" }, bits),
      bar,
    );
    return make("li", {}, choose);
  }

  showMore() {
    const first = this.shown;
    this.shown += SHOWN;
    this.list.append(...this.rows(first, this.shown));
    this.offerMore();
    if (document.activeElement === this.more || document.activeElement === document.body) this.rowAt(first)?.focus();
  }

  offerMore() {
    const rest = this.order.length - this.shown;
    this.more.hidden = rest <= 0;
    this.more.textContent = rest > SHOWN ? `Show ${SHOWN} of ${rest} more lines` : `Show ${rest} more lines`;
    this.previous.disabled = this.next.disabled = !this.order.length;
  }

  /**
   * Go to the next line of the list, or with -1 to the previous one; the list wraps around.
   * @param {number} direction
   */
  step(direction) {
    const count = this.order.length;
    if (!count) return;
    const start = this.current < 0 && direction < 0 ? 0 : this.current;
    this.choose((start + direction + count) % count);
  }

  /** @param {number} place */
  choose(place) {
    this.rowAt(this.current)?.removeAttribute("aria-current");
    while (place >= this.shown) this.showMore();
    for (const row of this.list.querySelectorAll('[tabindex="0"]')) row.setAttribute("tabindex", "-1");
    this.current = place;
    const row = /** @type {HTMLElement} */ (this.rowAt(place));
    row.setAttribute("aria-current", "true");
    row.tabIndex = 0;
    const { top, bottom } = row.getBoundingClientRect();
    const box = this.list.getBoundingClientRect();
    if (top < box.top) this.list.scrollTop -= box.top - top;
    if (bottom > box.bottom) this.list.scrollTop += bottom - box.bottom;
    this.place.textContent = `${place + 1} of ${this.order.length}`;
    this.onGo(this.order[place]);
  }

  /**
   * @param {number} place
   * @returns {HTMLElement | null}
   */
  rowAt(place) {
    return this.list.children[place]?.querySelector("button") ?? null;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const focused = [...this.list.children].findIndex((item) => item.contains(document.activeElement));
    const last = Math.min(this.shown, this.order.length) - 1;
    /** @type {Record<string, number>} */
    const places = { ArrowDown: Math.min(focused + 1, last), ArrowUp: Math.max(focused - 1, 0), Home: 0, End: last };
    if (event.key === "Enter" && focused === this.current && focused >= 0) {
      event.preventDefault();
      this.onEnter(this.order[focused]);
    } else if (event.key in places) {
      event.preventDefault();
      this.choose(places[event.key]);
      this.rowAt(places[event.key])?.focus({ preventScroll: true });
    }
  }
}

/**
 * @param {Page.LineColumns} columns
 * @param {string} by
 * @returns {number[]}
 */
function valuesOf(columns, by) {
  if (by === SAVED && columns.saved !== undefined) return columns.saved;
  if (by === "mean") return columns.bits.map((bits, at) => bits / columns.tokens[at]);
  return by === "most" ? columns.most : columns.bits;
}
