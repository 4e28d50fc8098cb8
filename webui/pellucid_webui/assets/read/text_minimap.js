// A strip with a mark for each line of a text, coloured by its surprisal. A click goes there; the list of lines does the same by keyboard.

import { make } from "../shared/dom.js";
import * as colours from "../tokens/colours.js";

const LEAST = 0.08; // share of the strip's width of the shortest mark
const TALLEST = 12; // pixels of a line in a short text

export class TextMinimap {
  /** @param {Page.TextMinimapOptions} options */
  constructor({ onGo }) {
    this.lines = 0;
    /** @type {number[]} */
    this.numbers = [];
    /** @type {number[]} */
    this.values = [];
    this.canvas = make("canvas", {});
    this.frame = make("div", { class: "pl-minimap-window" });
    this.element = make("div", { class: "pl-minimap pl-heat", "aria-hidden": "true", title: "The whole text: a click goes there" }, this.canvas, this.frame);
    /** @param {PointerEvent} event */
    const go = (event) => this.lines && onGo(this.lineAt(event));
    this.element.addEventListener("pointerdown", (event) => {
      this.element.setPointerCapture(event.pointerId);
      go(event);
    });
    this.element.addEventListener("pointermove", (event) => event.buttons && go(event));
    new ResizeObserver(() => this.draw()).observe(this.element);
    new MutationObserver(() => this.draw()).observe(document.body, { attributeFilter: ["class"] }); // another theme
  }

  /**
   * Show the lines of a text.
   * @param {number} lines
   * @param {number[]} numbers of the lines that have values, in order
   * @param {number[]} values negative ones have the other colour
   */
  set(lines, numbers, values) {
    Object.assign(this, { lines, numbers, values });
    this.draw();
  }

  /**
   * Show which lines are in view.
   * @param {number} from
   * @param {number} to
   */
  show(from, to) {
    const height = this.lineHeight();
    this.frame.hidden = !this.lines;
    this.frame.style.top = `${((from - 1) * height).toFixed(1)}px`;
    this.frame.style.height = `${Math.max((to - from + 1) * height, 4).toFixed(1)}px`;
  }

  lineHeight() {
    return this.lines ? Math.min(this.element.clientHeight / this.lines, TALLEST) : 0;
  }

  /**
   * @param {PointerEvent} event
   * @returns {number}
   */
  lineAt(event) {
    const at = Math.floor((event.clientY - this.element.getBoundingClientRect().top) / this.lineHeight());
    return Math.max(1, Math.min(at + 1, this.lines));
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const scale = window.devicePixelRatio || 1;
    Object.assign(this.canvas, { width: width * scale, height: height * scale });
    const pen = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    pen.scale(scale, scale);
    const tall = this.lineHeight();
    const most = Math.max(...this.rows(tall).values(), 0) || 1;
    const style = getComputedStyle(this.element);
    const hasNegative = this.values.some((value) => value < 0);
    for (const [top, value] of this.signed(tall)) {
      const share = Math.abs(value) / most;
      const name = hasNegative && value > 0 ? "cool" : "warm";
      pen.fillStyle = style.getPropertyValue(`--${name}-${Math.max(1, colours.step(share))}`);
      pen.fillRect(0, top, Math.max(share, LEAST) * width, Math.max(tall - (tall > 3 ? 1 : 0), 1));
    }
  }

  /**
   * Return the values of the rows of pixels, without signs.
   * @param {number} tall
   * @returns {Map<number, number>}
   */
  rows(tall) {
    return new Map([...this.signed(tall)].map(([top, value]) => [top, Math.abs(value)]));
  }

  /**
   * Return the value of each row of pixels that has lines: where it has several, the largest one.
   * @param {number} tall pixels of a line
   * @returns {Map<number, number>}
   */
  signed(tall) {
    /** @type {Map<number, number>} */
    const found = new Map();
    this.numbers.forEach((number, at) => {
      const top = tall < 1 ? Math.floor((number - 1) * tall) : (number - 1) * tall;
      if (Math.abs(found.get(top) ?? 0) <= Math.abs(this.values[at])) found.set(top, this.values[at]);
    });
    return found;
  }
}
