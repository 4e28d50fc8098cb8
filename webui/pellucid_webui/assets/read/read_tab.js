// Read: a text scored by a model, with its figures and its most surprising lines; or a diff, before and after.

import { make, button, announce, download, tabId, tabMemory } from "../shared/dom.js";
import { choicesOf, formControls } from "../shared/form_controls.js";
import { emptyState } from "../shared/empty_state.js";
import { mount } from "../shared/mounts.js";
import { call } from "../shared/wire.js";
import { HeatMap } from "../tokens/heatmap.js";
import { exportButtons } from "../tokens/token_export.js";
import * as bothModels from "./both_models.js";
import { diffView } from "./diff_view.js";
import { LineList } from "./line_list.js";
import { chart } from "./reading_charts.js";
import { ReadingInputs } from "./reading_inputs.js";
import { PartLoader } from "./reading_parts.js";
import { TextMinimap } from "./text_minimap.js";
import { TextOpener } from "./text_opener.js";

const SETTLED_MS = 100; // after the last scroll, the alternatives of the tokens in view are asked for
const PART_TOKENS = 256; // as in compressed_reading.py
const STRONGEST_BITS = 6; // a difference of this many bits has the strongest colour
const MARGIN = 0.25; // share of the map above a line that is gone to
const TEXT = "read.text"; // in `tabMemory`, the text that was typed or opened
const EXAMPLE = "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(valeus)\n";
const STALE = "These results are of the text that was read before: press Read.";
const ONLY_READS = "Read only reads: to continue from an alternative, ask in the Chat tab.";
const INTERRUPTED = "The reading was interrupted: press Read to try again.";

