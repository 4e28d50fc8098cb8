// A batch in Compare: a file of prompts or several seeds, run through the columns of the form, with a summary and a table of results.

import { make, button, announce, saveFile, contentOf } from "../shared/dom.js";
import { BatchProgress } from "./batch_progress.js";
import { BatchTable } from "./batch_table.js";
import { call } from "../shared/wire.js";
import { openReview } from "../review/review_tab.js";
import * as compareParts from "./compare_parts.js";

const HINT = "A .txt file with one prompt a line, .jsonl with prompt or messages, or .csv with a column prompt. A key or column reference is read by all columns.";

export class BatchPanel {
  /**
   * @param {Page.CompareHost} host
   */
  constructor(host) {
    this.host = host;
    /** @type {Page.BatchValue | null} */
    this.value = null;
    this.drawn = 0; // batches of rows in the table
    this.order = 0;
    this.row = -1; // the row that is shown below
    this.waiting = false;
    this.input = make("input", { type: "file", class: "pl-visually-hidden", accept: ".txt,.jsonl,.ndjson,.csv", "aria-label": "File of prompts", tabindex: "-1" });
    this.name = make("span", { class: "pl-batch-file" });
    this.remove = button("Remove file", { onclick: () => this.ask("remove"), hidden: true });
    this.addChooser();
    this.title = make("h2", {});
    this.progress = new BatchProgress(() => this.ask("resume"));
    this.summary = make("div", { class: "pl-batch-summary" });
    this.most = make("div", { class: "pl-batch-most" });
    this.table = new BatchTable((row) => this.open(row));
    this.means = make("details", { class: "pl-column-more" });
    this.exports = make("div", { class: "pl-row" }, ...["CSV", "JSON"].map((name) => button(`Download results as ${name}`, { onclick: () => this.ask("export", { kind: name.toLowerCase() }) })));
    this.review = make("input", { class: "pl-field", "aria-label": "Name of the review", placeholder: "Name of the review", autocomplete: "off" });
    this.rating = make("div", { class: "pl-row pl-batch-rating" }, this.review, button("Rate blind", { onclick: () => this.ask("review", { review: this.review.value.trim() }) }, "Open the answers in the Review tab, without their models"));
    this.opened = make("h2", { class: "pl-batch-opened", tabindex: "-1" });
    this.before = button("Previous row", { onclick: () => this.step(-1) });
    this.after = button("Next row", { onclick: () => this.step(1) });
    this.steps = make("div", { class: "pl-row pl-batch-steps", hidden: true }, this.opened, this.before, this.after, button("Back to the table", { onclick: () => this.back() }));
    this.results = make("section", { class: "pl-batch", "aria-label": "Batch", hidden: true }, this.title, this.progress.element, this.summary, this.most, this.table.element, this.means, this.exports, this.rating);
    this.element = make("div", { class: "pl-batch-place" }, this.results, this.steps);
    document.addEventListener("pellucid-server-back", () => this.ask("open"));
    queueMicrotask(() => this.ask("open")); // once the host is complete
  }

