// Tokens as a table that is sorted by any column, searched and filtered. Only the rows near the window have elements.

import { announce, button, hasModifier, make } from "../shared/dom.js";
import * as colours from "./colours.js";
import { GreedyPath } from "./greedy_path.js";
import { exportButtons, meanSurprisal, saveTokens, surprisalBits, surprisalWords } from "./token_export.js";
import * as visible from "./token_text.js";

const ROW_PIXELS = 30; // a guess, until a row was measured
const SPARE_ROWS = 10; // above and below those in the window
const ROUNDING = 1e-5; // records keep six digits: a token of 2 bits may have a little less
const NOTHING = "No token matches: change the search or the filters.";
const WRONG_BITS = "The least surprisal is a number of bits from 0 on.";

/** The columns: `first` is the order of a first click, the interesting rows on top. @type {Page.TokenColumn[]} */
const COLUMNS = [
  { name: "Place", first: 1, value: (_, index) => index },
  { name: "Token", first: 1, value: ({ t }) => t },
  { name: "Probability", first: 1, value: ({ l }) => l },
  { name: "Surprisal, bits", first: -1, value: ({ l }) => surprisalBits(l) },
  { name: "Rank", first: -1, value: ({ r }) => r },
  { name: "Entropy, bits", first: -1, value: colours.entropyOf },
  { name: "Best other token", first: -1, value: (record) => otherOf(record)?.[2] ?? null },
];

/**
 * @param {Page.TokenRecord} record
 * @returns {Page.AlternativeRecord | undefined} the most probable alternative to a token
 */
const otherOf = ({ i, a }) => a.find(([id]) => id !== i);

/**
 * Return the indices of the tokens that match, in the order of a column; tokens without its figure are last.
 * @param {Page.TokenRecord[]} records
 * @param {Page.TokenView} view
 * @returns {number[]}
 */
export function arranged(records, { column, direction, text, least, isOther }) {
  const { value } = COLUMNS[column];
  const wanted = text.replaceAll("␣", " ").replaceAll("↵", "\n").replaceAll("⇥", "\t").toLowerCase();
  const found = records.flatMap(({ t, l, r }, index) => {
    const isShown = t.toLowerCase().includes(wanted) && (least <= 0 || (surprisalBits(l) ?? -1) * (1 + ROUNDING) >= least) && (!isOther || (r ?? 1) > 1);
    return isShown ? [index] : [];
  });
  const values = records.map(value);
  return found.sort((one, other) => {
    const [a, b] = [values[one], values[other]];
    if (a === b) return one - other;
    if (a === null || b === null) return a === null ? 1 : -1;
    return direction * (a < b ? -1 : 1);
  });
}

export class TokenTable {
  /** @param {Page.TokenTableOptions} options */
  constructor({ describe, onChoose, onEnter, onSeen = null, file, about }) {
    this.describe = describe;
    this.onChoose = onChoose;
    this.onEnter = onEnter;
    this.onSeen = onSeen;
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    /** @type {number[]} */
    this.order = []; // the indices of the tokens that match
    /** @type {Map<number, HTMLTableRowElement>} */
    this.rows = new Map(); // those that are drawn, by place in the order
    this.current = 0; // place in the order of the row that the Tab key goes to
    /** @type {number | null} */
    this.chosen = null; // the index of the token that is shown
    this.height = 0; // of a row, once one was measured
    /** @type {Page.TokenView} */
    this.view = { column: 0, direction: 1, text: "", least: 0, isOther: false };
    const change = () => this.readFilters();
    this.search = make("input", { type: "search", class: "pl-tool", placeholder: "Find a token", "aria-label": "Find a token", oninput: change });
    this.least = make("input", { type: "number", class: "pl-threshold", min: 0, step: "any", "aria-label": "Surprisal at least, in bits", oninput: change });
    this.isOther = make("input", { type: "checkbox", onchange: change });
    this.status = make("p", { class: "pl-hint" });
    // Alternatives that come when rows are seen cannot be sorted by.
    this.heads = (onSeen ? COLUMNS.slice(0, -1) : COLUMNS).map(({ name }, at) => make("th", { scope: "col" }, button(name, { class: "pl-token-sort", onclick: () => this.sortBy(at) }, "Sort by this column")));
    const unsorted = COLUMNS.slice(this.heads.length).map(({ name }) => make("th", { scope: "col", class: "pl-token-unsorted" }, name));
    this.above = make("td", { colspan: COLUMNS.length });
    this.below = make("td", { colspan: COLUMNS.length });
    this.last = make("tr", { "aria-hidden": "true" }, this.below);
    this.body = make("tbody", { onclick: (event) => this.clicked(event) }, make("tr", { "aria-hidden": "true" }, this.above), this.last);
    this.caption = make("caption", { class: "pl-visually-hidden" });
    this.table = make("table", { class: "pl-token-table" }, this.caption, make("thead", {}, make("tr", { "aria-rowindex": 1 }, ...this.heads, ...unsorted)), this.body);
    this.box = make("div", { class: "pl-token-rows", role: "region", "aria-label": "Table of the tokens", tabindex: "0", onkeydown: (event) => this.key(event) }, this.table);
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    const least = make("label", { class: "pl-labelled" }, "Surprisal at least", this.least, "bits");
    const filters = make("div", { class: "pl-token-filters" }, this.search, least, make("label", { class: "pl-labelled" }, this.isOther, "Not the model’s first choice"));
    this.greedy = file ? new GreedyPath() : null;
    const files = file ? exportButtons(file, (kind) => saveTokens(kind, { file, about }, this.records)) : null;
    this.element = make("div", { class: "pl-token-view", hidden: true }, this.greedy?.element, filters, this.status, this.box, files);
    new ResizeObserver(() => this.draw()).observe(this.box);
    this.drawHeads();
  }

