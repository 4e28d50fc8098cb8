// The table of a batch: a row for each comparison, sorted by any column and shown in pages, so that thousands of rows stay quick.

import { make, button } from "../shared/dom.js";
import * as compareParts from "./compare_parts.js";

const PAGE_ROWS = 25;
const FIRST_FIGURE = 4; // before it a row has its number, prompt, seeds and error

/** @type {Page.BatchHead[]} */
const FIXED = [
  { key: "row", name: "Row", hint: "The order of the file.", kind: "count" },
  { key: "prompt", name: "Prompt", hint: "Open a row to see its comparison.", kind: "text" },
];

export class BatchTable {
  /**
   * @param {(row: number) => void} onOpen
   */
  constructor(onOpen) {
    this.onOpen = onOpen;
    /** @type {Page.BatchHead[]} */
    this.heads = [];
    /** @type {Map<number, Page.BatchRow>} */
    this.rows = new Map();
    this.sort = { key: "row", direction: 1 };
    this.page = 0;
    this.open = -1;
    this.hasSeeds = false;
    this.head = make("tr", {});
    this.body = make("tbody", { onkeydown: (/** @type {KeyboardEvent} */ event) => this.key(event) });
    this.caption = make("caption", { class: "pl-visually-hidden" });
    this.place = make("span", { class: "pl-quiet", role: "status" });
    this.previous = button("Previous page", { onclick: () => this.turn(-1) });
    this.next = button("Next page", { onclick: () => this.turn(1) });
    this.pager = make("div", { class: "pl-row pl-batch-pager" }, this.previous, this.next, this.place);
    this.element = make(
      "div",
      { class: "pl-batch-rows" },
      make("div", { class: "pl-compare-wide", tabindex: "0", role: "region", "aria-label": "Results of the batch" }, make("table", { class: "pl-table pl-batch-table" }, this.caption, make("thead", {}, this.head), this.body)),
      this.pager,
    );
  }

  /**
   * Begin the table of another batch.
   * @param {Page.BatchHead[]} heads
   * @param {boolean} hasSeeds
   */
  begin(heads, hasSeeds) {
    this.heads = [...FIXED, ...heads];
    this.hasSeeds = hasSeeds;
    this.rows.clear();
    Object.assign(this, { sort: { key: "row", direction: 1 }, page: 0, open: -1 });
    this.draw();
  }

  /** @param {Page.BatchRow[]} rows that have ended; one that was run again replaces itself */
  add(rows) {
    for (const row of rows) this.rows.set(row[0], row);
    if (rows.length) this.draw();
  }

  /** @returns {Page.BatchRow[]} the rows in the order of the table */
  get sorted() {
    const { key, direction } = this.sort;
    const at = this.heads.findIndex((head) => head.key === key);
    const values = [...this.rows.values()];
    /** @param {Page.BatchRow} row */
    const valueOf = (row) => (key === "row" ? row[0] : key === "prompt" ? row[1] : row[FIRST_FIGURE + at - FIXED.length]);
    return values.sort((one, other) => {
      const [a, b] = [valueOf(one), valueOf(other)];
      if (a === b) return one[0] - other[0];
      if (a === null || b === null) return a === null ? 1 : -1; // rows without the figure are last
      return direction * (typeof a === "string" ? a.localeCompare(String(b)) : Number(a) - Number(b));
    });
  }

  /** @param {number} row that is shown below; -1 for none */
  mark(row) {
    this.open = row;
    const at = row < 0 ? -1 : this.sorted.findIndex((one) => one[0] === row);
    if (at >= 0) this.page = Math.floor(at / PAGE_ROWS);
    this.draw();
  }

  /**
   * @param {number} direction
   * @returns {number | null} the row before or after the open one, in the order of the table
   */
  neighbour(direction) {
    const rows = this.sorted;
    const at = rows.findIndex((one) => one[0] === this.open);
    return at < 0 ? null : (rows[at + direction]?.[0] ?? null);
  }

