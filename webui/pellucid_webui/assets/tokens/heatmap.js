// A text as tokens, coloured by their probabilities. Each token opens a card; the arrow keys go from one to the next.

import { make, memory } from "../shared/dom.js";
import * as colours from "./colours.js";
import { HeatMapToolbar } from "./heatmap_toolbar.js";
import { SurprisalBars } from "./surprisal_bars.js";
import { TokenCard } from "./token_card.js";
import { TokenElements } from "./token_elements.js";
import { TokenTable } from "./token_table.js";
import * as visible from "./token_text.js";
import { TokenWalk } from "./token_walk.js";
import { WhatIfSliders } from "./whatif_sliders.js";
import { WhatIfVerdicts } from "./whatif_verdicts.js";

const HOVER_MS = 120; // a pointer that rests this long on a token opens its card
const LEAVE_MS = 250; // and has this long to reach the card before it closes
const WORDS = ["less likely", "more likely"]; // for a difference of -1 and of 1
/** @type {Partial<Record<Page.Mode, string>>} */
const NONE = { difference: "No large differences.", entropy: "No unsure choices." };
const KEYS = "Arrow keys move from token to token, n and p to the next and the previous surprising one; Enter moves to the alternatives.";

/**
 * Return a token of a tool call or of the reasoning, which has no text in the answer, with the text of its bytes.
 * @param {Page.TokenRecord} record
 * @returns {Page.TokenRecord}
 */
function withText(record) {
  if ((record.p === undefined && record.q === undefined) || record.t || record.b === undefined) return record;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(visible.bytesOf(record.b)));
    return { ...record, t: text, b: undefined };
  } catch {
    return record; // a part of a character
  }
}

let maps = 0;
/** @type {HeatMap | null} */
let opened = null; // the map whose card is open: a page shows one card at a time

export class HeatMap {
  /**
   * Create a map in `element`. `label` is its accessible name. `onBranch` is called when the user chooses an alternative of a
   * token, and is null where branching is impossible; `onSelect` is called when a token gets the focus. With `dock` tokens are shown
   * in that inspector instead of a card that floats, and its sliders are the map's. `generated` are tokens that a model has generated.
   * With `table` the user can choose a table instead of the map.
   * @param {HTMLElement} element
   * @param {Page.HeatMapOptions} options
   */
  constructor(element, { label, onBranch = null, onSelect = null, dock = null, card = null, generated = false, table = null }) {
    maps += 1;
    this.dock = dock;
    this.isGenerated = generated;
    this.onBranch = onBranch;
    this.onSelect = onSelect;
    this.extras = card;
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    /** @type {(Page.TokenDifference | null)[]} */
    this.differences = [];
    this.verdicts = new WhatIfVerdicts(() => this.drawVerdicts());
    /** @type {(Page.Weighed | null)[] | null} */
    this.chosen = null; // the verdicts that are drawn; the card computes those on alternatives again, which costs less than keeping them
    /** @type {{ index: number, text: string } | null} */
    this.branch = null;
    this.isPinned = false; // whether the dock keeps its token while the pointer moves
    this.visited = false;
    this.dismissed = false;
    /** @type {number | null} */
    this.shown = null;
    /** @type {HTMLElement | null} */
    this.pointed = null;
    this.timer = 0;
    this.ranks = rememberedRanks();
    this.mode = rememberedMode();
    const id = `pl-heat-${maps}`;
    this.list = make("div", { class: "pl-tokens", role: "listbox", "aria-label": label, "aria-orientation": "horizontal", "aria-describedby": `${id}-keys` });
    this.empty = make("p", { class: "pl-hint" }, "No tokens yet.");
    this.cells = new TokenElements(this.list, id);
    this.walk = new TokenWalk(this.cells);
    this.card = dock ? dock.card : new TokenCard();
    this.surprisalBars = new SurprisalBars({ onGo: (index) => this.focusToken(index), onPoint: (index) => this.point(index) });
    this.toolbar = new HeatMapToolbar({
      mode: this.mode,
      ranks: this.ranks,
      words: WORDS,
      onMode: (mode) => this.chooseMode(mode),
      onRanks: (ranks) => this.chooseRanks(ranks),
      onNext: () => this.goSurprising(1),
      onTable: table && ((isTable) => this.chooseTable(isTable)),
    });
    this.table = new TokenTable({
      describe: (index) => this.description(index),
      onChoose: (index) => this.chooseRow(index),
      onEnter: () => this.card.enter(),
      ...table,
    });
    this.sliders = dock ? null : new WhatIfSliders((settings) => this.verdicts.change(settings));
    this.root = make(
      "div",
      { class: "pl-heat" },
      this.toolbar.element,
      this.sliders?.element,
      this.surprisalBars.element,
      this.empty,
      this.list,
      this.table.element,
      dock ? null : this.card.element,
      make("span", { id: `${id}-keys`, hidden: true }, KEYS),
    );
    this.listeners = new AbortController();
    this.listen(this.listeners.signal);
    element.append(this.root);
    this.setMode(this.mode);
    this.replaceRetiredMode();
    this.showTable(table !== null && memory.get("heat.view") === "table");
  }

