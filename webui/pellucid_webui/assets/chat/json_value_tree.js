// A tree of an answer's JSON values or of a tool call's arguments, each with its probability. The arrow keys go from row to row.

import { make, hasModifier } from "../shared/dom.js";
import * as colours from "../tokens/colours.js";
import * as visible from "../tokens/token_text.js";

const FORCED_BELOW = 0.5; // of the mass: the format then changed what the model would have written
const MAX_SPOKEN = 200; // characters of a value in its accessible name

/** @param {string} text */
const shown = (text) => (text ? visible.flowing(visible.piecesOf(text, undefined)) : []);

/** @param {string} text */
const spoken = (text) => (text.length > MAX_SPOKEN ? `${text.slice(0, MAX_SPOKEN)} and so on` : text);

export class AnswerTree {
  /**
   * Create the element of a tree. `onTokens` is called with the places of a value's tokens when the user chooses it.
   * @param {Page.TreeData} data
   * @param {(tokens: [number, number]) => void} onTokens
   */
  constructor(data, onTokens) {
    this.rows = data.rows;
    this.onTokens = onTokens;
    /** @type {Set<number>} */
    this.closed = new Set(); // the rows that are collapsed
    this.current = 0;
    const name = data.isCall ? `Call of ${data.title}` : data.title;
    this.items = this.rows.map((row, index) => this.item(row, index));
    this.list = make("div", { role: "tree", class: "pl-tree", "aria-label": `${name} with probabilities` }, ...this.items);
    this.list.hidden = !this.rows.length;
    this.element = make(
      "section",
      { class: "pl-heat pl-tree-box", "data-mode": "probability" },
      make(
        "header",
        { class: "pl-tree-head" },
        make("strong", {}, ...(data.isCall ? ["Call of ", make("code", { dir: "auto" }, ...shown(data.title))] : [data.title])),
        make("span", { class: "pl-tree-remarks" }, data.remarks.join(" · ")),
      ),
      this.list,
      data.isCut ? make("p", { class: "pl-hint" }, `Only the first ${this.rows.length} rows are shown.`) : null,
    );
    if (this.items.length) this.items[0].tabIndex = 0;
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.list.addEventListener("focusin", (event) => this.setTabStop(this.indexOf(event.target)));
  }

  /**
   * @param {Page.TreeRow} row
   * @param {number} index
   * @returns {HTMLElement}
   */
  item(row, index) {
    const item = make(
      "div",
      {
        role: "treeitem",
        class: `pl-tree-row${row.tokens ? " pl-tree-leaf" : ""}`,
        tabindex: "-1",
        "aria-level": row.level,
        "aria-expanded": row.isOpen ? "true" : null,
        "aria-label": spokenRow(row),
        title: row.tokens ? "Show its tokens" : null,
        "data-row": index,
      },
      make("span", { class: "pl-tree-key", dir: "auto" }, ...shown(row.key)),
      make("span", { class: "pl-tree-cell" }, this.value(row), ...this.remarks(row)),
      make("span", { class: "pl-tree-measure" }, ...(row.probability === undefined ? [] : [bar(row.probability), number(row.probability)])),
    );
    item.style.setProperty("--level", String(row.level - 1));
    return item;
  }

  /**
   * @param {Page.TreeRow} row
   * @returns {HTMLElement}
   */
  value({ value, isOpen, probability }) {
    const isUnlikely = probability !== undefined && probability < colours.UNLIKELY;
    return make("span", { class: `pl-tree-value${isOpen ? " pl-tree-size" : ""}${isUnlikely ? " unlikely" : ""}`, dir: "auto" }, ...shown(value));
  }

  /**
   * @param {Page.TreeRow} row
   * @returns {HTMLElement[]}
   */
  remarks({ other, mass }) {
    const found = [];
    if (other) {
      const value = make("span", { class: "pl-tree-value", dir: "auto" }, ...shown(other.value));
      found.push(make("span", {}, "or ", value, ` ${visible.percent(other.probability)} %`));
    }
    if (mass !== undefined && mass < FORCED_BELOW) found.push(make("span", { class: "pl-tree-forced" }, forcedWords(`${visible.percent(mass)} %`)));
    return found.length ? [make("span", { class: "pl-tree-more" }, ...found)] : [];
  }

