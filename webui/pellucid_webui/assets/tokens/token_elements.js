// The tokens of a map as elements, in blocks of whole lines. The browser lays out only the blocks near the window, and in a long
// text only these blocks have elements: the others are plain text, which is found, selected and copied like the elements.

import { make } from "../shared/dom.js";
import * as visible from "./token_text.js";

/**
 * `first` and `end` are its tokens, `from` the number of its first line and `breaks` its line ends. `element` holds the tokens'
 * elements if it is filled, else their text.
 * @typedef {{ element: HTMLElement, first: number, end: number, from: number, breaks: number, lines: number, column: number,
 *   filled: boolean, near: boolean }} Block
 */

const BLOCK = 100; // tokens after which a block ends at the next line end
const LONGEST_BLOCK = 2000; // tokens; a line that is longer is continued in the next block
const MANY = 6000; // tokens above which only the blocks near the window have elements
const MARGIN = "600px 0px"; // around the window, within which a block is near
const FRAME_SHARE_MS = 6; // of a frame, for the elements of blocks that are near but not in view
const PINNED = '[tabindex="0"], [data-shown], .pl-ranged, .pl-pointed'; // a block with one of these keeps its elements
const LINE_EMS = 1.8; // the height of a line in heatmap.css
const LINE_CHARACTERS = 90; // a guess of a line's length, for blocks that were never laid out

/**
 * @param {number} characters
 * @returns {number}
 */
const linesOf = (characters) => Math.max(1, Math.ceil(characters / LINE_CHARACTERS));

export class TokenElements {
  /**
   * @param {HTMLElement} list
   * @param {string} prefix of the elements' ids
   */
  constructor(list, prefix) {
    this.list = list;
    this.prefix = prefix;
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    /** @type {(HTMLElement | undefined)[]} */
    this.made = [];
    /** @type {Block[]} */
    this.blocks = [];
    /** @type {Block | null} */
    this.block = null;
    this.numbered = false;
    this.isLong = false;
    /** @type {(index: number) => Page.CellDescription} */
    this.describeToken = () => ({ className: "", label: "" });
    /** @type {Map<Element, Block>} */
    this.blockOf = new Map();
    /** @type {Block[]} */
    this.awaited = []; // blocks near the window that get their elements in the next frames
    this.frame = 0;
    this.current = 0; // the token that the Tab key goes to
    /** The elements of all tokens; one that is asked for is made. */
    this.all = lazily(
      () => this.records.length,
      (index) => this.cell(index),
    );
    /** @type {IntersectionObserverInit & { scrollMargin: string }} */
    const options = { rootMargin: MARGIN, scrollMargin: MARGIN };
    this.observer = new IntersectionObserver((entries) => this.seen(entries), options);
    this.clear();
  }

  get length() {
    return this.records.length;
  }

  clear() {
    this.observer.disconnect();
    this.blockOf.clear();
    cancelAnimationFrame(this.frame);
    Object.assign(this, { records: [], made: [], blocks: [], block: null, awaited: [], frame: 0, current: 0, isLong: this.numbered });
    this.list.replaceChildren();
  }

  /** Show the number of each line at its beginning, in an element that a style sheet places, and keep few elements of any text. */
  numberLines() {
    this.numbered = true;
    this.isLong = true;
    this.list.classList.add("pl-numbered");
  }

  /**
   * Return the tokens of the blocks between two heights of the list.
   * @param {number} top pixels from the list's upper end
   * @param {number} bottom
   * @returns {[from: number, to: number]}
   */
  between(top, bottom) {
    if (!this.blocks.length) return [0, 0];
    /** @param {number} offset */
    const at = (offset) => this.blocks[lastUpTo(this.blocks, (block) => block.element.offsetTop <= offset)];
    return [at(top).first, at(bottom).end];
  }

  /**
   * Append elements for more tokens.
   * @param {Page.TokenRecord[]} records
   * @param {(index: number) => Page.CellDescription} describe
   */
  append(records, describe) {
    this.describeToken = describe;
    if (!this.isLong && this.records.length + records.length > MANY) this.becomeLong();
    let from = this.records.length;
    for (const record of records) {
      const block = this.block ?? this.open();
      this.records.push(record);
      block.end += 1;
      count(block, record.t);
      const tokens = block.end - block.first;
      if (!((tokens >= BLOCK && record.t.endsWith("\n")) || tokens >= LONGEST_BLOCK)) continue;
      this.extend(block, from);
      from = block.end;
      this.block = null;
    }
    if (this.block !== null) this.extend(this.block, from);
  }