  /** Whether the tokens are shown as a table. */
  get isTable() {
    return !this.table.element.hidden;
  }

  /** @param {boolean} isTable */
  chooseTable(isTable) {
    memory.set("heat.view", isTable ? "table" : null);
    this.showTable(isTable);
  }

  /** @param {boolean} isTable */
  showTable(isTable) {
    this.table.element.hidden = !isTable;
    this.toolbar.showTable(isTable);
    this.drawView();
  }

  /** Show the tokens as a map or as a table. */
  drawView() {
    const { isTable } = this;
    const isEmpty = !this.records.length;
    this.list.hidden = isEmpty || isTable;
    this.empty.hidden = !isEmpty || isTable;
    this.surprisalBars.element.hidden = isTable;
    if (isTable) this.table.set(this.records);
  }

  /** @param {number} index */
  chooseRow(index) {
    this.focused(index);
    this.isPinned = this.dock !== null;
  }

  /** Tell once that the mode that the browser remembers is gone. */
  replaceRetiredMode() {
    const retired = colours.RETIRED[memory.get("heat.mode") ?? ""];
    if (!retired) return;
    this.chooseMode(retired.mode);
    this.toolbar.say(retired.text);
  }

  /**
   * Show these tokens instead of earlier ones.
   * @param {Page.TokenRecord[]} records
   */
  set(records) {
    const hadFocus = this.list.contains(document.activeElement);
    this.hideCard();
    this.cells.clear();
    this.walk = new TokenWalk(this.cells);
    Object.assign(this, { records: [], differences: [], visited: false });
    if (this.chosen !== null) this.chosen = [];
    this.toolbar.forgetInexact();
    this.toolbar.allowDifference(false);
    if (this.mode === "difference") this.setMode(rememberedMode());
    this.surprisalBars.mark(null);
    this.add(records);
    if (hadFocus && records.length) this.focusToken(0);
  }

  /**
   * Append more tokens.
   * @param {Page.TokenRecord[]} added
   */
  add(added) {
    const records = added.map(withText);
    const first = this.records.length;
    this.records.push(...records);
    records.forEach((record) => this.toolbar.showInexact(colours.inexact(record)));
    this.chosen?.push(...records.map((record) => this.verdicts.chosen(record)));
    this.cells.append(records, (index) => this.description(index));
    this.drawView();
    if (first === 0 && records.length) this.cells.select(0);
    this.surprisalBars.set(this.records, this.chosen);
  }

  /**
   * Set how each token differs.
   * @param {(Page.TokenDifference | null)[]} differences
   * @param {string[]} [words] for a difference of -1 and of 1
   */
  setDifferences(differences, words = WORDS) {
    this.differences = [...differences];
    this.toolbar.allowDifference(true, words);
    this.repaint();
  }

  /**
   * Set the settings with which the tokens were sampled.
   * @param {Page.Sampling | null} settings null for tokens that were read
   */
  setSampling(settings) {
    this.verdicts.used = settings;
    this.isGenerated = settings !== null;
    this.sliders?.setUsed(settings);
  }

  /**
   * Mark the token at which this text was branched from another version.
   * @param {{ index: number, text: string } | null} branch
   */
  setBranch(branch) {
    const before = this.branch;
    this.branch = branch;
    for (const one of [before, branch]) if (one && this.cells.all[one.index]) this.cells.describe(one.index, this.description(one.index));
  }