  /**
   * @param {EventTarget | null} target
   * @returns {number}
   */
  indexOf(target) {
    const item = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-row]")) : null;
    return item === null ? this.current : Number(item.dataset.row);
  }

  /**
   * Make a row the only one that Tab reaches.
   * @param {number} index
   */
  setTabStop(index) {
    this.items[this.current].tabIndex = -1;
    this.current = index;
    this.items[index].tabIndex = 0;
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    if (window.getSelection()?.toString()) return; // the user selects text to copy it
    const index = this.indexOf(event.target);
    this.items[index].focus();
    this.choose(index);
  }

  /**
   * Show the tokens of a value; collapse or expand an object or array.
   * @param {number} index
   */
  choose(index) {
    const { isOpen, tokens } = this.rows[index];
    if (isOpen) this.expand(index, this.closed.has(index));
    else if (tokens) this.onTokens(tokens);
  }

  /**
   * @param {number} index
   * @param {boolean} open
   */
  expand(index, open) {
    if (open) this.closed.delete(index);
    else this.closed.add(index);
    this.items[index].setAttribute("aria-expanded", String(open));
    let hidden = Infinity; // rows below this level are hidden
    this.rows.forEach((row, at) => {
      if (row.level <= hidden) hidden = Infinity;
      this.items[at].hidden = row.level > hidden;
      if (hidden === Infinity && this.closed.has(at)) hidden = row.level;
    });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (hasModifier(event)) return;
    /** @type {Record<string, () => void>} */
    const moves = {
      ArrowDown: () => this.moveFocus(1),
      ArrowUp: () => this.moveFocus(-1),
      ArrowRight: () => this.inward(),
      ArrowLeft: () => this.outward(),
      Home: () => this.items[0].focus(),
      End: () => this.items.filter((item) => !item.hidden).pop()?.focus(),
      Enter: () => this.choose(this.current),
      " ": () => this.choose(this.current),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  /**
   * Move the focus to the next visible row in a direction.
   * @param {number} step
   */
  moveFocus(step) {
    let at = this.current + step;
    while (this.items[at]?.hidden) at += step;
    this.items[at]?.focus();
  }

  inward() {
    if (!this.rows[this.current].isOpen) return;
    if (this.closed.has(this.current)) this.expand(this.current, true);
    else this.moveFocus(1);
  }

  outward() {
    const { isOpen, level } = this.rows[this.current];
    if (isOpen && !this.closed.has(this.current)) {
      this.expand(this.current, false);
      return;
    }
    let above = this.current - 1;
    while (above >= 0 && this.rows[above].level >= level) above -= 1;
    this.items[above]?.focus();
  }
}

/** @param {string} mass in percent */
const forcedWords = (mass) => `Only ${mass} of the model's own answers fit the format`;

/** @param {number} probability */
const number = (probability) => make("span", { class: "pl-number" }, `${visible.percent(probability)} %`);

/**
 * @param {number} probability
 * @returns {HTMLElement}
 */
function bar(probability) {
  const fill = make("span", { class: `pl-tree-fill p${colours.step(1 - probability)}` });
  fill.style.setProperty("--share", `${100 * probability}%`);
  return make("span", { class: "pl-tree-bar" }, fill);
}

/**
 * @param {Page.TreeRow} row
 * @returns {string}
 */
function spokenRow({ key, value, probability, mass, other }) {
  const said = [[key, spoken(value)].filter(Boolean).join(": ")];
  if (probability !== undefined) said.push(`probability ${visible.spokenPercent(probability)}`);
  if (other) said.push(`or ${spoken(other.value)} ${visible.spokenPercent(other.probability)}`);
  if (mass !== undefined && mass < FORCED_BELOW) said.push(forcedWords(visible.spokenPercent(mass)));
  return said.join(", ");
}
