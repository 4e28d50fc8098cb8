// The form of Compare: a prompt, two to four columns with their settings, a reference text.

import { make, button } from "../shared/dom.js";
import { ChatOrigin } from "./compare_from_chat.js";
import { EMPTY, LEAST, LETTERS } from "./compare_link.js";

/** @type {[name: "top_p" | "min_p" | "top_k" | "max_tokens", label: string, hint: string][]} */
const NUMBERS = [
  ["top_p", "Top-p", "1: off"],
  ["min_p", "Min-p", "0: off"],
  ["top_k", "Top-k", "0: off"],
  ["max_tokens", "Max output tokens", "0: no limit"],
];

export class ColumnForm {
  /**
   * @param {Page.CompareSettings} settings
   * @param {() => void} onEdit
   * @param {() => void} onRemove
   */
  constructor(settings, onEdit, onRemove) {
    this.answer = settings.answer ?? null; // the stored answer of a chat that it shows
    this.pictures = settings.pictures ?? true; // whether it reads the pictures of the chat
    const shows = this.pictures ? "Shows the stored answer." : "Reads the stored answer, without the pictures of the chat.";
    this.stored = make("p", { class: "pl-column-stored", hidden: this.answer === null }, `${shows} With other settings, a new one is generated.`);
    const onChange = () => {
      this.answer = null; // other settings would not have given this answer
      this.pictures = true;
      this.stored.hidden = true;
      onEdit();
    };
    this.model = make("select", { class: "pl-field", onchange: onChange });
    /** @type {HTMLInputElement} */
    this.temperature = number(settings.temperature, onChange, 0.1);
    this.system = make("textarea", { class: "pl-field", rows: 2, oninput: onChange });
    this.system.value = settings.system;
    this.seed = make("input", { class: "pl-field", inputmode: "numeric", placeholder: "Random", oninput: onChange });
    this.seed.value = settings.seed === null ? "" : String(settings.seed);
    this.numbers = Object.fromEntries(NUMBERS.map(([name]) => [name, number(settings[name], onChange)]));
    this.badge = make("span", { class: "pl-letter", "aria-hidden": "true" });
    this.remove = button("Remove", { onclick: onRemove });
    this.more = make(
      "div",
      { class: "pl-column-settings", hidden: true },
      labelled("System prompt", this.system),
      make("div", { class: "pl-column-numbers" }, ...NUMBERS.map(([name, label, hint]) => labelled(label, this.numbers[name], hint)), labelled("Seed", this.seed)),
    );
    this.toggle = button("More", { "aria-expanded": "false", onclick: () => this.unfold() }, "System prompt and sampling");
    this.element = make(
      "div",
      { class: "pl-column-form", role: "group" },
      make("div", { class: "pl-column-row" }, this.badge, this.model, labelled("Temperature", this.temperature), this.toggle, this.remove),
      this.stored,
      this.more,
    );
    this.chosen = settings.model;
  }

  unfold() {
    this.more.hidden = !this.more.hidden;
    this.toggle.setAttribute("aria-expanded", String(!this.more.hidden));
  }

  /** @param {number} index */
  name(index) {
    const letter = LETTERS[index];
    this.badge.textContent = letter;
    this.element.dataset.column = letter;
    this.element.setAttribute("aria-label", `Column ${letter}`);
    this.model.setAttribute("aria-label", `Model of column ${letter}`);
    this.toggle.setAttribute("aria-label", `More settings of column ${letter}`);
    this.remove.setAttribute("aria-label", `Remove column ${letter}`);
  }

  /**
   * Offer these models; a chosen one that is not among them stays, so that it is visible that it is missing.
   * @param {string[]} models
   */
  offer(models) {
    const chosen = this.model.value || this.chosen || models[0] || "";
    const names = models.includes(chosen) || !chosen ? models : [...models, chosen];
    this.model.replaceChildren(...names.map((name) => make("option", { value: name }, models.includes(name) ? name : `${name} (not on this server)`)));
    this.model.value = chosen;
  }

  /** @returns {Page.CompareSettings} */
  get value() {
    const seed = this.seed.value.trim();
    const numbers = /** @type {Pick<Page.CompareSettings, "top_p" | "min_p" | "top_k" | "max_tokens">} */ (
      Object.fromEntries(NUMBERS.map(([name]) => [name, read(this.numbers[name])]))
    );
    return { model: this.model.value, system: this.system.value, temperature: read(this.temperature), ...numbers, seed: seed === "" ? null : /^\d{1,15}$/u.test(seed) ? Number(seed) : seed, ...(this.answer === null ? {} : { answer: this.answer }), ...(this.pictures ? {} : { pictures: false }) };
  }
}