  /**
   * Change how a token looks and its accessible name, without building a new element.
   * @param {number} index
   * @param {Page.CellDescription} description
   */
  describe(index, { className, label }) {
    const cell = this.made[index];
    if (cell === undefined) return; // it is described when it is made
    cell.className = className;
    cell.setAttribute("aria-label", label);
  }

  /** Describe all tokens again that have an element: in a long text only those near the window do. */
  describeAgain() {
    for (const block of this.blocks) {
      if (block.filled) for (let index = block.first; index < block.end; index += 1) this.describe(index, this.describeToken(index));
    }
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
    const cell = this.cell(index);
    return cell.getClientRects()[0] || cell.getBoundingClientRect();
  }

  /**
   * Return the next token in a direction that is not hidden, or null.
   * @param {number | null} index null is before the first token, or after the last one
   * @param {number} direction
   * @returns {number | null}
   */
  next(index, direction) {
    let at = (index ?? (direction > 0 ? -1 : this.length)) + direction;
    while (this.made[at]?.hidden) at += direction;
    return at >= 0 && at < this.length ? at : null;
  }

  /**
   * Make a token the one that the Tab key goes to.
   * @param {number} index
   */
  select(index) {
    const before = this.all[this.current];
    before.tabIndex = -1;
    before.removeAttribute("aria-selected");
    this.current = index;
    this.all[index].tabIndex = 0;
    this.all[index].setAttribute("aria-selected", "true");
  }

  /**
   * Move the keyboard focus to a token, and scroll no further than needed.
   * @param {number} index
   */
  focus(index) {
    const cell = this.all[index];
    cell.focus({ preventScroll: true });
    cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /**
   * Return the number of the line at a height of the list, from 1; between the ends of a block it is interpolated.
   * @param {number} offset pixels from the list's upper end
   * @returns {number}
   */
  lineAt(offset) {
    if (!this.blocks.length) return 1;
    const { element, from, breaks } = this.blocks[lastUpTo(this.blocks, (block) => block.element.offsetTop <= offset)];
    const share = element.offsetHeight ? (offset - element.offsetTop) / element.offsetHeight : 0;
    return from + Math.floor(Math.max(0, Math.min(share, 0.9999)) * Math.max(breaks, 1));
  }

  /**
   * Return the height of the list at which a line begins, the reverse of `lineAt`.
   * @param {number} line
   * @returns {number} pixels
   */
  offsetOf(line) {
    if (!this.blocks.length) return 0;
    const { element, from, breaks } = this.blocks[lastUpTo(this.blocks, (block) => block.from <= line)];
    return element.offsetTop + (Math.min(line - from, breaks) / Math.max(breaks, 1)) * element.offsetHeight;
  }

  // Blocks

  /** @returns {Block} */
  open() {
    const last = this.blocks.at(-1);
    const element = make("div", { role: "group", class: "pl-block-of-tokens" });
    const first = this.records.length;
    const block = { element, first, end: first, from: last ? last.from + last.breaks : 1, breaks: 0, lines: 0, column: 0, filled: !this.isLong, near: !this.isLong };
    if (this.numbered && block.filled) this.number(block);
    this.block = block;
    this.blocks.push(block);
    this.blockOf.set(element, block);
    this.list.append(element);
    if (this.isLong) this.observer.observe(element);
    return block;
  }

  /**
   * Draw the tokens of a block from a token on, whether as elements or as text.
   * @param {Block} block
   * @param {number} from
   */
  extend(block, from) {
    const first = Math.max(from, block.first);
    if (block.filled) this.fill(block, first);
    else block.element.append(this.textOf(first, block.end));
    size(block);
  }

  /**
   * @param {Block} block
   * @param {number} from the first token without an element
   */
  fill(block, from) {
    let line = block.from;
    if (this.numbered) for (let at = block.first; at < from; at += 1) line += breaksIn(this.records[at].t);
    const cells = [];
    for (let index = from; index < block.end; index += 1) {
      const cell = this.make(index);
      if (this.numbered) line = this.numberWithin(cell, line, index === block.end - 1);
      cells.push(cell);
    }
    block.element.append(...cells);
  }

  /**
   * Make the element of a token.
   * @param {number} index
   * @returns {HTMLElement}
   */
  make(index) {
    const record = this.records[index];
    const cell = make("span", { role: "option", id: `${this.prefix}-${index}`, tabindex: "-1" }, ...visible.flowing(visible.piecesOf(record.t, record.b)));
    cell.dataset.token = String(index);
    this.made[index] = cell;
    this.describe(index, this.describeToken(index));
    return cell;
  }

  /**
   * Return the element of a token; if there is none yet, its block gets all of its elements.
   * @param {number} index
   * @returns {HTMLElement}
   */
  cell(index) {
    if (this.made[index] === undefined) this.show(this.blocks[lastUpTo(this.blocks, (block) => block.first <= index)]);
    return /** @type {HTMLElement} */ (this.made[index]);
  }

  /** @param {Block} block */
  show(block) {
    if (block.filled) return;
    block.filled = true;
    block.element.replaceChildren();
    if (this.numbered) this.number(block);
    this.fill(block, block.first);
  }

  /**
   * Replace the elements of a block by their text, unless one of them is in use.
   * @param {Block} block
   */
  hide(block) {
    if (!block.filled || block.element.querySelector(PINNED) !== null || block.element.contains(document.activeElement)) return;
    block.filled = false;
    for (let index = block.first; index < block.end; index += 1) delete this.made[index];
    block.element.replaceChildren(this.textOf(block.first, block.end));
  }

  /**
   * @param {number} from
   * @param {number} to
   * @returns {string}
   */
  textOf(from, to) {
    return this.records
      .slice(from, to)
      .map((record) => record.t)
      .join("");
  }

  /** From now on only the blocks near the window have elements. */
  becomeLong() {
    this.isLong = true;
    for (const { element } of this.blocks) this.observer.observe(element);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  seen(entries) {
    const view = this.list.getBoundingClientRect();
    const [top, bottom] = [Math.max(view.top, 0), Math.min(view.bottom, window.innerHeight)];
    for (const { target, isIntersecting, boundingClientRect: box } of entries) {
      const block = this.blockOf.get(target);
      if (block === undefined) continue;
      block.near = isIntersecting;
      if (!isIntersecting || block.filled) continue;
      if (box.bottom > top && box.top < bottom) this.show(block);
      else this.awaited.push(block);
    }
    for (const block of this.blocks) if (block.filled && !block.near) this.hide(block);
    this.showAwaited();
  }

  /** Give the blocks near the window their elements, a few in each frame: all at once they would hold up the scrolling. */
  showAwaited() {
    if (this.frame || !this.awaited.length) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const end = performance.now() + FRAME_SHARE_MS;
      do {
        const block = this.awaited.shift();
        if (block?.near) this.show(block);
      } while (this.awaited.length && performance.now() < end);
      this.showAwaited();
    });
  }

