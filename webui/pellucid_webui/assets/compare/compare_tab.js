// Compare: one prompt answered in two to four columns, each of which also scores the other answers.

import { make, button, announce, copy, saveFile, tabId } from "../shared/dom.js";
import { mount } from "../shared/mounts.js";
import { call } from "../shared/wire.js";
import { BatchPanel } from "./batch_panel.js";
import { CompareColumn } from "./compare_column.js";
import { CompareForm } from "./compare_form.js";
import { takeTab } from "./compare_from_chat.js";
import { fromLink, toLink } from "./compare_link.js";
import { comparisonLegend } from "./compare_legend.js";
import * as compareParts from "./compare_parts.js";
import { CompareReadings, ownProbability } from "./compare_readings.js";
import { CompareWhatIf } from "./compare_whatif.js";
import { CompareCard } from "./compared_token_card.js";
import * as comparisonPicture from "./comparison_picture.js";

const { select, table, flags, merged, draft } = compareParts;

const NARROW = 640; // pixels below which the columns are below each other
const WIDE = 1000; // pixels from which the card is next to two columns
const HOVER_MS = 60; // a pointer that rests this long on a token shows it in the card

/** @type {[mode: Page.CompareMode, name: string][]} */
const MODES = [
  ["probability", "Probability"],
  ["surprisal", "Surprisal"],
  ["difference", "Difference"],
];

const EXPORTS = { csv: "CSV", json: "JSON", html: "HTML page" };