export class CompareForm {
  /**
   * @param {{ onCompare: () => void, onStop: () => void, onChange: () => void, onLink: (pressed: HTMLElement) => void }} actions
   */
  constructor({ onCompare, onStop, onChange, onLink }) {
    this.onChange = onChange;
    /** @type {Page.CompareChat | null} */
    this.chat = null; // whose messages are answered
    this.origin = new ChatOrigin(() => this.detach());
    /** @type {string[]} */
    this.models = [];
    /** @type {ColumnForm[]} */
    this.columns = [];
    this.prompt = make("textarea", { class: "pl-field", id: "pl-compare-prompt", rows: 2, oninput: onChange });
    this.prompt.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && onCompare());
    this.reference = make("textarea", { class: "pl-field", rows: 3, oninput: onChange });
    this.go = button("Compare", { class: "pl-button pl-first", onclick: onCompare }, "Ctrl+Enter in the prompt");
    this.stop = button("Stop", { onclick: onStop, hidden: true });
    this.more = button("Add column", { onclick: () => this.add() });
    this.list = make("div", { class: "pl-column-forms" });
    this.fold = make("details", { class: "pl-column-more" }, make("summary", {}, "Reference text"), labelled("Reference text, scored by all columns; without a prompt, they only read this", this.reference));
    this.seeds = number(1, onChange, 1);
    this.many = make("details", { class: "pl-column-more pl-batch-options" }, make("summary", {}, "Many prompts or seeds"), labelled("Seeds", this.seeds, "answers of each column to each prompt"));
    this.element = make(
      "div",
      { class: "pl-compare-form" },
      this.origin.element,
      labelled("Prompt", this.prompt),
      this.list,
      make("div", { class: "pl-compare-extra" }, this.more, button("Copy link", { onclick: (event) => onLink(event.currentTarget) }, "A link that fills in this form"), this.fold, this.many, this.go, this.stop),
    );
  }

  /** @returns {Page.CompareFormValue} */
  get value() {
    const seeds = read(this.seeds);
    const chat = this.chat === null ? {} : { chat: this.chat };
    return {
      prompt: this.prompt.value,
      reference: this.reference.value,
      columns: this.columns.map((column) => column.value),
      ...(seeds === 1 ? {} : { seeds }),
      ...chat,
    };
  }

  /** @param {Page.CompareFormValue} form */
  set(form) {
    this.prompt.value = form.prompt;
    this.follow(form.chat ?? null);
    this.reference.value = form.reference;
    this.fold.open = form.reference !== "";
    this.seeds.value = String(form.seeds ?? 1);
    this.many.open = this.many.open || this.seeds.value !== "1";
    this.columns = [];
    for (const settings of form.columns) this.insert({ ...EMPTY, ...settings });
    this.arrange();
  }

  /**
   * Answer the messages of a chat, of which the prompt is the last; null: the prompt alone.
   * @param {Page.CompareChat | null} chat
   */
  follow(chat) {
    this.chat = chat;
    this.prompt.readOnly = chat !== null;
    this.origin.show(chat);
  }

  /** Answer the prompt without the messages before it. No stored answer is one to that. */
  detach() {
    this.set({ ...this.value, columns: this.columns.map((column) => ({ ...column.value, answer: null, pictures: true })), chat: undefined });
    this.prompt.focus();
    this.onChange();
  }

  /** @param {string[]} models */
  offer(models) {
    this.models = models;
    for (const column of this.columns) column.offer(models);
  }

  /** @param {boolean} running */
  setRunning(running) {
    this.go.hidden = running;
    this.stop.hidden = !running;
  }

  /** Add a column with the settings of the last one. */
  add() {
    if (this.columns.length >= LETTERS.length) return;
    const last = this.columns[this.columns.length - 1];
    this.insert({ ...(last ? last.value : EMPTY), answer: null, pictures: true });
    this.arrange();
    this.columns[this.columns.length - 1].model.focus();
    this.onChange();
  }

  /** @param {Page.CompareSettings} settings */
  insert(settings) {
    const column = new ColumnForm(settings, this.onChange, () => {
      this.columns = this.columns.filter((one) => one !== column);
      this.arrange();
      this.more.focus();
      this.onChange();
    });
    column.offer(this.models);
    this.columns.push(column);
  }

  arrange() {
    this.columns.forEach((column, index) => {
      column.name(index);
      column.remove.hidden = this.columns.length <= LEAST;
    });
    this.more.hidden = this.columns.length >= LETTERS.length;
    this.list.replaceChildren(...this.columns.map((column) => column.element));
  }
}

let labels = 0;

/**
 * @param {string} text
 * @param {HTMLElement} field
 * @param {string} [hint]
 * @returns {HTMLElement}
 */
export function labelled(text, field, hint = "") {
  labels += 1;
  if (!field.id) field.id = `pl-compare-field-${labels}`;
  return make("div", { class: "pl-labelled-field" }, make("label", { for: field.id }, hint ? `${text} (${hint})` : text), field);
}

/**
 * @param {number | string} value
 * @param {() => void} onChange
 * @param {number | "any"} [step]
 * @returns {HTMLInputElement}
 */
function number(value, onChange, step = "any") {
  const input = make("input", { class: "pl-field", type: "number", min: 0, step, oninput: onChange });
  input.value = String(value);
  return input;
}

/**
 * Return the number of a field, or its text, which the server refuses in a sentence.
 * @param {HTMLInputElement} field
 * @returns {number | string}
 */
const read = (field) => (field.value.trim() === "" || Number.isNaN(Number(field.value)) ? field.value : Number(field.value));
