// The surprisal of all tokens as a line of bars; a click on a bar goes to its token.

import { make, makeSvg, download } from "../shared/dom.js";
import * as colours from "./colours.js";
import * as visible from "./token_text.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 32;
const MIN_TOP = 8; // bits; a text without surprises is drawn low
const MIN_COLUMN = 1.5; // pixels; a column for several tokens shows the most surprising one
const MAX_COLUMN = 12;
const CURSOR = 4; // pixels at least

export class SurprisalBars {
  /**
   * Call `onGo` with the index of a clicked token, and `onPoint` with that of the token at the pointer, or null without one.
   * @param {Page.SurprisalBarsOptions} options
   */
  constructor({ onGo, onPoint }) {
    this.onPoint = onPoint;
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    /** @type {(Page.Weighed | null)[] | null} */
    this.weighed = null; // the tokens at other settings of the sampler
    /** @type {number[]} */
    this.columns = []; // the index of the token that each column shows
    this.perColumn = 1; // tokens
    this.step = MAX_COLUMN; // pixels
    /** @type {number | null} */
    this.focused = null;
    this.bars = makeSvg("path", { class: "pl-spark-bars" });
    this.cursor = makeSvg("rect", { class: "pl-spark-cursor", y: 0, height: HEIGHT, visibility: "hidden" });
    this.line = makeSvg("svg", { class: "pl-spark", role: "img", height: HEIGHT, preserveAspectRatio: "none" }, this.cursor, this.bars);
    this.line.addEventListener("click", (event) => this.columns.length && onGo(this.at(event)));
    this.line.addEventListener("pointermove", (event) => this.columns.length && this.onPoint(this.at(event)));
    this.line.addEventListener("pointerleave", () => this.onPoint(null));
    this.saveButton = make("button", { type: "button", class: "pl-tool pl-save", title: "Save the surprisal of all tokens as a picture (SVG)", "aria-label": "Download chart: surprisal of all tokens", onclick: () => this.save() }, "Download chart");
    this.element = make("div", { class: "pl-spark-row" }, this.line, this.saveButton);
    this.frame = 0;
    this.observer = new ResizeObserver(() => this.request());
    this.observer.observe(this.line);
  }

  /**
   * Show tokens, or what they would be at other settings of the sampler. Call it again when the array has grown.
   * @param {Page.TokenRecord[]} records
   * @param {(Page.Weighed | null)[] | null} [weighed]
   */
  set(records, weighed = null) {
    this.records = records;
    this.weighed = weighed;
    this.saveButton.disabled = !records.length;
    this.request();
  }

  /**
   * Mark the token that has the focus.
   * @param {number | null} index
   */
  mark(index) {
    this.focused = index;
    this.drawCursor();
  }

  /** Have the browser save the drawn line as a picture that needs no style sheet. */
  save() {
    this.draw(); // the last tokens may still wait for their frame
    download("surprisal.svg", this.picture(), "image/svg+xml");
  }

  /** @returns {string} SVG */
  picture() {
    const { fill } = getComputedStyle(this.bars);
    const [, , width, height] = /** @type {string} */ (this.line.getAttribute("viewBox")).split(" ");
    const title = makeSvg("title", {});
    title.textContent = this.line.getAttribute("aria-label");
    const bars = makeSvg("path", { d: this.bars.getAttribute("d") ?? "", fill });
    const picture = makeSvg("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, title, bars);
    return new XMLSerializer().serializeToString(picture);
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  request() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const width = this.line.clientWidth;
    const count = this.records.length;
    if (!width) return;
    const perColumn = Math.max(1, Math.ceil((count * MIN_COLUMN) / width));
    this.columns = [];
    for (let start = 0; start < count; start += perColumn) this.columns.push(this.highest(start, Math.min(start + perColumn, count)));
    this.perColumn = perColumn;
    this.step = Math.min(width / Math.max(this.columns.length, 1), MAX_COLUMN);
    const top = Math.max(MIN_TOP, ...this.columns.map((index) => this.bits(index)).filter(Number.isFinite));
    this.line.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.bars.setAttribute("d", this.columns.map((index, column) => this.bar(column, Math.min(this.bits(index) / top, 1) * (HEIGHT - 2))).join(""));
    this.name();
    this.drawCursor();
  }

  /**
   * @param {number} column
   * @param {number} height pixels
   * @returns {string} a path
   */
  bar(column, height) {
    const gap = this.step > 4 ? 1 : 0;
    const [left, right] = [column * this.step, (column + 1) * this.step - gap];
    return `M${left.toFixed(2)} ${HEIGHT}V${(HEIGHT - Math.max(height, 0.5)).toFixed(2)}H${right.toFixed(2)}V${HEIGHT}z`;
  }

  drawCursor() {
    const { focused } = this;
    const known = focused !== null && focused < this.records.length && this.columns.length > 0;
    this.cursor.setAttribute("visibility", known ? "visible" : "hidden");
    if (!known) return;
    const width = Math.max(this.step, CURSOR);
    this.cursor.setAttribute("width", String(width));
    this.cursor.setAttribute("x", String((Math.floor(focused / this.perColumn) + 0.5) * this.step - width / 2));
  }

  name() {
    const highest = this.records.length ? this.highest(0, this.records.length) : null;
    const bits = highest === null ? 0 : this.bits(highest);
    const amount = Number.isFinite(bits) ? `at most ${bits.toFixed(1)} bits` : "dropped tokens";
    const most = highest === null ? "" : `: ${amount}, for “${visible.spoken(this.records[highest].t, this.records[highest].b)}”`;
    this.line.setAttribute("aria-label", `Surprisal of ${this.records.length} tokens${this.weighed ? " with the settings of What if" : ""}${most}`);
  }

  /**
   * @param {number} index
   * @returns {number} surprisal in bits; infinite for a token that would have been dropped
   */
  bits(index) {
    const weighed = this.weighed?.[index];
    return weighed ? -Math.log2(weighed.probability.middle) : colours.surprisal(this.records[index]) || 0;
  }

  /**
   * Return the most surprising token of a range.
   * @param {number} start
   * @param {number} end
   * @returns {number}
   */
  highest(start, end) {
    let found = start;
    for (let index = start + 1; index < end; index += 1) if (this.bits(index) > this.bits(found)) found = index;
    return found;
  }

  /**
   * Return the token at the pointer.
   * @param {MouseEvent} event
   * @returns {number}
   */
  at(event) {
    const box = this.line.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.step);
    return this.columns[Math.max(0, Math.min(column, this.columns.length - 1))];
  }
}