  draw() {
    const focused = this.focused();
    const rows = this.sorted;
    const pages = Math.max(1, Math.ceil(rows.length / PAGE_ROWS));
    this.page = Math.min(this.page, pages - 1);
    const first = this.page * PAGE_ROWS;
    const shown = rows.slice(first, first + PAGE_ROWS);
    const { key, direction } = this.sort;
    const head = this.heads.find((one) => one.key === key);
    this.caption.textContent = head ? `Results, sorted by ${head.name}, ${direction > 0 ? "ascending" : "descending"}` : "Results";
    this.head.replaceChildren(...this.heads.map((one) => this.headCell(one)));
    this.body.replaceChildren(...shown.map((row) => this.row(row)));
    this.pager.hidden = pages === 1;
    this.previous.disabled = this.page === 0;
    this.next.disabled = this.page === pages - 1;
    this.place.textContent = `Rows ${first + 1} to ${first + shown.length} of ${rows.length}`;
    if (focused) /** @type {HTMLElement | null} */ (this.element.querySelector(focused))?.focus({ preventScroll: true });
  }

  /** @returns {string} a selector of the element that has the focus, if it will be drawn again */
  focused() {
    const active = document.activeElement;
    if (!(active instanceof HTMLElement) || !this.element.contains(active)) return "";
    if (active.dataset.sort) return `[data-sort="${CSS.escape(active.dataset.sort)}"]`;
    return active.dataset.row ? `[data-row="${active.dataset.row}"]` : "";
  }

  /** @param {Page.BatchHead} head */
  headCell(head) {
    const isSorted = head.key === this.sort.key;
    const order = this.sort.direction > 0 ? "ascending" : "descending";
    const arrow = isSorted ? make("span", { "aria-hidden": "true" }, this.sort.direction > 0 ? " ▲" : " ▼") : null;
    const press = button(head.name, { class: "pl-button pl-batch-sort", "data-sort": head.key, onclick: () => this.sortBy(head) }, `${head.hint} Press to sort.`);
    if (arrow) press.append(arrow);
    return make("th", { scope: "col", "aria-sort": isSorted ? order : "none", "data-kind": head.kind }, press);
  }

  /** @param {Page.BatchRow} row */
  row(row) {
    const [number, prompt, seeds, error, ...values] = row;
    const isOpen = number === this.open;
    const open = button(prompt, { class: "pl-button pl-batch-open", "data-row": number, "aria-current": isOpen ? "true" : null, onclick: () => this.onOpen(number) }, "Open this comparison");
    const notes = [this.hasSeeds ? make("span", { class: "pl-quiet" }, `seed ${seeds[0] === seeds[1] ? seeds[0] : seeds.join(", ")}`) : null, error ? make("span", { class: "pl-wrong" }, error) : null];
    return make(
      "tr",
      { "aria-current": isOpen ? "true" : null },
      make("td", { "data-kind": "count" }, String(number + 1)),
      make("th", { scope: "row" }, open, ...notes),
      ...values.map((value, at) => make("td", { "data-kind": "count" }, error ? "–" : words(value, this.heads[FIXED.length + at].kind))),
    );
  }

  /** @param {Page.BatchHead} head */
  sortBy(head) {
    const first = head.kind === "bits" || (head.kind === "count" && head.key !== "row") ? -1 : 1; // the interesting rows first
    this.sort = head.key === this.sort.key ? { key: head.key, direction: -this.sort.direction } : { key: head.key, direction: first };
    this.page = 0;
    this.draw();
  }

  /** @param {number} direction */
  turn(direction) {
    this.page += direction;
    this.draw();
    if (document.activeElement === document.body) (direction > 0 ? this.previous : this.next).focus();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const all = /** @type {HTMLElement[]} */ ([...this.body.querySelectorAll(".pl-batch-open")]);
    const at = all.findIndex((one) => one === document.activeElement);
    if (step === undefined || at < 0) return;
    all[Math.max(0, Math.min(all.length - 1, at + step))].focus();
    event.preventDefault();
  }
}

/**
 * @param {number | null} value
 * @param {Page.BatchHead["kind"]} kind
 * @returns {string}
 */
function words(value, kind) {
  if (value === null) return kind === "token" ? "same" : "–";
  if (kind === "bits") return value >= compareParts.INFINITE ? "infinite" : value.toFixed(3);
  return kind === "share" ? `${(100 * value).toFixed(1)} %` : String(value);
}