  /**
   * Show what the sampler would have done at these settings, as the sliders do; null ends that.
   * @param {Page.Sampling | null} settings
   */
  ask(settings) {
    const sliders = this.sliders ?? this.dock?.sliders;
    if (!sliders) return;
    sliders.element.open = settings !== null;
    if (settings !== null) sliders.change(settings);
  }

  /**
   * Set what the tokens are coloured by.
   * @param {Page.Mode} mode
   */
  setMode(mode) {
    if (!(mode in colours.MODES)) throw new RangeError(`There is no colour mode ${mode}: use one of ${Object.keys(colours.MODES).join(", ")}.`);
    this.mode = mode;
    this.root.dataset.mode = mode;
    this.toolbar.show(mode);
  }

  /**
   * Go to a token and open its card.
   * @param {number} index
   */
  focusToken(index) {
    if (!(index in this.records)) throw new RangeError(`There is no token ${index}: the map has ${this.records.length}.`);
    if (this.isTable) {
      this.table.go(index);
      this.chooseRow(index);
      return;
    }
    this.cells.focus(index);
    if (this.shown === index) this.card.place();
  }

  /**
   * Mark the tokens from `from` up to `to`, exclusive, instead of earlier ones, and scroll to them.
   * @param {number} from
   * @param {number} to
   */
  markRange(from, to) {
    this.showTable(false);
    for (const cell of this.list.querySelectorAll(".pl-ranged")) cell.classList.remove("pl-ranged");
    const cells = this.cells.all.slice(from, to);
    for (const cell of cells) cell.classList.add("pl-ranged");
    if (cells.length) cells[0].scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Take the map off the page. */
  destroy() {
    this.hideCard();
    this.surprisalBars.destroy();
    this.listeners.abort();
    this.verdicts.destroy();
    this.root.remove();
  }

  /** @param {AbortSignal} signal */
  listen(signal) {
    const { list, root } = this;
    const card = this.card.element;
    /**
     * @param {EventTarget | null} target
     * @returns {boolean}
     */
    const holds = (target) => target instanceof Node && root.contains(target);
    list.addEventListener("keydown", (event) => this.key(event), { signal });
    list.addEventListener("focusin", (event) => this.focused(this.cells.indexOf(event.target)), { signal });
    list.addEventListener("click", (event) => this.clicked(this.cells.indexOf(event.target)), { signal });
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.escape(event), { signal, capture: true });
    list.addEventListener("pointerover", (event) => event.pointerType === "mouse" && this.hovered(event), { signal });
    if (this.dock) return; // which stays open
    list.addEventListener("pointerleave", () => this.wait(LEAVE_MS, () => this.unhover()), { signal });
    card.addEventListener("pointerenter", () => this.cancel(), { signal });
    card.addEventListener("pointerleave", () => this.wait(LEAVE_MS, () => this.unhover()), { signal });
    root.addEventListener("focusout", (event) => holds(event.relatedTarget) || this.hideCard(), { signal });
    document.addEventListener("pointerdown", (event) => holds(event.target) || this.hideCard(), { signal });
    window.addEventListener("scroll", () => this.follow(), { signal, capture: true, passive: true });
    window.addEventListener("resize", () => this.follow(), { signal });
  }

  // Colours

  /**
   * @param {number} index
   * @returns {Page.CellDescription}
   */
  description(index) {
    const record = this.records[index];
    const difference = this.differences[index] || null;
    const chosen = this.chosen?.[index] ?? null;
    const isDropped = chosen !== null && !chosen.kept;
    const said = [`token ${visible.spoken(record.t, record.b)}`];
    if (record.l === null) said.push("no probability");
    else said.push(visible.spokenPercent(colours.probabilityOf(record) ?? 0), `rank ${record.r}`);
    if (difference && difference.text) said.push(difference.text);
    if (isDropped) said.push("would have been dropped");
    const isBranch = this.branch !== null && this.branch.index === index;
    if (isBranch) said.push(/** @type {{ text: string }} */ (this.branch).text);
    const classes = ["pl-token", ...colours.levels(record, this.ranks, difference, chosen?.probability.middle)];
    if (isBranch) classes.push("pl-branched");
    if (isDropped) classes.push("pl-dropped");
    return { className: classes.join(" "), label: said.join(", ") };
  }