  /**
   * Show these tokens. Their records may gain alternatives later.
   * @param {Page.TokenRecord[]} records
   */
  set(records) {
    this.records = records;
    this.arrange();
    this.greedy?.set(records);
  }

  arrange() {
    const { records, chosen } = this;
    this.order = arranged(records, this.view);
    this.current = Math.max(0, chosen === null ? 0 : this.order.indexOf(chosen));
    this.table.setAttribute("aria-rowcount", String(this.order.length + 1));
    const words = surprisalWords(meanSurprisal(records));
    const isAll = this.order.length === records.length;
    const count = isAll ? tokens(records.length) : `${this.order.length.toLocaleString("en")} of ${tokens(records.length)}; all of them`;
    this.status.textContent = this.order.length || isAll ? [count, words].filter(Boolean).join(": ") : NOTHING;
    this.draw();
  }

  /**
   * Draw the rows near the window.
   * @param {boolean} [isFresh] whether the rows that are there have changed
   */
  draw(isFresh = false) {
    const { rows, order, height } = this;
    const { scrollTop, clientHeight } = this.box;
    const first = Math.max(0, Math.floor(scrollTop / (height || ROW_PIXELS)) - SPARE_ROWS);
    const end = Math.min(order.length, Math.ceil((scrollTop + clientHeight) / (height || ROW_PIXELS)) + SPARE_ROWS);
    const hadFocus = this.body.contains(document.activeElement);
    for (const [place, row] of rows) {
      const isHere = place >= first && place < end && row.dataset.token === String(order[place]);
      if (isHere && isFresh) redraw(row, this.row(place));
      if (isHere) continue;
      row.remove();
      rows.delete(place);
    }
    let next = this.last;
    for (let place = end - 1; place >= first; place -= 1) {
      const row = rows.get(place) ?? this.row(place);
      if (!rows.has(place)) next.before(row);
      rows.set(place, row);
      next = row;
    }
    this.above.style.height = `${first * height}px`;
    this.below.style.height = `${Math.max(0, order.length - end) * height}px`;
    this.mark(this.chosen);
    if (hadFocus && !this.body.contains(document.activeElement)) (this.buttonAt(this.current) ?? this.box).focus({ preventScroll: true });
    if (clientHeight) this.onSeen?.(order.slice(first, end));
    if (height || !rows.size) return;
    this.height = next.offsetHeight;
    if (this.height) this.draw();
  }

  /**
   * @param {number} place
   * @returns {HTMLTableRowElement}
   */
  row(place) {
    const index = this.order[place];
    const record = this.records[index];
    const { className, label } = this.describe(index);
    const { l, r, a } = record;
    const bits = surprisalBits(l);
    const other = otherOf(record);
    const unknown = this.onSeen && l !== null && !a.length ? "…" : "–";
    const entropy = colours.entropyWords(colours.entropyRange(record), 2).replace(" bits", "");
    return make(
      "tr",
      { "data-token": index, "aria-rowindex": place + 2 },
      make("td", {}, String(index + 1)),
      make("th", { scope: "row" }, make("button", { type: "button", class: className, tabindex: "-1", "aria-label": label }, ...glyphs(record.t, record.b))),
      make("td", {}, l === null ? "–" : `${visible.percent(Math.exp(l))} %`),
      make("td", {}, bits === null ? "–" : bits.toFixed(2)),
      make("td", {}, r === null ? "–" : String(r)),
      make("td", {}, entropy),
      make("td", {}, ...(other ? [make("span", { class: "pl-token-other" }, ...glyphs(other[1], other[3])), ` ${visible.percent(Math.exp(other[2]))} %`] : [unknown])),
    );
  }

