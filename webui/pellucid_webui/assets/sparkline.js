// The surprisal of all tokens at a glance, as a line of bars that leads to them.
"use strict";

(() => {
  const { make, colours, download, visible } = window.Pellucid;

  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 32;
  const LEAST_TOP = 8; // bits: what is certain all along is drawn low
  const LEAST_COLUMN = 1.5; // pixels: of more tokens than fit, the most surprising of a column is shown
  const MOST_COLUMN = 12;

  class Sparkline {
    /** `onGo(index)` when a token is asked for; `onPoint(index)` when the pointer is at one, and with null when it leaves. */
    constructor({ onGo, onPoint }) {
      this.onPoint = onPoint;
      this.records = [];
      this.columns = [];
      this.focused = null;
      this.bars = draw("path", { class: "pl-spark-bars" });
      this.cursor = draw("rect", { class: "pl-spark-cursor", y: 0, height: HEIGHT, visibility: "hidden" });
      this.line = draw("svg", { class: "pl-spark", role: "img", height: HEIGHT, preserveAspectRatio: "none" }, this.cursor, this.bars);
      this.line.addEventListener("click", (event) => this.columns.length && onGo(this.at(event)));
      this.line.addEventListener("pointermove", (event) => this.columns.length && this.onPoint(this.at(event)));
      this.line.addEventListener("pointerleave", () => this.onPoint(null));
      this.saveButton = make("button", { type: "button", class: "pl-tool pl-save", title: "Save this line as a picture (SVG)", "aria-label": "Save the line of surprisal as SVG", onclick: () => this.save() }, "SVG");
      this.element = make("div", { class: "pl-spark-row" }, this.line, this.saveButton);
      this.frame = 0;
      this.observer = new ResizeObserver(() => this.request());
      this.observer.observe(this.line);
    }

    /** The tokens, an array that grows: call it again when it has. */
    set(records) {
      this.records = records;
      this.saveButton.disabled = !records.length;
      this.request();
    }

    /** The token that has the focus, or null. */
    mark(index) {
      this.focused = index;
      this.drawCursor();
    }

    /** Have the browser save the line as it is drawn, as a picture that needs no style sheet. */
    save() {
      this.draw(); // what was added last may still wait for its frame
      download("surprisal.svg", this.picture(), "image/svg+xml");
    }

    picture() {
      const { fill } = getComputedStyle(this.bars);
      const [, , width, height] = this.line.getAttribute("viewBox").split(" ");
      const title = draw("title", {});
      title.textContent = this.line.getAttribute("aria-label");
      const bars = draw("path", { d: this.bars.getAttribute("d"), fill });
      const picture = draw("svg", { xmlns: SVG, width, height, viewBox: `0 0 ${width} ${height}` }, title, bars);
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
      const perColumn = Math.max(1, Math.ceil((count * LEAST_COLUMN) / width));
      this.columns = [];
      for (let start = 0; start < count; start += perColumn) this.columns.push(this.highest(start, Math.min(start + perColumn, count)));
      this.perColumn = perColumn;
      this.step = Math.min(width / Math.max(this.columns.length, 1), MOST_COLUMN);
      const top = Math.max(LEAST_TOP, ...this.columns.map((index) => this.bits(index)));
      this.line.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      this.bars.setAttribute("d", this.columns.map((index, column) => this.bar(column, (this.bits(index) / top) * (HEIGHT - 2))).join(""));
      this.name();
      this.drawCursor();
    }

    bar(column, height) {
      const gap = this.step > 4 ? 1 : 0;
      const [left, right] = [column * this.step, (column + 1) * this.step - gap];
      return `M${left.toFixed(2)} ${HEIGHT}V${(HEIGHT - Math.max(height, 0.5)).toFixed(2)}H${right.toFixed(2)}V${HEIGHT}z`;
    }

    drawCursor() {
      const known = this.focused !== null && this.focused < this.records.length && this.columns.length > 0;
      this.cursor.setAttribute("visibility", known ? "visible" : "hidden");
      if (!known) return;
      const width = Math.max(this.step, 2);
      this.cursor.setAttribute("width", String(width));
      this.cursor.setAttribute("x", String((Math.floor(this.focused / this.perColumn) + 0.5) * this.step - width / 2));
    }

    name() {
      const highest = this.records.length ? this.highest(0, this.records.length) : null;
      const most = highest === null ? "" : `: at most ${this.bits(highest).toFixed(1)} bits, for “${visible.spoken(this.records[highest].t, this.records[highest].b)}”`;
      this.line.setAttribute("aria-label", `Surprisal of ${this.records.length} tokens${most}`);
    }

    bits(index) {
      return colours.bits(this.records[index].l) || 0;
    }

    highest(start, end) {
      let found = start;
      for (let index = start + 1; index < end; index += 1) if (this.bits(index) > this.bits(found)) found = index;
      return found;
    }

    /** The token at the pointer. */
    at(event) {
      const box = this.line.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / this.step);
      return this.columns[Math.max(0, Math.min(column, this.columns.length - 1))];
    }
  }

  function draw(name, attributes, ...children) {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
    element.append(...children);
    return element;
  }

  window.Pellucid.Sparkline = Sparkline;
})();
