// The controls of a turn in an editor's view, in place of Gradio's: the model, and the settings that are changed most.

import { NAMES } from "../chat/chat_settings.js";
import { button, make } from "../shared/dom.js";
import { tellEditor } from "../shared/editor.js";
import { formControls } from "../shared/form_controls.js";
import { iconButton } from "../shared/icons.js";
import { mount } from "../shared/mounts.js";

/** @type {Record<string, { label: string, hint?: string, text?: boolean }>} */
const FIELDS = {
  system: { label: "System prompt", text: true },
  temperature: { label: "Temperature", hint: "0: always the most likely token" },
  top_p: { label: "Top-p" },
  min_p: { label: "Min-p" },
  top_k: { label: "Top-k", hint: "0: off" },
  seed: { label: "Seed", hint: "empty: random", text: true },
  max_tokens: { label: "Max output tokens", hint: "0: up to the context" },
};

const controls = formControls("chat");

class EditorControls {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.values = JSON.parse(element.dataset.defaults ?? "{}");
    this.model = /** @type {HTMLSelectElement} */ (document.getElementById("pl-model"));
    /** @type {Map<string, HTMLInputElement | HTMLTextAreaElement>} */
    this.fields = new Map(Object.entries(FIELDS).map(([name, field]) => [name, this.field(name, field)]));
    this.model.addEventListener("change", () => this.change("model", this.model.value));
    const head = make("div", { class: "pl-row" }, make("h2", {}, "Model & settings"), iconButton("close", "Close the settings", { class: "pl-icon-button", "data-close-drawer": true }, "Escape"));
    const more = button("Open the page", { onclick: () => tellEditor({ kind: "openPage" }) }, "The page also has answer formats, tools and comparisons");
    const labelled = [...this.fields].map(([name, field]) => make("label", {}, FIELDS[name].label, field, FIELDS[name].hint ? make("span", { class: "pl-quiet" }, FIELDS[name].hint) : null));
    // `FormControls` clicks it when it has values to show.
    const giver = make("button", { type: "button", id: "pl-give-chat", hidden: true, onclick: () => this.take() });
    element.replaceChildren(head, ...labelled, more, giver);
    this.draw();
    this.hear(false);
  }

  /**
   * @param {string} name
   * @param {{ text?: boolean }} field
   */
  field(name, { text = false }) {
    const made = name === "system" ? make("textarea", { class: "pl-field", rows: 3 }) : make("input", { class: "pl-field", ...(text ? { type: "text" } : { type: "number", min: 0, step: "any" }) });
    made.addEventListener("input", () => this.change(name, text ? made.value : made.value === "" ? null : Number(made.value)));
    return made;
  }

  /**
   * @param {string} name
   * @param {string | number | null} value
   */
  change(name, value) {
    this.values[name] = value;
    this.hear(true);
  }

  /** @param {boolean} byUser */
  hear(byUser) {
    controls.hear(
      NAMES.map((name) => this.values[name]),
      byUser,
    );
  }

  /** Show the values that the modules give. */
  take() {
    controls.take().forEach((given, at) => {
      const isUpdate = given?.__type__ === "update";
      if (given?.choices) this.model.replaceChildren(...given.choices.map((/** @type {[string, string]} */ [name, value]) => make("option", { value }, name)));
      if (!isUpdate || "value" in given) this.values[NAMES[at]] = isUpdate ? given.value : given;
    });
    this.draw();
  }

  draw() {
    const { model } = this.values;
    if (model && ![...this.model.options].some(({ value }) => value === model)) this.model.append(make("option", { value: model }, model));
    this.model.value = model ?? "";
    for (const [name, field] of this.fields) if (field !== document.activeElement) field.value = String(this.values[name] ?? "");
  }
}

mount("pl-settings", (element) => new EditorControls(element));
