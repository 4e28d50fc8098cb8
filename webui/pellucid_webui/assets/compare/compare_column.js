// A column of Compare: an answer as tokens, coloured by probability or by which column finds them more likely.

import { make } from "../shared/dom.js";
import * as colours from "../tokens/colours.js";
import { TokenElements } from "../tokens/token_elements.js";
import * as visible from "../tokens/token_text.js";
import { TokenWalk } from "../tokens/token_walk.js";
import * as compareParts from "./compare_parts.js";
import { ratioWords } from "./compared_token_card.js";

const STRONG_NATS = 4; // the log ratio that has the strongest colour
const LARGE_NATS = 2; // the log ratio from which a token has a line as well
const CONTEXT = 4; // equal tokens that stay visible at each end of a folded part
const LEAST_FOLDED = 12;

let columns = 0;

export class CompareColumn {
  /**
   * @param {string} letter
   * @param {{ onSelect: (index: number) => void, onHover: (index: number | null) => void }} actions
   */
  constructor(letter, { onSelect, onHover }) {
    columns += 1;
    this.letter = letter;
    this.batches = 0; // drawn so far
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    /** @type {[from: number, to: number][]} */
    this.folds = [];
    /** @type {HTMLElement[]} */
    this.linked = [];
    /** @type {HTMLElement | null} */
    this.shown = null;
    this.model = make("span", { class: "pl-column-model" });
    this.about = make("p", { class: "pl-quiet" });
    this.note = make("p", { class: "pl-note" });
    this.list = make("div", { class: "pl-tokens", role: "listbox", "aria-label": `Tokens of answer ${letter}`, "aria-orientation": "horizontal", tabindex: "-1" });
    this.cells = new TokenElements(this.list, `pl-column-${columns}`);
    this.walk = new TokenWalk(this.cells);
    this.heat = make("div", { class: "pl-heat" }, this.list);
    this.element = make(
      "article",
      { class: "pl-column", "data-column": letter, "aria-label": `Answer ${letter}` },
      make("h3", {}, compareParts.badge(letter), this.model),
      this.about,
      this.heat,
      this.note,
    );
    this.onSelect = onSelect;
    this.list.addEventListener("focusin", (event) => this.focused(this.cells.indexOf(event.target)));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.clicked(this.cells.indexOf(event.target)));
    this.list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && !event.buttons && onHover(this.cells.indexOf(event.target)));
    this.list.addEventListener("pointerleave", () => onHover(null));
  }

  /** @param {Page.CompareColumnValue} value */
  update(value) {
    this.model.textContent = value.model;
    this.about.textContent = value.about;
    this.note.textContent = value.note;
    this.note.classList.toggle("pl-wrong", value.wrong);
    const fresh = value.batches.slice(this.batches).flatMap((batch) => JSON.parse(batch));
    this.batches = value.batches.length;
    if (!fresh.length) return;
    this.records.push(...fresh);
    this.cells.append(fresh, (index) => ({ className: "pl-token", label: `token ${visible.spoken(this.records[index].t, this.records[index].b)}` }));
    this.cells.select(this.cells.current);
  }

  /**
   * Colour the tokens.
   * @param {Page.CompareMode} mode
   * @param {(index: number) => Page.CompareLook} lookOf
   */
  paint(mode, lookOf) {
    this.heat.dataset.mode = mode;
    this.records.forEach((record, index) => {
      const { probability, ratio, other, isApart } = lookOf(index);
      const said = [`token ${visible.spoken(record.t, record.b)}`];
      const classes = ["pl-token"];
      if (probability === null) said.push("no probability");
      else {
        said.push(visible.spokenPercent(probability));
        classes.push(...colours.likelihoodClasses(probability));
      }
      if (ratio !== null) {
        const more = ratio[0] + ratio[1] >= 0 ? this.letter : other;
        const size = Math.abs(ratio[0] + ratio[1]) / 2;
        classes.push(`pl-d${colours.step(size / STRONG_NATS)}`, `pl-more-${more}`);
        if (size >= LARGE_NATS) classes.push("large");
        said.push(ratioWords(this.letter, other, ratio));
      }
      if (isApart) {
        classes.push("pl-apart");
        said.push("not in all answers");
      }
      this.cells.describe(index, { className: classes.join(" "), label: said.join(", ") });
    });
  }

  /**
   * Fold the parts without these tokens, or show all of them again.
   * @param {[from: number, to: number][] | null} apart ranges of tokens that not all answers have; null shows all
   */
  fold(apart) {
    this.unfold();
    if (apart === null || !this.records.length) return;
    let start = 0;
    for (const [from, to] of [...apart, [this.records.length, this.records.length]]) {
      const first = start === 0 ? 0 : start + CONTEXT;
      const last = from === this.records.length ? from : from - CONTEXT;
      if (last - first >= LEAST_FOLDED) this.folds.push([first, last]);
      start = Math.max(start, to);
    }
    this.folds.forEach((range) => this.drawFold(range, true));
    const { cells } = this;
    if (cells.all[cells.current].hidden) cells.select(cells.next(cells.current, 1) ?? cells.next(cells.current, -1) ?? 0);
  }

  /** Show all folded parts, or the one that has this token. */
  unfold(index = -1) {
    const [opened, kept] = [/** @type {[number, number][]} */ ([]), /** @type {[number, number][]} */ ([])];
    for (const range of this.folds) (index < 0 || (index >= range[0] && index < range[1]) ? opened : kept).push(range);
    opened.forEach((range) => this.drawFold(range, false));
    this.folds = kept;
    return opened.length > 0;
  }

  /**
   * The first token of a folded part stands for all of them.
   * @param {[from: number, to: number]} range
   * @param {boolean} folded
   */
  drawFold([from, to], folded) {
    const [first, ...others] = this.cells.all.slice(from, to);
    for (const cell of others) cell.hidden = folded;
    if (folded) {
      first.dataset.folded = `… ${to - from} equal tokens …`;
      first.dataset.label = first.getAttribute("aria-label") ?? "";
      first.setAttribute("aria-label", `${to - from} equal tokens, folded. Enter shows them.`);
    } else {
      delete first.dataset.folded;
      first.setAttribute("aria-label", first.dataset.label ?? "");
    }
  }

  /**
   * Mark the token that the card shows, or the tokens at the same place as it; an empty range marks the place between two tokens.
   * @param {[from: number, to: number] | null} range
   * @param {boolean} isShown whether it is the card's token itself
   */
  mark(range, isShown) {
    for (const cell of this.linked) ["linked", "shown", "gap"].forEach((name) => delete cell.dataset[name]);
    this.linked = [];
    if (range === null || !this.cells.all.length) return;
    const [from, to] = range;
    this.linked = from < to ? this.cells.all.slice(from, to) : this.cells.all.slice(from, from + 1);
    for (const cell of this.linked) cell.dataset[isShown ? "shown" : from < to ? "linked" : "gap"] = to - from === 1 ? "one" : "several";
    if (!isShown && !this.list.contains(document.activeElement)) this.cells.select(Math.min(from, this.records.length - 1));
  }

  /** @param {number} index */
  focusToken(index) {
    const isOpened = this.unfold(index);
    const cell = this.cells.all[index];
    if (!cell) return;
    if (isOpened && cell === document.activeElement) cell.blur();
    this.cells.focus(index);
  }

  /** Scroll the marked tokens into view, if the column scrolls. */
  reveal() {
    const cell = this.linked[0];
    if (!cell) return;
    const [list, place] = [this.list.getBoundingClientRect(), cell.getBoundingClientRect()];
    if (place.top < list.top) this.list.scrollTop += place.top - list.top - 8;
    else if (place.bottom > list.bottom) this.list.scrollTop += place.bottom - list.bottom + 8;
  }

  /** @param {number | null} index */
  focused(index) {
    if (index === null) return;
    this.cells.select(index);
    this.onSelect(index);
  }

  /** @param {number | null} index */
  clicked(index) {
    if (index === null) return;
    if (this.cells.all[index].dataset.folded) this.unfold(index);
    this.cells.all[index].focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.records.length) return;
    const { current } = this.cells;
    const goal = this.walk.goal(event.key, current);
    if (event.key === "Enter" && this.cells.all[current].dataset.folded) this.focusToken(current);
    else if (goal === undefined) return;
    else if (goal !== null) this.cells.focus(goal);
    event.preventDefault();
  }
}