  repaint() {
    this.cells.describeAgain();
    if (this.isTable) this.table.draw(true);
    if (this.shown !== null) this.showCard(this.shown);
  }

  /** @param {Page.Mode} mode */
  chooseMode(mode) {
    this.setMode(mode);
    if (mode !== "difference") memory.set("heat.mode", mode); // not every map can show differences
  }

  /** @param {number[]} ranks */
  chooseRanks(ranks) {
    this.ranks = ranks;
    memory.set("heat.ranks", ranks.join(" "));
    this.repaint();
  }

  // What-if

  drawVerdicts() {
    const before = this.chosen;
    this.chosen = this.verdicts.settings === null ? null : this.records.map((record) => this.verdicts.chosen(record));
    /**
     * @param {number} index
     * @returns {boolean}
     */
    const isDifferent = (index) => {
      const [one, other] = [before?.[index], this.chosen?.[index]];
      return one?.kept !== other?.kept || one?.probability.middle !== other?.probability.middle;
    };
    this.records.forEach((_, index) => isDifferent(index) && this.cells.describe(index, this.description(index)));
    this.surprisalBars.set(this.records, this.chosen);
    if (this.isTable) this.table.draw(true);
    if (this.shown !== null) this.showCard(this.shown);
  }

  // The card

  /** @param {number} index */
  showCard(index) {
    this.cancel();
    if (opened !== null && opened !== this) opened.hideCard();
    opened = this;
    this.unmarkShown();
    this.cells.all[index].toggleAttribute("data-shown", true);
    this.shown = index;
    this.table.mark(index);
    const options = {
      index,
      record: this.records[index],
      difference: this.differences[index] || null,
      note: this.branch && this.branch.index === index ? sentence(this.branch.text) : "",
      verdict: this.verdicts.of(this.records[index]),
      isUnreported: this.isGenerated && this.branch?.index !== index && colours.isUnreported(this.records),
      onBranch: this.onBranch && this.records[index].q === undefined ? (/** @type {number} */ alternative) => this.branchAt(index, alternative) : null,
      onClose: () => this.leaveCard(),
      anchor: this.elementOf(index) ?? this.table.element,
      clear: this.toolbar.element,
      ...this.extras?.(index),
    };
    if (this.dock) this.dock.show(this, options, this.records.length);
    else this.card.show(options);
  }

  /**
   * @param {number} index
   * @returns {HTMLElement | null} where a token is shown; null for a row of the table that is not drawn
   */
  elementOf(index) {
    return this.isTable ? this.table.elementOf(index) : this.cells.all[index];
  }

  hideCard() {
    this.cancel();
    this.unmarkShown();
    this.isPinned = false;
    if (this.dock) this.dock.release(this);
    else this.card.hide();
  }

  unmarkShown() {
    if (this.shown !== null) this.cells.all[this.shown].toggleAttribute("data-shown", false);
    this.table.mark(null);
    this.shown = null;
  }

  /** Go back from the card to its token. */
  leaveCard() {
    if (this.shown === null) return;
    const index = this.shown;
    this.hideCard();
    if (this.isTable) this.table.go(index, true);
    else this.cells.all[index].focus({ preventScroll: true });
    this.dismiss();
  }

  /** Close the card until another token gets the focus. */
  dismiss() {
    this.hideCard();
    this.dismissed = true;
  }

  /**
   * @param {number} index
   * @param {number} alternative
   */
  branchAt(index, alternative) {
    this.leaveCard();
    this.onBranch?.(index, alternative);
  }

  /** @param {KeyboardEvent} event */
  escape(event) {
    if (this.shown === null) return;
    if (this.card.hasFocus) this.leaveCard();
    else this.dismiss();
    event.preventDefault();
  }

  /** Keep the card at its token after the page was scrolled or resized. */
  follow() {
    if (this.shown === null || this.dock) return;
    const place = this.elementOf(this.shown)?.getBoundingClientRect();
    if (!place || place.bottom < 0 || place.top > window.innerHeight) this.card.hide();
    else if (!this.card.isOpen) this.showCard(this.shown);
    else this.card.place();
  }