class Compare {
  /**
   * @param {HTMLElement} element
   */
  constructor(element) {
    this.tab = tabId();
    /** @type {Page.CompareValue | null} */
    this.value = null;
    /** @type {Page.CompareAnalysis | null} */
    this.analysis = null;
    this.number = 0; // of the comparison that is drawn
    /** @type {import("./compare_readings.js").CompareReadings | null} */
    this.readings = null;
    /** @type {[text: number, token: number] | null} */
    this.place = null;
    this.jump = -1;
    this.timer = 0;
    this.isOpened = false;
    this.isPinned = false; // whether the status speaks of a link, which stays until something is asked for
    /** @type {import("./compare_column.js").CompareColumn[]} */
    this.columns = [];
    this.form = new CompareForm({ onCompare: () => this.compare(), onStop: () => this.stop(), onChange: () => this.changed(), onLink: (pressed) => this.copyLink(pressed) });
    this.form.element.hidden = true; // until it is filled in, so that nothing written is overwritten
    this.status = make("p", { class: "pl-note", role: "status" });
    this.mode = select("Colour by", MODES, () => this.repaint());
    this.viewChoice = select("Probabilities", [["own", "Model's own"], ["sampled", "As sampled"], ["whatif", "What if…"]], () => this.chooseView());
    this.whatIf = new CompareWhatIf(() => this.chooseView(), () => this.chooseView(this.analysis?.view));
    this.first = select("More likely in", [], () => this.repaint());
    this.second = select("or in", [], () => this.repaint());
    this.folded = make("input", { type: "checkbox", onchange: () => this.fold() });
    this.summary = make("div", { class: "pl-compare-summary" });
    this.legend = make("div", { class: "pl-heat pl-compare-legend", role: "group", "aria-label": "What the colours mean" });
    this.count = make("span", { class: "pl-compare-count", role: "status" });
    this.previous = button("Previous difference", { onclick: () => this.walk(-1) }, "Key D");
    this.next = button("Next difference", { onclick: () => this.walk(1) }, "Key d");
    this.tools = make(
      "div",
      { class: "pl-compare-tools" },
      this.previous,
      this.next,
      this.count,
      this.mode.element,
      this.first.element,
      this.second.element,
      this.viewChoice.element,
      make("label", {}, this.folded, " Fold equal parts"),
      this.legend,
    );
    this.card = new CompareCard();
    this.jumps = make("div", { class: "pl-compare-jumps" });
    this.list = make("div", { class: "pl-columns" });
    this.tables = make("div", { class: "pl-compare-tables" });
    this.exports = make("div", { class: "pl-row" }, ...Object.entries(EXPORTS).map(([kind, name]) => button(`Download ${name}`, { onclick: () => this.ask({ verb: "export", kind }) })), button("Download PNG", { onclick: () => this.savePicture() }));
    this.result = make(
      "div",
      { class: "pl-compare-result", hidden: true },
      this.summary,
      this.tools,
      this.whatIf.element,
      make("div", { class: "pl-compare-main" }, make("div", { class: "pl-compare-side" }, this.card.element, this.jumps), this.list),
      this.tables,
      this.exports,
    );
    this.batch = new BatchPanel(this);
    this.element = make("section", { class: "pl-compare", "aria-label": "Compare answers" }, this.form.element, this.status, this.batch.element, this.result);
    element.replaceChildren(this.element);
    this.element.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => this.followLink());
    new ResizeObserver(([entry]) => this.fit(entry.contentRect.width)).observe(this.element);
    document.addEventListener("pellucid-server-back", () => this.ask({ verb: "open" }));
    this.ask({ verb: "open" });
  }

  /** @param {object} data */
  async ask(data) {
    const onEvent = (/** @type {Page.CompareValue} */ value) => this.update(value);
    if (!(await call("compare", { tab: this.tab, ...data }, onEvent))) this.form.setRunning(false);
  }

  /**
   * Put the card next to the columns where there is room, and the columns below each other where there is none.
   * @param {number} width
   */
  fit(width) {
    this.element.dataset.layout = width < NARROW ? "narrow" : this.columns.length <= 2 && width >= WIDE ? "next" : "above";
  }

  compare() {
    if (this.value?.running || this.batch.running) return;
    this.run();
  }

  /**
   * Fill in the form, and compare.
   * @param {Page.CompareFormValue} form
   */
  fill(form) {
    this.form.set(form);
    draft.set(this.form.value);
    if (form.columns.some(({ pictures }) => pictures === false)) this.mode.field.value = "difference";
    this.run();
  }

  run() {
    this.isPinned = false;
    this.say("Waiting for the server…");
    this.form.setRunning(true);
    if (!this.batch.start(this.form.value)) this.ask({ verb: "compare", form: this.form.value });
  }

  stop() {
    if (this.batch.running) this.batch.stop();
    else this.ask({ verb: "stop" });
  }

  changed() {
    draft.set(this.form.value);
    this.batch.nameButton(this.form.value);
  }

  savePicture() {
    comparisonPicture.save(this).catch((error) => this.say(error.message, true));
  }

  /** @param {HTMLElement} pressed */
  copyLink(pressed) {
    try {
      copy(toLink(this.form.value), pressed);
    } catch (error) {
      this.say(/** @type {Error} */ (error).message, true);
    }
  }

  /** Fill in the form from the address, which then loses the form, so that reloading the page changes nothing. */
  followLink() {
    let form = null;
    this.isPinned = location.hash.startsWith("#compare=");
    try {
      form = fromLink(location.hash);
    } catch (error) {
      this.say(/** @type {Error} */ (error).message, true);
    }
    if (this.isPinned) history.replaceState(history.state, "", location.href.replace(/#.*$/su, ""));
    if (form === null) return false;
    this.form.set(form);
    this.changed();
    const models = this.value?.models ?? [];
    const missing = [...new Set(form.columns.map((column) => column.model).filter((name) => !models.includes(name)))];
    if (missing.length) this.say(`The link names a model that this server does not have: ${missing.join(", ")}. Choose another one.`, true);
    else this.say("The form is filled in from the link: press Compare.");
    return true;
  }

  /** @param {Page.CompareValue} value */
  update(value) {
    if (value.number && value.number < this.number) return; // the rest of a comparison that was replaced
    const isFirst = !this.isOpened;
    this.value = value;
    this.form.offer(value.models);
    if (isFirst && value.form) this.open(value.form);
    if (value.number > this.number) this.begin(value);
    if (value.status || !(isFirst || this.isPinned)) this.say(value.status, value.wrong);
    this.form.setRunning(value.running || this.batch.running);
    value.columns.forEach((column, index) => this.columns[index]?.update(column));
    if (value.analysis !== null && this.analysis === null) this.finish(value, value.analysis);
    saveFile(value.file);
  }

  /**
   * Show the form for the first time: that of a link, else what was being written, else the one that the server proposes.
   * @param {Page.CompareFormValue} form
   */
  open(form) {
    this.isOpened = true;
    this.form.element.hidden = false;
    const written = draft.get();
    this.form.set(written ?? form);
    this.form.offer(this.value?.models ?? []);
    this.followLink();
    this.batch.nameButton(this.form.value);
    this.element.append(compareParts.emptyCompare(form, this.status, () => this.fill(form)));
    takeTab(this);
  }

  /** @param {Page.CompareValue} value */
  begin(value) {
    this.number = value.number;
    this.batch.showRow(value.row ?? null);
    this.analysis = this.readings = null;
    this.place = null;
    this.jump = -1;
    this.columns = value.columns.map(({ letter }, index) => new CompareColumn(letter, { onSelect: (token) => this.show(index, token), onHover: (token) => this.hover(index, token) }));
    this.list.replaceChildren(...this.columns.map((column) => column.element));
    this.list.style.setProperty("--columns", String(this.columns.length));
    this.fit(this.element.clientWidth);
    this.count.textContent = "";
    this.result.dataset.done = "false";
    this.result.hidden = false;
    const letters = value.columns.map(({ letter }) => /** @type {[string, string]} */ ([letter, letter]));
    this.first.offer(letters, "A");
    this.second.offer(letters, "B");
    this.folded.checked = false;
    [this.summary, this.tables, this.jumps].forEach((part) => part.replaceChildren());
    if (draft.get() === null && value.form) this.form.set(value.form);
  }

  /**
   * @param {Page.CompareValue} value
   * @param {string} analysis
   */
  finish(value, analysis) {
    const found = JSON.parse(analysis);
    const readings = found.readings.map((/** @type {(string | null)[]} */ row) => row.map((batch) => (batch === null ? null : JSON.parse(batch))));
    this.columns.forEach((column, at) => (readings[at][at] = column.records));
    this.analysis = { ...found, readings };
    this.result.dataset.done = "true";
    this.readings = new CompareReadings({ ...found, readings }, value.columns.map((column) => column.temperature));
    this.drawSummary(value);
    this.chooseView(found.view);
    const jump = value.summary?.jumps[0];
    if (jump) this.show(jump.text, jump.token, jump.words);
    else {
      const at = this.columns.findIndex((column) => column.records.length);
      if (at >= 0) this.show(at, 0);
    }
  }

  // Colours

  /** @param {Page.CompareView} [view] the chosen one, if not given */
  chooseView(view = /** @type {Page.CompareView} */ (this.viewChoice.field.value)) {
    this.viewChoice.field.value = view;
    this.whatIf.show(view === "whatif");
    if (this.readings === null) return;
    this.readings.choose(view, this.whatIf.value);
    if (view === "whatif") this.whatIf.sumUp(this.readings, this.columns.map((column) => column.letter));
    this.repaint();
  }

  /** Draw the tokens in the chosen mode and view. */
  repaint() {
    const { analysis, readings } = this;
    const mode = /** @type {Page.CompareMode} */ (this.mode.field.value);
    this.legend.dataset.mode = mode;
    const pair = this.pair();
    for (const { element } of [this.first, this.second]) element.hidden = mode !== "difference" || this.columns.length === 2;
    this.legend.replaceChildren(...comparisonLegend(mode, pair.map((at) => this.columns[at]?.letter ?? "")));
    if (analysis === null || readings === null) return;
    this.columns.forEach((column, at) => {
      const apart = flags(analysis.apart[at], column.records.length);
      const other = at === pair[0] ? pair[1] : at === pair[1] ? pair[0] : null;
      column.paint(mode, (index) => {
        const reading = readings.reading(at, at, index);
        const share = reading === null ? null : ownProbability(reading);
        const link = other === null || other === at ? null : readings.link(at, other, index);
        return {
          probability: share === null ? null : (share[0] + share[1]) / 2,
          ratio: link === null ? null : link.ratio,
          other: other === null ? "" : this.columns[other].letter,
          isApart: apart[index],
        };
      });
    });
    this.fold();
    if (this.place !== null) this.show(...this.place);
  }

  /** @returns {[number, number]} the columns of the difference map */
  pair() {
    const letters = this.columns.map((column) => column.letter);
    const [a, b] = [this.first, this.second].map(({ field }) => Math.max(0, letters.indexOf(field.value)));
    return a === b ? [a, a === 0 ? 1 : 0] : [a, b];
  }

  fold() {
    const { analysis } = this;
    if (analysis === null) return;
    this.columns.forEach((column, at) => column.fold(this.folded.checked ? merged(analysis.apart[at]) : null));
  }

  // The card

  /**
   * Show a token in the card, and mark the same place in the other columns.
   * @param {number} text
   * @param {number} index
   * @param {string} [remark] why the user was led here
   */
  show(text, index, remark = "") {
    const { analysis, readings } = this;
    clearTimeout(this.timer);
    if (analysis === null || readings === null || readings.reading(text, text, index) === null) return;
    this.place = [text, index];
    const numbers = this.columns.map((_, at) => at);
    this.card.show({
      letters: this.columns.map((column) => column.letter),
      text,
      index,
      count: this.columns[text].records.length,
      readings: numbers.map((column) => readings.reading(text, column, index)),
      links: numbers.map((column) => (column === text ? null : readings.link(text, column, index))),
      upper: analysis.upper[text],
      remark,
      reads: Boolean(this.value?.reads),
    });
    this.columns.forEach((column, at) => {
      const isShown = at === text;
      column.mark(isShown ? [index, index + 1] : (analysis.ranges[text][at][index] ?? null), isShown);
      if (!isShown) column.reveal();
    });
  }

  /**
   * @param {number} text
   * @param {number | null} index
   */
  hover(text, index) {
    clearTimeout(this.timer);
    if (index !== null) this.timer = setTimeout(() => this.show(text, index), HOVER_MS);
  }

  // Going from one difference to the next

  /** @param {KeyboardEvent} event */
  key(event) {
    const target = /** @type {Element} */ (event.target);
    if (target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "d") this.walk(1);
    if (event.key === "D") this.walk(-1);
  }

  /** @param {number} direction 1 for the next difference, -1 for the previous one */
  walk(direction) {
    const jumps = this.value?.summary?.jumps ?? [];
    const from = this.jump < 0 && direction < 0 ? 0 : this.jump;
    if (jumps.length) this.go((from + direction + jumps.length) % jumps.length);
    else this.count.textContent = "No differences";
  }

  /** @param {number} index */
  go(index) {
    const jumps = this.value?.summary?.jumps ?? [];
    this.jump = index;
    const { text, token, words } = jumps[index];
    this.columns[text].focusToken(token);
    this.show(text, token, words);
    this.count.textContent = `${index + 1} of ${jumps.length}`;
    announce(words);
  }

  // Words

  /**
   * @param {string} text
   * @param {boolean} [isWrong]
   */
  say(text, isWrong = false) {
    if (this.status.textContent !== text) this.status.textContent = text; // else a screen reader would read it again
    this.status.classList.toggle("pl-wrong", isWrong);
  }

  /** @param {Page.CompareValue} value */
  drawSummary({ summary }) {
    if (summary === null) return;
    const shown = summary.jumps.map((jump, index) => ({ ...jump, index })).filter(({ kind }) => kind !== "difference");
    const items = shown.map(({ index, kind, words }) => make("li", {}, button(kind === "first" ? `First difference: ${words}` : words, { class: "pl-button pl-jump", onclick: () => this.go(index) })));
    this.summary.replaceChildren(
      make("h2", {}, "Summary"),
      ...summary.sentences.map((sentence) => make("p", {}, sentence)),
    );
    if (items.length) this.jumps.append(make("h3", {}, "First and largest differences"), make("ul", { class: "pl-jumps" }, ...items));
    this.tables.replaceChildren(table("Perplexity and total bits: what each column makes of each text", summary.matrix), table("Figures", summary.figures));
    this.previous.disabled = this.next.disabled = !summary.jumps.length;
    announce("The comparison is complete.");
  }
}

mount("pl-compare", (element) => new Compare(element));
