// The tokens of a map as elements, in blocks of whole lines: the browser lays out only the blocks near the window.
"use strict";

(() => {
  const { make, visible } = window.Pellucid;

  /** @typedef {{ element: HTMLElement, tokens: number, lines: number, column: number }} Block */

  const BLOCK = 100; // tokens after which a block ends at the next line end
  const LINE_EMS = 1.8; // the height of a line in heatmap.css
  const LINE_CHARACTERS = 90; // a guess of a line's length, for blocks that were never laid out

  /**
   * @param {number} characters
   * @returns {number}
   */
  const linesOf = (characters) => Math.max(1, Math.ceil(characters / LINE_CHARACTERS));

  class Cells {
    /**
     * @param {HTMLElement} list
     * @param {string} prefix of the elements' ids
     */
    constructor(list, prefix) {
      this.list = list;
      this.prefix = prefix;
      /** @type {HTMLElement[]} */
      this.all = [];
      /** @type {Block | null} */
      this.block = null;
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

    /**
     * Append elements for more tokens.
     * @param {Page.TokenRecord[]} records
     * @param {(index: number) => Page.CellDescription} describe
     */
    append(records, describe) {
      for (const record of records) {
        const block = this.block ?? this.open();
        const index = this.all.length;
        const cell = make("span", { role: "option", id: `${this.prefix}-${index}`, tabindex: "-1" }, ...visible.flowing(visible.piecesOf(record.t, record.b)));
        cell.dataset.token = String(index);
        this.all.push(cell);
        this.describe(index, describe(index));
        block.element.append(cell);
        block.tokens += 1;
        count(block, record.t);
        if (block.tokens >= BLOCK && record.t.endsWith("\n")) this.close(block);
      }
      if (this.block !== null) size(this.block);
    }

    /**
     * Change how a token looks and its accessible name, without building a new element.
     * @param {number} index
     * @param {Page.CellDescription} description
     */
    describe(index, { className, label }) {
      const cell = this.all[index];
      cell.className = className;
      cell.setAttribute("aria-label", label);
    }

    /**
     * Return the token of an event's target, or null.
     * @param {EventTarget | null} target
     * @returns {number | null}
     */
    indexOf(target) {
      const cell = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-token]")) : null;
      return cell !== null && this.list.contains(cell) ? Number(cell.dataset.token) : null;
    }

    /**
     * Return where a token begins in the window.
     * @param {number} index
     * @returns {DOMRect}
     */
    place(index) {
      return this.all[index].getClientRects()[0] || this.all[index].getBoundingClientRect();
    }

    /**
     * Return the token nearest to `x` in the line above or below; `index` itself if there is no such line.
     * @param {number} index
     * @param {number} direction -1 for above, 1 for below
     * @param {number} x
     * @returns {number}
     */
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

    /** @returns {Block} */
    open() {
      const block = { element: make("div", { role: "group", class: "pl-block-of-tokens" }), tokens: 0, lines: 0, column: 0 };
      this.block = block;
      this.list.append(block.element);
      return block;
    }

    /** @param {Block} block */
    close(block) {
      size(block);
      this.block = null;
    }
  }

  /**
   * Count the lines of a text without laying it out. After a wrong guess, what is below moves when the block comes into view.
   * @param {Block} block
   * @param {string} text
   */
  function count(block, text) {
    const [first, ...others] = text.split("\n");
    block.column += first.length;
    for (const line of others) {
      block.lines += linesOf(block.column);
      block.column = line.length;
    }
  }

  /** @param {Block} block */
  function size({ element, lines, column }) {
    const all = lines + (column ? linesOf(column) : 0); // a line end at the end of a block begins no line
    element.style.containIntrinsicBlockSize = `auto ${(all * LINE_EMS).toFixed(1)}em`;
  }

  window.Pellucid.Cells = Cells;
})();