  /**
   * Mark the row of a token, and no other.
   * @param {number | null} index
   */
  mark(index) {
    this.chosen = index;
    for (const [place, row] of this.rows) {
      if (index !== null && row.dataset.token === String(index)) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
      /** @type {HTMLElement} */ (row.querySelector("button")).tabIndex = place === this.current ? 0 : -1;
    }
  }

  /**
   * Scroll to the row of a token, unless the filters hide it, and mark it.
   * @param {number} index
   * @param {boolean} [takesFocus]
   */
  go(index, takesFocus = false) {
    const place = this.order.indexOf(index);
    if (place >= 0) this.goToRow(place, takesFocus);
    this.mark(index);
  }

  /**
   * @param {number} place
   * @param {boolean} takesFocus
   */
  goToRow(place, takesFocus) {
    this.current = place;
    if (!this.rows.has(place)) {
      this.box.scrollTop = place * this.height - this.box.clientHeight / 2;
      this.draw();
    }
    this.rows.get(place)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (takesFocus) this.buttonAt(place)?.focus({ preventScroll: true });
  }

  /**
   * @param {number} place
   * @returns {HTMLElement | null}
   */
  buttonAt(place) {
    return this.rows.get(place)?.querySelector("button") ?? null;
  }

  /**
   * @param {number} index of a token
   * @returns {HTMLElement | null} where its row has it, if the row is drawn
   */
  elementOf(index) {
    return this.body.querySelector(`[data-token="${index}"] button`);
  }

  /**
   * Go to a row, and show its token.
   * @param {number} place
   */
  choose(place) {
    this.goToRow(place, true);
    this.mark(this.order[place]);
    this.onChoose(this.order[place]);
  }

  /** @param {MouseEvent} event */
  clicked({ target }) {
    const row = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-token]")) : null;
    if (row) this.choose(this.order.indexOf(Number(row.dataset.token)));
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { order, current, box } = this;
    if (hasModifier(event) || !order.length || (event.target !== box && !this.body.contains(/** @type {Node} */ (event.target)))) return;
    const isOutside = event.target === box; // then the first key goes to the current row
    const step = isOutside ? 0 : 1;
    const page = Math.max(1, Math.floor(box.clientHeight / (this.height || ROW_PIXELS)) - 2);
    /** @type {Record<string, number>} */
    const places = { ArrowDown: current + step, ArrowUp: current - step, PageDown: current + page, PageUp: current - page, Home: 0, End: order.length - 1 };
    if (event.key === "Enter" && !isOutside && order[current] === this.chosen) this.onEnter(order[current]);
    else if (event.key in places) this.choose(Math.max(0, Math.min(places[event.key], order.length - 1)));
    else return;
    event.preventDefault();
  }

  /** @param {number} column */
  sortBy(column) {
    const { view } = this;
    this.view = { ...view, column, direction: column === view.column ? -view.direction : COLUMNS[column].first };
    this.drawHeads();
    this.box.scrollTop = 0;
    this.arrange();
  }

  drawHeads() {
    const { column, direction } = this.view;
    const order = direction > 0 ? "ascending" : "descending";
    this.heads.forEach((head, at) => head.setAttribute("aria-sort", at === column ? order : "none"));
    this.caption.textContent = `Tokens, sorted by ${COLUMNS[column].name.toLowerCase()}, ${order}`;
  }

  readFilters() {
    const bits = Number(this.least.value);
    const isWrong = this.least.validity.badInput || !(bits >= 0);
    this.least.setAttribute("aria-invalid", String(isWrong));
    if (isWrong) this.status.textContent = WRONG_BITS;
    else {
      this.view = { ...this.view, text: this.search.value, least: bits, isOther: this.isOther.checked };
      this.box.scrollTop = 0;
      this.arrange();
    }
    announce(this.status.textContent ?? "");
  }
}

/**
 * Give a row the cells of another. Its button stays, since it may have the focus.
 * @param {HTMLTableRowElement} row
 * @param {HTMLTableRowElement} fresh
 */
function redraw(row, fresh) {
  const cells = [...fresh.cells];
  const [kept, drawn] = [row, fresh].map((one) => /** @type {HTMLElement} */ (one.querySelector("button")));
  Object.assign(kept, { className: drawn.className, ariaLabel: drawn.ariaLabel });
  [...row.cells].forEach((cell, at) => cell.contains(kept) || cell.replaceWith(cells[at]));
}

/**
 * @param {number} count
 * @returns {string}
 */
const tokens = (count) => (count === 1 ? "1 token" : `${count.toLocaleString("en")} tokens`);

/**
 * @param {string} text
 * @param {string | undefined} base64
 * @returns {(Node | string)[]}
 */
const glyphs = (text, base64) => visible.standing(visible.piecesOf(text, base64));
