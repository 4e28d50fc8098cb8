// The tokens of a map as elements: in blocks of whole lines, of which the browser lays out only those that are near the window.
"use strict";

(() => {
  const { make, visible } = window.Pellucid;

  const BLOCK = 100; // tokens from which on a block ends at the next line end
  const LINE_EMS = 1.8; // as high as a line is in heatmap.css
  const LINE_CHARACTERS = 90; // what a line holds, as a guess for blocks that were never laid out

  const linesOf = (characters) => Math.max(1, Math.ceil(characters / LINE_CHARACTERS));

  class Cells {
    constructor(list, prefix) {
      this.list = list;
      this.prefix = prefix;
      this.clear();
    }

    get length() {
      return this.all.length;
    }

    clear() {
      this.all = [];
      this.block = null;
      this.list.replaceChildren();
    }

    /** Elements for more tokens. `describe(index)` gives the {className, label} of each. */
    append(records, describe) {
      for (const record of records) {
        if (this.block === null) this.open();
        const index = this.all.length;
        const cell = make("span", { role: "option", id: `${this.prefix}-${index}`, tabindex: "-1" }, ...visible.flowing(visible.piecesOf(record.t, record.b)));
        cell.dataset.token = String(index);
        this.all.push(cell);
        this.describe(index, describe(index));
        this.block.element.append(cell);
        this.block.tokens += 1;
        this.count(record.t);
        if (this.block.tokens >= BLOCK && record.t.endsWith("\n")) this.close();
      }
      if (this.block !== null) this.size();
    }

    /** Change how a token looks and what is said of it; nothing is built anew. */
    describe(index, { className, label }) {
      const cell = this.all[index];
      cell.className = className;
      cell.setAttribute("aria-label", label);
    }

    /** The token of an event's target, or null. */
    indexOf(target) {
      const cell = target instanceof Element ? target.closest("[data-token]") : null;
      return cell !== null && this.list.contains(cell) ? Number(cell.dataset.token) : null;
    }

    /** Where a token begins, in the window. */
    place(index) {
      return this.all[index].getClientRects()[0] || this.all[index].getBoundingClientRect();
    }

    /** The token in the line above (-1) or below (1) that is nearest to `x`; the token itself where there is no such line. */
    inNextLine(index, direction, x) {
      const here = this.place(index);
      let line = null;
      let [found, least] = [index, Infinity];
      for (let at = index + direction; at >= 0 && at < this.all.length; at += direction) {
        const place = this.place(at);
        const from = line === null ? here.top : line;
        const isFarther = direction * (place.top - from) > here.height / 2;
        if (line === null && !isFarther) continue;
        if (line === null) line = place.top;
        else if (isFarther) break;
        const distance = Math.abs((place.left + place.right) / 2 - x);
        if (distance < least) [found, least] = [at, distance];
      }
      return found;
    }

    open() {
      this.block = { element: make("div", { role: "group", class: "pl-block-of-tokens" }), tokens: 0, lines: 0, column: 0 };
      this.list.append(this.block.element);
    }

    close() {
      this.size();
      this.block = null;
    }

    /** Count the lines of a text, as far as one can without laying it out: a wrong guess moves what is below when it comes into sight. */
    count(text) {
      const [first, ...others] = text.split("\n");
      this.block.column += first.length;
      for (const line of others) {
        this.block.lines += linesOf(this.block.column);
        this.block.column = line.length;
      }
    }

    size() {
      const { element, lines, column } = this.block;
      const all = lines + (column ? linesOf(column) : 0); // a line end at the end of a block begins no line
      element.style.containIntrinsicBlockSize = `auto ${(all * LINE_EMS).toFixed(1)}em`;
    }
  }

  window.Pellucid.Cells = Cells;
})();
