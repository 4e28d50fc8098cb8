// Read: a text scored by a model, with its figures and its most surprising lines; or a diff, before and after.

import { make, button, ServerFiles, tabMemory } from "../shared/dom.js";
import { HeatMap } from "../tokens/heatmap.js";
import * as bothModels from "./both_models.js";
import { diffView } from "./diff_view.js";
import { LineList } from "./line_list.js";
import { chart } from "./reading_charts.js";
import { readInputs } from "./reading_inputs.js";
import { PartLoader } from "./reading_parts.js";
import { TextMinimap } from "./text_minimap.js";

const SETTLED_MS = 100; // after the last scroll, the alternatives of the tokens in view are asked for
const PART_TOKENS = 256; // as in compressed_reading.py
const STRONGEST_BITS = 6; // a difference of this many bits has the strongest colour
const MARGIN = 0.25; // share of the map above a line that is gone to
const READING = "read"; // in `tabMemory`, the key of this tab's last reading
const TEXT = "read.text"; // in `tabMemory`, the text that was typed
const STALE = "These results are of the text that was read before: press Read.";
const ONLY_READS = "Read only reads: to continue from an alternative, ask in the Chat tab.";

/** @type {Reading | null} */
let mounted = null;
/** @type {Page.Component<Page.ReadPart | null> | null} */
let channel = null;

