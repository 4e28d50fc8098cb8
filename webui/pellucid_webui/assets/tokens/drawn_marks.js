// Marks on rendered text in browsers that cannot paint them as highlights: boxes over the words, which change no element either.

import { make } from "../shared/dom.js";

const SCROLLERS = "pre, .pl-table-scroll, .pl-formula"; // which show only a part of their text

export class DrawnMarks {
  /** @param {HTMLElement} body of a message; the boxes are put after it */
  constructor(body) {
    this.body = body;
    this.layer = make("div", { class: "pl-drawn", "aria-hidden": "true" });
    /** @type {Map<string, Range[]>} */
    this.ranges = new Map();
    this.frame = 0;
    this.resized = new ResizeObserver(() => this.plan());
    this.resized.observe(body);
    this.scrolled = () => this.plan();
    body.addEventListener("scroll", this.scrolled, { capture: true });
    body.after(this.layer);
  }

  /**
   * Mark these ranges instead of those of before.
   * @param {string} name of the layer
   * @param {Range[]} ranges
   */
  set(name, ranges) {
    this.ranges.set(name, ranges);
    this.plan();
  }

  /** Draw at most once a frame. */
  plan() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const origin = this.layer.getBoundingClientRect();
    const boxes = [];
    for (const [name, ranges] of this.ranges) {
      for (const range of ranges) {
        const start = range.startContainer;
        const scroller = start.parentElement?.closest(SCROLLERS)?.getBoundingClientRect();
        for (const rect of range.getClientRects()) {
          const left = Math.max(rect.left, scroller?.left ?? rect.left);
          const right = Math.min(rect.right, scroller?.right ?? rect.right);
          if (right <= left) continue;
          const box = make("i", { class: name });
          Object.assign(box.style, { left: `${left - origin.left}px`, top: `${rect.top - origin.top}px`, width: `${right - left}px`, height: `${rect.height}px` });
          boxes.push(box);
        }
      }
    }
    this.layer.replaceChildren(...boxes);
  }

  destroy() {
    cancelAnimationFrame(this.frame);
    this.resized.disconnect();
    this.body.removeEventListener("scroll", this.scrolled, { capture: true });
    this.layer.remove();
  }
}

/**
 * Return whether the browser paints highlights, and lines under them: some have neither, some only their backgrounds.
 * @param {Element} element
 * @returns {boolean}
 */
export function paintsHighlights(element) {
  if (typeof Highlight !== "function" || !("highlights" in CSS)) return false;
  return getComputedStyle(element, "::highlight(pl-unsure)").textDecorationLine.includes("underline");
}