  // The pointer

  /**
   * Run an action later, instead of the one that was waiting.
   * @param {number} milliseconds
   * @param {() => void} action
   */
  wait(milliseconds, action) {
    this.cancel();
    this.timer = setTimeout(action, milliseconds);
  }

  cancel() {
    clearTimeout(this.timer);
  }

  /** @param {PointerEvent} event */
  hovered(event) {
    const index = this.cells.indexOf(event.target);
    if (event.buttons || this.card.hasFocus || this.isPinned) return;
    if (index === null && this.dock) this.cancel();
    else if (index === null) this.wait(LEAVE_MS, () => this.unhover());
    else if (index === this.shown) this.cancel();
    else this.wait(HOVER_MS, () => this.showCard(index));
  }

  /** Show the card of the token with the focus again after the pointer has left. */
  unhover() {
    if (this.card.hasFocus) return;
    const hasFocus = this.list.contains(document.activeElement) || this.table.body.contains(document.activeElement);
    if (!this.dismissed && hasFocus) this.showCard(this.cells.current);
    else this.hideCard();
  }

  /** @param {number | null} index */
  clicked(index) {
    if (index === null) return;
    if (index !== this.shown) this.showCard(index);
    this.isPinned = this.dock !== null;
  }

  /**
   * Mark the token whose bar is at the pointer.
   * @param {number | null} index
   */
  point(index) {
    if (this.pointed) this.pointed.classList.remove("pl-pointed");
    this.pointed = index === null ? null : this.cells.all[index];
    if (this.pointed) this.pointed.classList.add("pl-pointed");
  }

  // The keyboard

  /** @param {number | null} index */
  focused(index) {
    if (index === null) return;
    this.visited = true;
    this.dismissed = false;
    this.cells.select(index);
    this.surprisalBars.mark(index);
    this.showCard(index);
    if (this.onSelect) this.onSelect(index);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      n: () => this.goSurprising(1),
      p: () => this.goSurprising(-1),
      Enter: () => this.enterCard(),
      " ": () => this.enterCard(),
    };
    const goal = this.walk.goal(event.key, this.cells.current);
    if (goal === undefined && !(event.key in actions)) return;
    event.preventDefault();
    if (goal === undefined) actions[event.key]();
    else if (goal !== null) this.focusToken(goal);
  }

  /** The dock shows another owner's tokens now. */
  lose() {
    this.cancel();
    this.unmarkShown();
    this.isPinned = false;
    this.verdicts.change(null);
  }

  /**
   * Go to the next or previous surprising token, for the dock.
   * @param {number} direction
   */
  step(direction) {
    this.goSurprising(direction);
  }

  /**
   * Go to the next surprising token; the search wraps around.
   * @param {number} direction 1 for the next, -1 for the previous one
   */
  goSurprising(direction) {
    const count = this.records.length;
    const start = this.visited ? this.cells.current : direction > 0 ? -1 : count;
    for (let step = 1; step <= count; step += 1) {
      const index = (((start + direction * step) % count) + count) % count;
      if (!colours.isSurprising(this.mode, this.records[index], this.ranks, this.differences[index])) continue;
      this.toolbar.say("");
      this.focusToken(index);
      return;
    }
    this.toolbar.say(NONE[this.mode] ?? "No surprising tokens.");
  }

  enterCard() {
    this.showCard(this.cells.current);
    this.isPinned = this.dock !== null;
    this.card.enter();
  }
}

/**
 * @param {string} text
 * @returns {string} the text as a sentence
 */
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

/**
 * Return the mode that the user chose last, in any map.
 * @returns {Page.Mode}
 */
function rememberedMode() {
  const mode = memory.get("heat.mode");
  return mode !== null && mode in colours.MODES && mode !== "difference" ? /** @type {Page.Mode} */ (mode) : "probability";
}

/** @returns {number[]} */
function rememberedRanks() {
  const ranks = (memory.get("heat.ranks") || "").split(" ").map(Number);
  const rise = ranks.length === colours.RANKS.length && ranks.every((rank, at) => Number.isInteger(rank) && rank > (at ? ranks[at - 1] : 0));
  return rise ? ranks : [...colours.RANKS];
}