  // Line numbers

  /**
   * Number the line at the beginning of a block.
   * @param {Block} block
   */
  number(block) {
    const isContinued = block.first > 0 && !this.records[block.first - 1].t.endsWith("\n");
    if (!isContinued) block.element.append(gutter(block.from));
  }

  /**
   * Number the lines that begin within a token.
   * @param {HTMLElement} cell
   * @param {number} line of the token's beginning
   * @param {boolean} isLast whether it ends its block, and a line end of it begins no line there
   * @returns {number} the line of the token's end
   */
  numberWithin(cell, line, isLast) {
    const ends = cell.querySelectorAll(".pl-newline");
    ends.forEach((end, at) => {
      if (!(isLast && at === ends.length - 1 && end.nextSibling === null)) end.after(gutter(line + at + 1));
    });
    return line + ends.length;
  }
}

/**
 * @param {number} line
 * @returns {HTMLElement}
 */
function gutter(line) {
  const element = make("i", { class: "pl-gutter", "aria-hidden": "true" });
  element.dataset.line = String(line);
  return element;
}

/**
 * Return the index of the last item for which `holds` is true; it is true up to some item, at least the first.
 * @template Item
 * @param {Item[]} items
 * @param {(item: Item) => boolean} holds
 * @returns {number}
 */
function lastUpTo(items, holds) {
  let [low, high] = [0, items.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (holds(items[middle])) low = middle;
    else high = middle - 1;
  }
  return low;
}

/**
 * Return what looks like an array of elements, each of which is made when it is asked for.
 * @param {() => number} length
 * @param {(index: number) => HTMLElement} element
 * @returns {HTMLElement[]}
 */
function lazily(length, element) {
  /**
   * @param {string | symbol} key
   * @returns {boolean}
   */
  const isIndex = (key) => typeof key === "string" && /^\d+$/u.test(key) && Number(key) < length();
  return new Proxy(/** @type {HTMLElement[]} */ ([]), {
    get: (target, key) => (key === "length" ? length() : isIndex(key) ? element(Number(key)) : Reflect.get(target, key)),
    has: (target, key) => isIndex(key) || Reflect.has(target, key),
  });
}

/**
 * @param {string} text
 * @returns {number}
 */
const breaksIn = (text) => text.split("\n").length - 1;

/**
 * Count the lines of a text without laying it out. After a wrong guess, what is below moves when the block comes into view.
 * @param {Block} block
 * @param {string} text
 */
function count(block, text) {
  const [first, ...others] = text.split("\n");
  block.breaks += others.length;
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
