// The header: the chosen model and its state, the context that the chat takes, and buttons for what concerns the whole page.

import { make, announce, chatField } from "../shared/dom.js";
import { choicesOf, formControls } from "../shared/form_controls.js";
import { icon, iconButton } from "../shared/icons.js";
import { mount } from "../shared/mounts.js";
import { actOn, follow, publish } from "../shared/page_state.js";
import { call } from "../shared/wire.js";
import { showPalette } from "./command_palette.js";
import * as drawers from "./drawers.js";
import { showKeys, commandKey } from "./keyboard_help.js";
import { LoadedModels, unloadedState } from "./loaded_models.js";
import * as theme from "./theme.js";

const FULL = 0.95; // of the context
const NEARLY_FULL = 0.8;
const CHARACTERS_PER_TOKEN = 4; // an estimate: only the model knows

class Header {
  /** @param {HTMLElement} element */
  constructor(element) {
    /** @type {Page.HeaderValue | null} */
    this.value = null;
    /** @type {Page.ChatValue | null} */
    this.chat = null;
    this.isUnreachable = false; // whether the server does not answer
    this.state = make("span", { class: "pl-model-state" });
    this.summary = make("span", { class: "pl-model-summary" });
    this.facts = make("dl", {});
    this.loaded = new LoadedModels(() => this.refresh());
    this.details = make("div", { id: "pl-model-facts", class: "pl-model-facts", popover: "auto" }, make("h2", {}, "Model"), this.facts, this.loaded.element);
    this.details.addEventListener("toggle", () => this.details.matches(":popover-open") && this.loaded.open());
    this.about = make(
      "button",
      { type: "button", class: "pl-model-about", popovertarget: "pl-model-facts", "aria-haspopup": "dialog", title: "About the model" },
      this.state,
      this.summary,
    );
    this.bar = make("span", { class: "pl-meter-bar" });
    this.count = make("span", {});
    this.meter = make("div", { class: "pl-meter", role: "meter", "aria-label": "Context", "aria-valuemin": "0", hidden: true }, this.count, make("span", { class: "pl-meter-rail" }, this.bar));
    this.theme = iconButton("system", "Theme", { class: "pl-icon-button", onclick: () => this.nextTheme() });
    this.missing = make("div", { class: "pl-missing", role: "alert", hidden: true });
    element.replaceChildren(
      this.about,
      this.details,
      this.meter,
      make("span", { class: "pl-space" }),
      make(
        "button",
        { type: "button", class: "pl-icon-button", id: "pl-settings-toggle", "aria-controls": "pl-settings", title: "How the model answers" },
        icon("settings"),
        make("span", {}, "Model & settings"),
      ),
      iconButton("palette", "Commands", { class: "pl-icon-button", onclick: showPalette, "aria-keyshortcuts": "Control+K" }, `Commands (${commandKey}+K)`),
      this.theme,
      iconButton("help", "Keys and words", { class: "pl-icon-button", onclick: showKeys, id: "pl-help-toggle", "aria-keyshortcuts": "?" }, "Keys and words (?)"),
      make("span", { class: "pl-account" }),
      this.missing,
    );
    this.account = /** @type {HTMLElement} */ (element.querySelector(".pl-account"));
    drawers.draw();
    follow("chat", (chat) => {
      if (chat.live && !this.chat?.live) this.loaded.watch(() => this.isWaiting());
      this.chat = chat;
      this.draw();
    });
    follow("loads", () => this.draw());
    follow("header", (value) => {
      this.value = value;
      this.draw();
    });
    // What is being typed counts, without a call of the server.
    document.addEventListener("input", (event) => {
      if (/** @type {Element} */ (event.target).closest("#pl-chat")) this.drawMeter();
    });
    document.addEventListener("pellucid-server-lost", () => this.setUnreachable(true));
    document.addEventListener("pellucid-server-back", () => {
      this.setUnreachable(false);
      this.refresh();
    });
    document.addEventListener("pellucid-locked", () => this.draw());
    document.addEventListener("pellucid-theme", () => this.drawTheme());
    this.drawTheme();
  }

  /** Ask the server which models it serves now. */
  refresh() {
    return call("models", { model: this.value?.model ?? "" }, (/** @type {Page.HeaderValue} */ value) => {
      const controls = formControls("chat"); // another model may have been chosen meanwhile
      const model = controls.values[0] || value.menu.value;
      publish("header", { ...value, model });
      controls.give([choicesOf({ ...value.menu, value: model })]);
    });
  }

  /** @param {boolean} isUnreachable */
  setUnreachable(isUnreachable) {
    this.isUnreachable = isUnreachable;
    this.draw();
  }

  nextTheme() {
    // The first press always changes something: to the opposite of the system's theme.
    /** @type {Page.Theme[]} */
    const order = matchMedia("(prefers-color-scheme: dark)").matches ? ["system", "light", "dark"] : ["system", "dark", "light"];
    const next = order[(order.indexOf(theme.get()) + 1) % order.length];
    theme.set(next);
    announce(`Theme: ${next}`);
  }

  drawTheme() {
    const name = `Theme: ${theme.get()}`;
    this.theme.replaceChildren(icon(theme.get()));
    this.theme.setAttribute("aria-label", name);
    this.theme.title = `${name}. Press for the next one.`;
  }

  /** What is known about the chosen model; undefined if it is missing. */
  get model() {
    const { value } = this;
    return value ? value.models.find((one) => one.name === value.model) : undefined;
  }