class Reading {
  /**
   * @param {Page.Component<Page.ReadValue | null>} component
   */
  constructor({ element, props, watch, act }) {
    this.send = act;
    /** @type {Page.ReadValue | null} */
    this.value = null;
    this.number = -1; // of the reading that is drawn
    this.files = new ServerFiles();
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    this.isComplete = false;
    /** @type {Set<number>} */
    this.detailed = new Set(); // the parts whose alternatives are there
    /** @type {Map<number, (Page.BothFigures | null)[]>} */
    this.both = new Map(); // by part, the figures of both models
    /** @type {Page.LineColumns | null} */
    this.columns = null;
    /** @type {Page.Mode | null} */
    this.modeBefore = null; // of the map, when the differences were asked for
    this.timer = 0;
    this.loader = new PartLoader((part) => this.take(part));
    this.status = make("p", { class: "pl-note pl-visually-hidden", role: "status" }); // the same words are shown under the button
    this.bar = make("progress", { max: 1, "aria-label": "How much of the text has been read" });
    this.count = make("span", { class: "pl-quiet" });
    this.progress = make("div", { class: "pl-row pl-progress" }, button("Stop", { onclick: () => this.send({ verb: "stop" }) }), this.bar, this.count);
    readInputs.place.append(this.progress);
    readInputs.onPress = () => this.press();
    readInputs.onChange = () => this.markStale();
    this.stale = make("p", { class: "pl-read-stale", hidden: true }, STALE);
    this.summary = make("p", { class: "pl-read-summary" });
    this.owner = make("p", { class: "pl-read-owner" });
    this.note = make("p", { class: "pl-read-note" });
    this.figures = make("dl", { class: "pl-figures pl-read-figures" });
    this.body = make("div", { class: "pl-body pl-read-body" });
    this.minimap = new TextMinimap({ onGo: (line) => this.scrollTo(line) });
    this.lines = new LineList({ onGo: (index) => this.goTo(index), onEnter: (index) => this.enter(index), onSort: () => this.drawMinimap() });
    this.text = make("div", { class: "pl-read-text", onkeydown: (event) => this.key(event) }, this.body, this.minimap.element, this.lines.element);
    this.diff = make("div", { class: "pl-diffs" });
    this.charts = make("div", { class: "pl-charts" });
    this.tools = make(
      "div",
      { class: "pl-row" },
      button("Export CSV", { onclick: () => this.send({ verb: "export", form: "csv" }) }),
      button("Export JSON", { onclick: () => this.send({ verb: "export", form: "json" }) }),
    );
    const results = [this.summary, this.owner, this.figures, this.note, this.text, this.diff, this.tools, this.charts];
    this.results = make("div", { class: "pl-read-results" }, ...results);
    element.replaceChildren(make("section", { class: "pl-reading", "aria-label": "The text as the model reads it" }, this.status, this.stale, this.results));
    this.map = new HeatMap(this.body, {
      label: "Tokens of the text",
      onBranch: null,
      onSelect: (index) => this.detail(index, index + 1),
      card: (index) => this.cardOf(index),
    });
    this.map.cells.numberLines();
    this.tokens = /** @type {HTMLElement} */ (this.body.querySelector(".pl-tokens"));
    this.tokens.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.scrolled()).observe(this.tokens);
    watch("value", () => this.update(props.value));
    this.update(props.value);
    document.addEventListener("input", ({ target }) => {
      if (target instanceof HTMLTextAreaElement && target.closest("#pl-read-text")) tabMemory.set(TEXT, target.value);
    });
    const [key, text] = [tabMemory.get(READING), tabMemory.get(TEXT)];
    if ((key || text) && !props.value) this.send({ verb: "restore", key, text });
  }

  /** The button was pressed: show that at once, before the server has answered. */
  press() {
    if (!this.progress.hidden) return;
    this.say("Reading…", false);
    this.bar.removeAttribute("value");
    this.count.textContent = "";
    this.progress.hidden = false;
  }

  /**
   * @param {string} text
   * @param {boolean} isWrong
   */
  say(text, isWrong) {
    if (this.status.textContent !== text) this.status.textContent = text; // else a screen reader would read it again
    this.status.classList.toggle("pl-wrong", isWrong);
    readInputs.say(text, isWrong);
  }

  /** Dim results of another text, model or kind than the controls ask for. */
  markStale() {
    const { value } = this;
    const isStale = Boolean(value?.key) && value?.progress === null && readInputs.isStale;
    this.stale.hidden = !isStale;
    this.results.toggleAttribute("data-stale", isStale);
  }

  /** @param {Page.ReadValue | null} value */
  update(value) {
    this.progress.hidden = !value || value.progress === null;
    this.text.hidden = !value || !value.tokens;
    this.tools.hidden = !value || !value.lines;
    if (!value) return;
    this.value = value;
    this.say(value.status, value.wrong);
    if (value.progress !== null) {
      this.bar.value = value.progress.share;
      this.count.textContent = value.progress.words;
    }
    if (value.number !== this.number) this.begin(value);
    if (value.key) this.drawResult(value);
    else if (this.records.length < value.tokens) this.loader.ask("tokens", this.records.length);
    this.files.save(value.file);
    this.markStale();
  }

  /** @param {Page.ReadValue} value */
  begin(value) {
    this.number = value.number;
    this.map.set([]);
    Object.assign(this, { records: [], isComplete: false, columns: null });
    this.detailed.clear();
    this.both.clear();
    this.loader.reset(value.number);
    this.lines.set(null, [], "");
    this.minimap.set(0, [], []);
    for (const part of [this.summary, this.owner, this.note]) part.textContent = "";
    this.figures.replaceChildren();
    this.charts.replaceChildren();
    this.diff.replaceChildren();
  }

  /** @param {Page.ReadValue} value */
  drawResult(value) {
    if (value.key !== tabMemory.get(READING)) readInputs.adopt(this.results, value.model);
    tabMemory.set(READING, value.key);
    if (this.records.length < value.tokens) this.loader.ask("tokens", this.records.length);
    if (this.figures.childElementCount) {
      this.complete();
      return; // it is the same reading with another status
    }
    this.summary.textContent = value.summary;
    this.owner.textContent = `Figures of ${value.model}`;
    this.note.textContent = value.note;
    this.figures.replaceChildren(...value.figures.map(([name, figure, hint], index) => explained(name, figure, hint, index)));
    this.charts.replaceChildren(...value.charts.map((one) => chart(one)));
    this.diff.replaceChildren(...(value.diff === null ? [] : diffView(JSON.parse(value.diff))));
    this.complete();
  }

  /** Draw the lines, once all tokens are there. */
  complete() {
    const { value } = this;
    if (this.isComplete || !value || value.lines === null || this.records.length < value.tokens) return;
    this.isComplete = true;
    /** @type {Page.LineColumns} */
    const columns = JSON.parse(value.lines);
    const texts = this.records
      .map((record) => record.t)
      .join("")
      .split("\n");
    this.columns = columns;
    this.lines.set(columns, texts, value.second);
    this.drawMinimap();
    this.modeBefore = this.map.mode;
    if (value.compared) this.loader.ask("saved", 0);
    this.scrolled();
  }

  drawMinimap() {
    const last = this.columns === null ? 0 : (this.columns.number.at(-1) ?? 0);
    this.minimap.set(last, this.columns?.number ?? [], this.lines.values);
    this.drawWindow();
  }

  // Parts

  /** @param {Page.ReadPart} part */
  take({ kind, start, data }) {
    if (kind === "tokens") this.takeTokens(JSON.parse(data), start);
    else if (kind === "alternatives") this.takeAlternatives(JSON.parse(data), start);
    else if (kind === "second") this.takeBoth(JSON.parse(data), start);
    else this.takeSaved(JSON.parse(data));
  }

  /**
   * @param {Page.TokenColumns} columns
   * @param {number} start
   */
  takeTokens(columns, start) {
    if (start !== this.records.length) return;
    const records = columns.t.map((text, at) => recordOf(columns, text, at));
    this.records.push(...records);
    this.map.add(records);
    const { value } = this;
    if (value && records.length && this.records.length < value.tokens) this.loader.ask("tokens", this.records.length);
    this.complete();
    this.scrolled();
  }

  /**
   * Complete the records of a part, and the card of a token in it that is open.
   * @param {Page.TokenRecord[]} records
   * @param {number} part
   */
  takeAlternatives(records, part) {
    const first = part * PART_TOKENS;
    records.forEach(({ i, o, a, s }, at) => this.records[first + at] && Object.assign(this.records[first + at], { i, o, a, s }));
    if (records.length === PART_TOKENS || this.isComplete) this.detailed.add(part);
    this.redrawCard(part);
  }

  /**
   * @param {(Page.BothFigures | null)[]} figures
   * @param {number} part
   */
  takeBoth(figures, part) {
    this.both.set(part, figures);
    this.redrawCard(part);
  }

  /** @param {number} part whose tokens have new figures */
  redrawCard(part) {
    const { shown } = this.map;
    if (shown !== null && Math.floor(shown / PART_TOKENS) === part) this.map.showCard(shown);
  }

  /**
   * Return what the card of a token has in place of one model's figures without names.
   * @param {number} index
   * @returns {Page.CardExtras}
   */
  cardOf(index) {
    const both = this.both.get(Math.floor(index / PART_TOKENS))?.[index % PART_TOKENS] ?? null;
    const { model = "", second = "" } = this.value ?? {};
    if (both === null) return { hint: ONLY_READS };
    return { figures: bothModels.bothTable(this.records[index], both, [model, second]), hint: `The alternatives are those of ${model}. ${ONLY_READS}` };
  }

  /** @param {(number | null)[]} saved bits, for each token */
  takeSaved(saved) {
    const second = this.value?.second ?? "";
    const differences = saved.map((bits) => (bits === null ? null : savedDifference(bits, second)));
    this.map.setDifferences(differences, [`\u2212${STRONGEST_BITS}`, `+${STRONGEST_BITS} bits saved by ${second}`]);
    if (this.map.mode === this.modeBefore) this.map.setMode("difference"); // else the user has chosen another one meanwhile
  }

  /**
   * Ask for the alternatives of tokens, which their cards show.
   * @param {number} from
   * @param {number} to exclusive
   */
  detail(from, to) {
    for (let part = Math.floor(from / PART_TOKENS); part * PART_TOKENS < Math.min(to, this.records.length); part += 1) {
      if (!this.detailed.has(part)) this.loader.ask("alternatives", part);
      if (this.value?.compared && !this.both.has(part)) this.loader.ask("second", part);
    }
  }

  // Places

  scrolled() {
    this.drawWindow();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const { scrollTop, clientHeight } = this.tokens;
      if (clientHeight) this.detail(...this.map.cells.between(scrollTop, scrollTop + clientHeight));
    }, SETTLED_MS);
  }

  drawWindow() {
    const { scrollTop, clientHeight } = this.tokens;
    this.minimap.show(this.map.cells.lineAt(scrollTop), this.map.cells.lineAt(scrollTop + clientHeight));
  }

  /** @param {number} line */
  scrollTo(line) {
    this.tokens.scrollTop = this.map.cells.offsetOf(line) - this.tokens.clientHeight * MARGIN;
  }

  /**
   * Show a line in the map, and mark it.
   * @param {number} index of the columns
   */
  goTo(index) {
    const columns = /** @type {Page.LineColumns} */ (this.columns);
    const [number, first] = [columns.number[index], columns.first[index]];
    this.scrollTo(number);
    this.map.markRange(first, first + columns.tokens[index]);
    const { top } = this.map.cells.place(first);
    this.tokens.scrollTop += top - this.tokens.getBoundingClientRect().top - this.tokens.clientHeight * MARGIN;
    for (const gutter of this.tokens.querySelectorAll(".pl-gutter[data-marked]")) gutter.removeAttribute("data-marked");
    this.tokens.querySelector(`.pl-gutter[data-line="${number}"]`)?.setAttribute("data-marked", "");
  }

  /**
   * Move to the most surprising token of a line.
   * @param {number} index of the columns
   */
  enter(index) {
    if (this.columns !== null) this.map.focusToken(this.columns.peak[index]);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.key !== "." && event.key !== ",")) return;
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
    event.preventDefault();
    this.lines.step(event.key === "." ? 1 : -1);
  }
}

