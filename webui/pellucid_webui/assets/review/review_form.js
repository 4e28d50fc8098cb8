// A new review: two models, or two settings of one, answer prompts in a batch of Compare's. The rating begins once all are answered.

import { make, button, contentOf, tabId, tabMemory } from "../shared/dom.js";
import { emptyState } from "../shared/empty_state.js";
import { call } from "../shared/wire.js";
import { BatchProgress } from "../compare/batch_progress.js";
import { ColumnForm, labelled } from "../compare/compare_form.js";

const FORM = "review.form"; // in `tabMemory`, what was written
const MADE = "review.made"; // there too, the number of the last batch that became a review
const FILE = "prompts.txt";
const MAX_TOKENS = 512; // as in pellucid review
const EXAMPLE_TOKENS = 96;
const EXAMPLES = ["Explain in one sentence what a hash table is.", "Write a haiku about the sea.", "Name three uses of a paper clip."];
const WHO = "Everyone who can open this page sees all reviews. For a file of prompts, run a batch in the Compare tab and press Rate blind there.";

export class ReviewForm {
  /**
   * @param {{ status: HTMLElement, say: (text: string, wrong: boolean) => void, onMade: (name: string) => void }} review
   */
  constructor({ status, say, onMade }) {
    this.tab = `${tabId()}-review`; // not the batch of the Compare tab
    this.say = say;
    this.onMade = onMade;
    /** @type {Page.BatchValue | null} */
    this.value = null;
    /** @type {string[]} */
    this.models = [];
    this.isFirst = false; // whether there is no review yet
    /** @type {Page.CompareSettings[]} */
    this.proposed = []; // the columns of Compare's first comparison
    /** @type {ColumnForm[]} */
    this.columns = [];
    this.name = make("input", { class: "pl-field", autocomplete: "off" });
    this.prompts = make("textarea", { class: "pl-field", rows: 4 });
    this.list = make("div", { class: "pl-column-forms" });
    this.start = button("Start", { class: "pl-button pl-first", onclick: () => this.begin() });
    this.stop = button("Stop", { onclick: () => this.ask("stop"), hidden: true });
    this.rate = button("", { onclick: () => this.finish(), hidden: true });
    this.progress = new BatchProgress(() => this.ask("resume"));
    this.empty = emptyState({
      picture: ["Left: The sky is blue.", "Right: It has no colour."].map((answer) => make("span", {}, answer)),
      promise: "Here people rate pairs of answers without knowing which model wrote which. The page then says who wins, and how sure that is.",
      example: EXAMPLES.join("\n"),
      does: "answer these prompts twice and rate the answers",
      place: status,
      hasOwn: () => tabMemory.get(FORM) !== null,
      run: () => this.runExample(),
    });
    const form = make("div", { class: "pl-compare pl-compare-form" }, labelled("Name of the review", this.name), labelled("Prompts, one a line", this.prompts), this.list, make("p", { class: "pl-quiet" }, WHO), make("div", { class: "pl-row" }, this.start));
    form.addEventListener("input", () => this.remember());
    this.fold = make("details", { class: "pl-review-new" }, make("summary", {}, "New review"), form);
    this.element = make("div", {}, make("div", { class: "pl-row" }, this.stop, this.progress.element, this.rate), this.empty, this.fold);
    this.open();
    document.addEventListener("pellucid-server-back", () => this.open());
  }

  /** Fill in the models, and show what this browser tab has not finished. */
  open() {
    call("compare", { tab: this.tab, verb: "open" }, (/** @type {Page.CompareValue} */ { models, form, status }) => {
      if (status) this.say(status, true);
      this.models = models;
      this.proposed = form?.columns ?? [];
      if (this.columns.length) for (const column of this.columns) column.offer(models);
      else this.fill(JSON.parse(tabMemory.get(FORM) ?? "null"));
    });
    this.ask("open");
  }

  /** @returns {Page.ReviewFormValue} */
  get written() {
    return { name: this.name.value.trim(), prompts: this.prompts.value, columns: this.columns.map((column) => column.value) };
  }

  /** @param {Page.ReviewFormValue | null} form null for an empty one */
  fill(form) {
    const { name, prompts, columns } = form ?? { name: "", prompts: "", columns: this.proposed.map((column) => ({ ...column, max_tokens: MAX_TOKENS })) };
    this.name.value = name;
    this.prompts.value = prompts;
    this.columns = columns.map((settings) => new ColumnForm(settings, () => this.remember(), () => {}));
    this.columns.forEach((column, at) => {
      column.name(at);
      column.remove.hidden = true;
      column.offer(this.models);
    });
    this.list.replaceChildren(...this.columns.map((column) => column.element));
  }

  remember() {
    tabMemory.set(FORM, JSON.stringify(this.written));
  }

  runExample() {
    this.fill({ name: "example", prompts: EXAMPLES.join("\n"), columns: this.proposed.map((column) => ({ ...column, max_tokens: EXAMPLE_TOKENS })) });
    this.begin();
  }

  /** @param {boolean} isFirst */
  show(isFirst) {
    this.isFirst = isFirst;
    this.empty.hidden = !isFirst || Boolean(this.value?.running);
    if (isFirst) this.fold.open = true;
  }

  /**
   * @param {string} verb
   * @param {object} [more]
   */
  ask(verb, more = {}) {
    return call("compare/batch", { tab: this.tab, verb, ...more }, (/** @type {Page.BatchValue} */ value) => this.update(value));
  }

  async begin() {
    const { name, prompts, columns } = this.written;
    if (!prompts.trim()) {
      this.say("Write at least one prompt.", true);
      this.prompts.focus();
      return;
    }
    this.remember(); // for a reload; nothing was typed in an example
    this.say("Waiting for the server…", false);
    const file = await contentOf(new File([prompts], FILE), this.value?.limit ?? Infinity);
    if ((await this.ask("choose", { file })) && !this.value?.wrong) this.ask("start", { form: { prompt: "", reference: "", columns }, file: FILE, review: name });
  }

  /** Make a review of what is answered. */
  finish() {
    this.ask("review", { review: this.name.value.trim() });
  }

  /** @param {Page.BatchValue} value */
  update(value) {
    if (this.value && value.order < this.value.order) return; // of another request
    const wasRunning = Boolean(this.value?.running);
    this.value = value;
    if (value.review) {
      this.made(value.review);
      return;
    }
    const { running, total, left } = value;
    const failed = value.rows.flatMap((batch) => JSON.parse(batch)).find(([, , , error]) => error);
    if (value.status) this.say(value.status, value.wrong);
    else if (running) this.say("The models answer the prompts. Then the rating begins.", false);
    else if (wasRunning) this.say(failed?.[3] ?? "", true);
    const isMade = String(value.number) === tabMemory.get(MADE);
    this.progress.show(isMade ? { ...value, left: 0 } : value);
    this.start.hidden = running;
    this.show(this.isFirst);
    this.stop.hidden = !running;
    this.rate.hidden = running || isMade || left === total;
    this.rate.textContent = `Rate ${total - left} ${total - left === 1 ? "pair" : "pairs"}`;
    if (wasRunning && !running && !left) this.finish();
  }

  /** @param {string} name */
  made(name) {
    tabMemory.set(MADE, String(this.value?.number));
    tabMemory.set(FORM, null);
    this.fill(null);
    this.fold.open = false;
    this.rate.hidden = true;
    this.progress.element.hidden = true;
    this.onMade(name);
  }
}