class Reading {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.tab = tabId();
    this.isRunning = false;
    /** @type {Page.ReadResult | null} */
    this.last = null;
    /** @type {Page.ReadResult | null} */
    this.result = null; // the last one, if it is drawn
    this.number = 0; // of the reading that is drawn
    this.total = 0; // the tokens that the server has
    /** @type {Page.TokenRecord[]} */
    this.records = [];
    this.isComplete = false;
    this.hasDifferences = false;
    /** @type {Set<number>} */
    this.detailed = new Set(); // the parts whose alternatives are there
    /** @type {Map<number, (Page.BothFigures | null)[]>} */
    this.both = new Map(); // by part, the figures of both models
    /** @type {Page.LineColumns | null} */
    this.columns = null;
    /** @type {Page.Mode | null} */
    this.modeBefore = null; // of the map, when the differences were asked for
    this.timer = 0;
    this.loader = new PartLoader(this.tab, (kind, start, data) => this.take(kind, start, data));
    this.status = make("p", { class: "pl-note pl-visually-hidden", role: "status" }); // the same words are shown under the button
    this.inputs = new ReadingInputs({ onChange: () => this.markStale(), onStop: () => this.ask({ verb: "stop" }, () => {}) });
    this.stale = make("p", { class: "pl-read-stale", hidden: true }, STALE);
    this.summary = make("p", { class: "pl-read-summary" });
    this.owner = make("p", { class: "pl-read-owner" });
    this.note = make("p", { class: "pl-read-note" });
    this.figures = make("dl", { class: "pl-figures pl-read-figures" });
    this.body = make("div", { class: "pl-body pl-read-body" });
    this.minimap = new TextMinimap({ onGo: (line) => this.scrollTo(line) });
    this.lines = new LineList({ onGo: (index) => this.goTo(index), onEnter: (index) => this.enter(index), onSort: () => this.drawMinimap() });
    this.text = make("div", { class: "pl-read-text", hidden: true, onkeydown: (event) => this.key(event) }, this.body, this.minimap.element, this.lines.element);
    this.diff = make("div", { class: "pl-diffs" });
    this.charts = make("div", { class: "pl-charts" });
    this.tools = exportButtons("reading", (kind) => this.export(kind));
    this.tools.hidden = true;
    const results = [this.summary, this.owner, this.figures, this.note, this.text, this.diff, this.tools, this.charts];
    this.results = make("div", { class: "pl-read-results" }, ...results);
    const root = make("section", { class: "pl-reading", "aria-label": "The text as the model reads it" }, this.status, this.stale, this.results);
    document.addEventListener("input", ({ target }) => {
      if (target instanceof HTMLTextAreaElement && target.closest("#pl-read-text")) tabMemory.set(TEXT, target.value);
    });
    this.empty = emptyState({
      picture: [make("span", {}, "The sky is ", make("span", { class: "p7" }, "green"))],
      promise: "The text appears here. The stronger a colour, the less the model expected the token. A list has the most surprising lines, and a click on a token shows what the model expected instead.",
      example: make("span", { class: "pl-mono" }, EXAMPLE.trim()),
      does: "read this function, which has a typing error",
      place: root,
      hasOwn: () => tabMemory.get(TEXT) !== null,
      run: () => this.readExample(),
    });
    root.append(this.empty);
    element.replaceChildren(root);
    this.map = new HeatMap(this.body, {
      label: "Tokens of the text",
      onBranch: null,
      onSelect: (index) => this.detail(index, index + 1),
      card: (index) => this.cardOf(index),
      table: { onSeen: (indices) => indices.forEach((index) => this.detail(index, index + 1)) },
    });
    this.map.cells.numberLines();
    this.tokens = /** @type {HTMLElement} */ (this.body.querySelector(".pl-tokens"));
    this.tokens.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.scrolled()).observe(this.tokens);
    document.addEventListener("click", ({ target }) => target instanceof Element && target.closest("#pl-read-go") && this.press(), true);
    document.addEventListener("pellucid-server-back", () => {
      this.open();
      this.scrolled();
    });
    this.open();
  }

  /**
   * @param {object} asked
   * @param {(event: any) => void} onEvent
   * @returns {Promise<boolean>} whether the answer has come whole
   */
  ask(asked, onEvent) {
    return call("read", { tab: this.tab, ...asked }, onEvent);
  }

  /** Fill in the menus, and show the last reading of this tab after a reload. Text that was typed since stays. */
  open() {
    this.ask({ verb: "open" }, (/** @type {Page.ReadOpened} */ { model, second, asked, result }) => {
      const { controls } = this.inputs;
      const text = tabMemory.get(TEXT) ?? undefined;
      if (result && asked && !this.last && !this.isRunning) {
        controls.give([tabMemory.get(TEXT) ?? asked.text, choicesOf(model), choicesOf(second), asked.kind]);
        this.inputs.read = asked;
        this.draw(result);
        return;
      }
      const now = this.inputs.asked;
      controls.give([text, choicesOf({ ...model, value: now.model || model.value }), choicesOf({ ...second, value: now.second || second.value })]);
    });
  }

  /**
   * Show the text of a file in the field.
   * @param {Page.FileContent} file
   */
  openFile(file) {
    this.ask({ verb: "file", file }, (/** @type {{ text: string | null, status: string, wrong: boolean }} */ { text, status, wrong }) => {
      this.say(status, wrong);
      if (text === null) return;
      tabMemory.set(TEXT, text);
      this.inputs.controls.give([text]);
    });
  }

  async readExample() {
    await this.inputs.controls.give([EXAMPLE]);
    this.press();
    await this.read();
    if (this.result) announce("The text has been read.");
  }

  /** The button was pressed: show that at once, before Gradio has handed over the text. */
  press() {
    if (this.isRunning) return;
    this.say("Reading…", false);
    this.inputs.begin();
  }

  /** Read what the controls ask for. Until a token is there, nothing is shown. */
  async read() {
    if (this.isRunning) return;
    const { asked } = this.inputs;
    this.isRunning = true;
    this.results.hidden = true;
    this.markStale();
    let isEnded = false;
    await this.ask({ verb: "read", ...asked }, (event) => {
      isEnded = "status" in event;
      if (isEnded) this.finish(event, asked);
      else this.advance(event);
    });
    this.isRunning = false;
    if (!isEnded) this.finish({ status: INTERRUPTED, wrong: true, result: null }, asked);
    if (!this.result) this.draw(this.last); // in place of the tokens that were interrupted
    this.markStale();
  }

  /** @param {Page.ReadProgress} progress */
  advance(progress) {
    this.inputs.advance(progress);
    if (!progress.tokens) return;
    if (progress.number !== this.number) this.begin(progress.number);
    this.text.hidden = false;
    this.total = progress.tokens;
    this.fill();
  }

  /**
   * @param {Page.ReadEnd} end
   * @param {Page.ReadAsked} asked
   */
  finish({ status, wrong, result }, asked) {
    this.inputs.progress.hidden = true;
    this.results.hidden = false;
    this.say(status, wrong);
    if (!result) return;
    this.inputs.read = { ...asked, model: asked.model || result.model };
    this.draw(result);
    this.inputs.point(this.results);
  }

  /** @param {string} form */
  export(form) {
    this.ask({ verb: "export", number: this.number, form }, (/** @type {Page.SavedText} */ { name, text, type }) => download(name, text, type));
  }

  /**
   * @param {string} text
   * @param {boolean} isWrong
   */
  say(text, isWrong) {
    if (this.status.textContent !== text) this.status.textContent = text; // else a screen reader would read it again
    this.status.classList.toggle("pl-wrong", isWrong);
    this.inputs.say(text, isWrong);
  }

  /** Dim results of another text, model or kind than the controls ask for. */
  markStale() {
    const isStale = Boolean(this.result) && !this.isRunning && this.inputs.isStale;
    this.stale.hidden = !isStale;
    this.results.toggleAttribute("data-stale", isStale);
  }

  /** @param {number} number of the reading that is drawn from now on */
  begin(number) {
    Object.assign(this, { number, result: null, total: 0, records: [], isComplete: false, hasDifferences: false, columns: null });
    this.results.hidden = false;
    this.empty.hidden = number !== 0;
    this.text.hidden = this.tools.hidden = true;
    this.map.set([]);
    this.detailed.clear();
    this.both.clear();
    this.loader.reset(number);
    this.lines.set(null, [], "");
    this.minimap.set(0, [], []);
    for (const part of [this.summary, this.owner, this.note]) part.textContent = "";
    this.figures.replaceChildren();
    this.charts.replaceChildren();
    this.diff.replaceChildren();
  }

  /** @param {Page.ReadResult | null} result */
  draw(result) {
    if (result?.number !== this.number) this.begin(result?.number ?? 0);
    if (!result) return;
    this.result = this.last = result;
    this.total = result.tokens;
    this.text.hidden = !result.tokens;
    this.tools.hidden = !result.lines;
    this.summary.textContent = result.summary;
    this.owner.textContent = `Figures of ${result.model}`;
    this.note.textContent = result.note;
    this.figures.replaceChildren(...result.figures.map(([name, figure, hint], index) => explained(name, figure, hint, index)));
    this.charts.replaceChildren(...result.charts.map((one) => chart(one)));
    this.diff.replaceChildren(...(result.diff === null ? [] : diffView(JSON.parse(result.diff))));
    this.fill();
  }

  /** Ask for tokens that are not there yet. Draw the lines once all are there, and ask for the differences. */
  fill() {
    const { result } = this;
    if (this.records.length < this.total) this.loader.ask("tokens", this.records.length);
    else if (result?.lines) {
      if (!this.isComplete) this.complete(result, JSON.parse(result.lines));
      if (result.second && !this.hasDifferences) this.loader.ask("saved", 0);
    }
  }

  /**
   * @param {Page.ReadResult} result
   * @param {Page.LineColumns} columns
   */
  complete(result, columns) {
    this.isComplete = true;
    const texts = this.records
      .map((record) => record.t)
      .join("")
      .split("\n");
    this.columns = columns;
    this.lines.set(columns, texts, result.second);
    this.drawMinimap();
    this.modeBefore = this.map.mode;
    this.scrolled();
  }

  drawMinimap() {
    const last = this.columns === null ? 0 : (this.columns.number.at(-1) ?? 0);
    this.minimap.set(last, this.columns?.number ?? [], this.lines.values);
    this.drawWindow();
  }

  // Parts

  /**
   * @param {Page.ReadPartKind} kind
   * @param {number} start
   * @param {any} data
   */
  take(kind, start, data) {
    if (kind === "tokens") this.takeTokens(data, start);
    else if (kind === "alternatives") this.takeAlternatives(data, start);
    else if (kind === "second") this.takeBoth(data, start);
    else this.takeSaved(data);
  }

  /**
   * @param {Page.TokenColumns} columns
   * @param {number} start
   */
  takeTokens(columns, start) {
    const records = columns.t.map((text, at) => recordOf(columns, text, at));
    if (start !== this.records.length || !records.length) return;
    this.records.push(...records);
    this.map.add(records);
    this.fill();
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
    if (this.map.isTable) this.map.table.draw(true);
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
    const { model = "", second = "" } = this.result ?? {};
    if (both === null) return { hint: ONLY_READS };
    return { figures: bothModels.bothTable(this.records[index], both, [model, second]), hint: `The alternatives are those of ${model}. ${ONLY_READS}` };
  }

  /** @param {(number | null)[]} saved bits, for each token */
  takeSaved(saved) {
    const second = this.result?.second ?? "";
    this.hasDifferences = true;
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
      if (this.result?.second && !this.both.has(part)) this.loader.ask("second", part);
    }
  }

  // Places

  scrolled() {
    this.drawWindow();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const { scrollTop, clientHeight } = this.tokens;
      this.fill();
      if (clientHeight) this.detail(...this.map.cells.between(scrollTop, scrollTop + clientHeight));
    }, SETTLED_MS);
  }

  drawWindow() {
    const { scrollTop, clientHeight } = this.tokens;
    this.minimap.show(this.map.cells.lineAt(scrollTop), this.map.cells.lineAt(scrollTop + clientHeight));
  }

  /** @param {number} line */
  scrollTo(line) {
    this.map.showTable(false);
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

/** @type {Reading | null} */
let mounted = null;

/**
 * Read; the button does it.
 * @param {any[]} values of the controls
 */
export function readText(values) {
  formControls("read").hear(values, false);
  mounted?.read();
}

mount("pl-reading", (element) => {
  const reading = (mounted = new Reading(element));
  mount("pl-read-file", (place) => {
    const opener = new TextOpener(/** @type {HTMLElement} */ (place.closest("#pl-read-side")), (file) => reading.openFile(file));
    place.replaceChildren(reading.inputs.place, opener.element); // right below the button
  });
});