  /** Add the field for a file to the form, next to the one for the seeds. */
  addChooser() {
    this.input.addEventListener("change", () => this.choose([...(this.input.files ?? [])]));
    const press = button("Choose file", { onclick: () => this.input.click() });
    const chooser = make("div", { class: "pl-batch-chooser" }, make("div", { class: "pl-row" }, press, this.remove, this.name, this.input), make("p", { class: "pl-quiet" }, HINT));
    chooser.addEventListener("dragover", (event) => event.dataTransfer?.types.includes("Files") && event.preventDefault());
    chooser.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      this.choose([...event.dataTransfer.files]);
    });
    this.host.form.many.append(chooser);
  }

  /** @param {File[]} files */
  async choose(files) {
    if (files.length > 1) this.host.say("Choose one file at a time.", true);
    if (files.length !== 1) return;
    try {
      this.ask("choose", { file: await contentOf(files[0], this.value?.limit ?? Infinity) });
      this.host.say("");
    } catch {
      this.host.say(`${files[0].name} cannot be read: choose a file that you have access to, not a folder.`, true);
    }
    this.input.value = "";
  }

  get running() {
    return this.waiting || Boolean(this.value?.running);
  }

  /**
   * @param {string} verb
   * @param {object} [more]
   */
  ask(verb, more = {}) {
    const onEvent = (/** @type {Page.BatchValue} */ value) => this.update(value);
    return call("compare/batch", { tab: this.host.tab, verb, ...more }, onEvent);
  }

  /**
   * Start a batch, if the form asks for one.
   * @param {Page.CompareFormValue} form
   * @returns {boolean} whether it does
   */
  start(form) {
    if (!this.value?.chosen && (form.seeds ?? 1) === 1) return false;
    this.waiting = true;
    this.ask("start", { form, file: this.value?.chosen?.name ?? null }).then(() => {
      this.waiting = false;
      this.host.form.setRunning(Boolean(this.value?.running));
    });
    return true;
  }

  stop() {
    this.ask("stop");
  }

  /**
   * Have the form's button say what it does.
   * @param {Page.CompareFormValue} form
   */
  nameButton(form) {
    const chosen = this.value?.chosen;
    const prompts = chosen ? ` ${chosen.count} ${chosen.count === 1 ? "prompt" : "prompts"}` : "";
    const seeds = Number(form.seeds ?? 1) > 1 ? `${prompts ? " ×" : ""} ${form.seeds} seeds` : "";
    this.host.form.go.textContent = `Compare${prompts}${seeds}`;
    this.host.form.prompt.disabled = Boolean(chosen);
    const label = this.host.form.prompt.labels[0];
    if (label) label.textContent = chosen ? `Prompt (not used: the prompts are those of ${chosen.name})` : "Prompt";
  }

  /** @param {Page.BatchValue} value */
  update(value) {
    if (value.order < this.order) return; // of another request
    const wasRunning = this.running;
    const isOther = value.number !== this.value?.number;
    this.order = value.order;
    this.value = value;
    this.waiting = false;
    this.drawFile(value);
    if (value.status) this.host.say(value.status, value.wrong);
    else if (wasRunning) this.host.say("");
    this.host.form.setRunning(value.running || Boolean(this.host.value?.running));
    if (isOther) this.begin(value);
    this.progress.show(value);
    this.rating.hidden = value.running || value.left === value.total || value.form?.columns.length !== 2;
    this.table.add(value.rows.slice(this.drawn).flatMap((batch) => JSON.parse(batch)));
    this.drawn = value.rows.length;
    if (isOther) this.showRow(this.host.value?.row ?? null);
    this.drawSummary(value);
    if (wasRunning && !value.running && value.number) announce("The batch has ended.");
    saveFile(value.file);
    if (value.review) openReview(value.review);
  }

  /** @param {Page.BatchValue} value */
  drawFile({ chosen }) {
    this.name.textContent = chosen ? `${chosen.name}: ${chosen.count} ${chosen.count === 1 ? "prompt" : "prompts"}` : "";
    this.remove.hidden = !chosen;
    if (chosen) this.host.form.many.open = true;
    this.nameButton(this.host.form.value);
  }

  /** @param {Page.BatchValue} value */
  begin(value) {
    this.drawn = 0;
    this.results.hidden = value.number === 0;
    this.title.textContent = value.name ? `Batch: ${value.name}` : "Batch";
    this.table.begin(value.heads, Number(value.form?.seeds ?? 1) > 1);
  }

  /** @param {Page.BatchValue} value */
  drawSummary({ summary }) {
    if (summary === null) return;
    this.summary.replaceChildren(...summary.sentences.map((sentence) => make("p", {}, sentence)));
    const items = summary.most.map((row) => make("li", {}, button(this.table.rows.get(row)?.[1] ?? `Row ${row + 1}`, { class: "pl-button pl-jump", onclick: () => this.open(row) }, "Open this comparison")));
    const focused = this.most.contains(document.activeElement);
    if (!focused) this.most.replaceChildren(...(items.length ? [make("h3", {}, "Largest divergence"), make("ul", { class: "pl-jumps" }, ...items)] : []));
    this.means.hidden = summary.table.length < 2;
    const isOpen = this.means.open;
    this.means.replaceChildren(make("summary", {}, "Mean of each figure"), compareParts.table("Means over the batch", summary.table));
    this.means.open = isOpen;
  }

  // Rows

  /** @param {number} row */
  open(row) {
    this.row = row;
    this.host.say("Opening the comparison…");
    this.host.ask({ verb: "row", row });
  }

  /**
   * Say which row of the batch the comparison below is.
   * @param {{ batch: number, number: number } | null} row
   */
  showRow(row) {
    const isOurs = row !== null && row.batch === this.value?.number;
    const wasAsked = isOurs && this.row === row.number;
    this.row = -1;
    this.steps.hidden = !isOurs;
    this.table.mark(isOurs ? row.number : -1);
    if (!isOurs) return;
    this.opened.textContent = `Row ${row.number + 1}: ${this.table.rows.get(row.number)?.[1] ?? ""}`;
    this.before.disabled = this.table.neighbour(-1) === null;
    this.after.disabled = this.table.neighbour(1) === null;
    if (!wasAsked) return; // a reload does not move the page
    this.host.say("");
    requestAnimationFrame(() => {
      // the comparison is drawn by then
      this.opened.focus({ preventScroll: true });
      this.steps.scrollIntoView({ block: "start" });
    });
  }

  /** @param {number} direction */
  step(direction) {
    const row = this.table.neighbour(direction);
    if (row !== null) this.open(row);
  }

  back() {
    const open = /** @type {HTMLElement | null} */ (this.table.body.querySelector("[aria-current] .pl-batch-open"));
    open?.focus({ preventScroll: true });
    this.results.scrollIntoView({ block: "start" });
  }
}