/**
 * @param {Page.TokenColumns} columns
 * @param {string} text
 * @param {number} at
 * @returns {Page.TokenRecord} without alternatives, which are asked for when they are shown
 */
function recordOf({ l, r, e, h, b }, text, at) {
  /** @type {Page.TokenRecord} */
  const record = { i: -1, t: text, l: l[at], r: r[at], e: e[at], s: null, o: 0, a: [] };
  if (b[at] !== undefined) record.b = b[at];
  if (h?.[at] !== undefined) record.h = h[at];
  return record;
}

/**
 * @param {number} bits
 * @param {string} model
 * @returns {Page.TokenDifference} whose words are written when they are read: a long text has many differences, and shows few
 */
const savedDifference = (bits, model) => ({
  value: Math.max(-1, Math.min(bits / STRONGEST_BITS, 1)),
  get text() {
    return bothModels.savedWords(bits, model);
  },
});

/**
 * Return a figure that explains itself on hover and focus.
 * @param {string} name
 * @param {string} figure
 * @param {string} hint
 * @param {number} index
 * @returns {HTMLElement}
 */
function explained(name, figure, hint, index) {
  const id = `pl-read-hint-${index}`;
  return make(
    "div",
    {},
    make("dt", {}, button(name, { class: "pl-explained", "aria-describedby": id })),
    make("dd", {}, figure),
    make("dd", { id, class: "pl-explanation", role: "tooltip" }, hint),
  );
}

/** Connect the channel for tokens, which is another component. */
function connect() {
  if (mounted !== null && channel !== null) mounted.loader.connect(channel);
}

/** @param {Page.Component<Page.ReadValue | null>} options */
export const mountReading = (options) => {
  mounted = new Reading(options);
  connect();
  return mounted;
};
/** @param {Page.Component<Page.ReadPart | null>} options */
export const mountReadingParts = (options) => {
  channel = options;
  connect();
};