  draw() {
    if (!this.value) return;
    const { model, value } = this;
    const use = this.chat?.live?.use ?? this.chat?.use ?? null;
    const rate = use?.rate && use.model === value.model ? `${use.rate.toFixed(1)} tokens/s` : null;
    const [state, words] = this.stateOf(value, model);
    this.state.dataset.state = state;
    this.state.textContent = words;
    this.summary.textContent = [model && sizeOf(model.bytes), model && deviceOf(model), rate].filter(Boolean).join(" · ");
    this.about.setAttribute("aria-label", ["About the model:", words, this.summary.textContent].join(" "));
    const facts = [
      ["Name", value.model],
      ["State", value.problem || words],
      ["Adapter of", model?.base],
      ["Weights", model && sizeOf(model.bytes)],
      ["Computed with", model?.description],
      ["Context", model && `${model.context.toLocaleString("en")} tokens`],
      ["Last answer", rate],
    ];
    this.facts.replaceChildren(...facts.flatMap(([name, fact]) => (fact ? [make("div", {}, make("dt", {}, name), make("dd", {}, fact))] : [])));
    this.drawMissing(value, model);
    this.drawAccount(value);
    this.drawMeter();
  }

  /** Whether an answer has begun and has no token yet. */
  isWaiting() {
    const live = this.chat?.live;
    return Boolean(live && !live.tokens.length && !live.reasoning);
  }

  /**
   * @param {Page.HeaderValue} value
   * @param {Page.ModelFacts | undefined} model
   * @returns {[state: string, words: string]}
   */
  stateOf(value, model) {
    if (this.isUnreachable) return ["unavailable", "Not answering"];
    if (value.problem) return ["unavailable", "Not ready"];
    if (!model) return ["missing", "Missing"];
    const unloaded = unloadedState(this.loaded.loads.get(value.model), this.isWaiting());
    if (unloaded && (!this.chat?.live || this.isWaiting())) return [this.chat?.live ? "busy" : "unloaded", unloaded];
    const generating = this.chat?.live?.message.model ?? value.model;
    if (this.chat?.live) return ["busy", generating === value.model ? "Generating" : `Generating with ${generating}`];
    return ["ready", "Ready"];
  }

  /**
   * @param {Page.HeaderValue} value
   * @param {Page.ModelFacts | undefined} model
   */
  drawMissing(value, model) {
    const name = model || !value.model || value.problem ? "" : value.model;
    if (this.missing.dataset.name === name) return;
    this.missing.dataset.name = name;
    this.missing.hidden = !name;
    if (!name) {
      this.missing.replaceChildren();
      return;
    }
    this.missing.replaceChildren(
      make("span", {}, `The model ${name} of this conversation is not served any more. Choose another one to continue; nothing else changes.`),
      ...value.models.map((one) => make("button", { type: "button", class: "pl-button", onclick: () => actOn("chat", { verb: "model", model: one.name }) }, `Use ${one.name}`)),
    );
  }

  /** @param {Page.HeaderValue} value */
  drawAccount({ owner }) {
    if (!("locked" in document.body.dataset) || this.account.firstChild) return;
    this.account.append(make("span", { title: "Logged in" }, owner), make("a", { href: "logout" }, "Log out"), make("a", { href: "sessions" }, "Sessions"));
  }

  /** Show how much of the context is used. The words follow the numbers, as colours alone tell some readers nothing. */
  drawMeter() {
    const { model } = this;
    this.meter.hidden = !model || !this.chat; // a meter without a value is an error to screen readers
    if (!model || !this.chat) return;
    const used = (this.chat.live?.use ?? this.chat.use)?.tokens ?? 0;
    const typed = this.typedTokens();
    const share = Math.min(1, (used + typed) / model.context);
    const words = `${used.toLocaleString("en")} of ${model.context.toLocaleString("en")}`;
    const more = typed ? ` and about ${typed.toLocaleString("en")} being typed` : "";
    const isTooLong = typed > 0 && used + typed > model.context;
    const sum = `${used.toLocaleString("en")} + about ${typed.toLocaleString("en")} of ${model.context.toLocaleString("en")}`;
    this.count.textContent = `${typed ? sum : words}${isTooLong ? ": too long" : " tokens"}`;
    this.bar.style.width = `${100 * share}%`;
    this.meter.dataset.level = share >= FULL ? "full" : share >= NEARLY_FULL ? "high" : "";
    this.meter.setAttribute("aria-valuemax", String(model.context));
    this.meter.setAttribute("aria-valuenow", String(Math.min(used + typed, model.context)));
    this.meter.setAttribute("aria-valuetext", `${words} tokens${more}`);
    this.meter.title = `The conversation takes ${words} tokens of the model's context${more}.`;
  }

  /** @returns {number} an estimate of the tokens of the text that is being typed */
  typedTokens() {
    return Math.ceil((chatField()?.value.trim().length ?? 0) / CHARACTERS_PER_TOKEN);
  }
}

/** @param {number} bytes */
const sizeOf = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : bytes >= 1e6 ? `${Math.round(bytes / 1e6)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`);

/**
 * @param {Page.ModelFacts} model
 * @returns {string | null} the device at the end of a description such as "int8 weights on cpu"
 */
const deviceOf = ({ description }) => (/ on (\S+)$/.exec(description) ?? [])[1] ?? null;

mount("pl-header", (element) => new Header(element));
