// The models on the server's machine, in the dialog about the model: loaded or not, with buttons to load and to unload.

import { announce, make } from "../shared/dom.js";
import { actOn, publish } from "../shared/page_state.js";
import { call } from "../shared/wire.js";

const SLOW_MS = 500; // without a token of an answer, until the server is asked whether it loads the model

export class LoadedModels {
  /** @param {() => Promise<unknown>} onLoaded after a model was loaded or unloaded */
  constructor(onLoaded) {
    this.onLoaded = onLoaded;
    /** @type {Map<string, Page.ModelLoad>} */
    this.loads = new Map();
    /** @type {AbortController | null} */
    this.following = null; // ends the events
    this.refusal = make("p", { role: "alert" });
    this.list = make("ul", {});
    this.element = make("section", { class: "pl-loads", hidden: true, "aria-label": "Models on this machine" }, make("h2", {}, "Models on this machine"), this.list, this.refusal);
  }

  /**
   * Show the models, until no model is being loaded or unloaded.
   * @param {{ verb?: "load" | "unload", model?: string }} [asked]
   * @returns {Promise<boolean>} whether what was asked is done
   */
  async follow(asked = {}) {
    this.following?.abort();
    this.following = new AbortController();
    this.refusal.textContent = "";
    const before = this.names();
    const onRefused = (/** @type {string} */ sentence) => void (this.refusal.textContent = sentence);
    const isDone = await call("loads", asked, (/** @type {{ models: Page.ModelLoad[] }} */ { models }) => this.take(models), { signal: this.following.signal, onRefused });
    if (isDone && this.names() !== before) await this.onLoaded();
    return isDone;
  }

  /** The names of the loaded models. */
  names() {
    return [...this.loads.values()].filter(({ state }) => state === "loaded").map(({ name }) => name).join("\n");
  }

  /**
   * Show the loading of a model, if an answer has no token after some time.
   * @param {() => boolean} isWaiting
   */
  watch(isWaiting) {
    setTimeout(() => isWaiting() && this.follow(), SLOW_MS);
  }

  /** @param {Page.ModelLoad[]} models */
  take(models) {
    this.loads = new Map(models.map((one) => [one.name, one]));
    this.element.hidden = models.length === 0;
    const focused = /** @type {HTMLElement | null} */ (this.list.querySelector(":focus"))?.dataset.name;
    this.list.replaceChildren(...models.map((one) => this.row(one)));
    if (focused) /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-name=${CSS.escape(focused)}]`))?.focus();
    publish("loads", this.loads);
  }

  /** @param {Page.ModelLoad} load */
  row({ name, state, percent, activity }) {
    const isLoaded = state === "loaded";
    const words = state === "loading" && percent !== null ? `loading, ${percent} %` : state;
    const verb = isLoaded ? "Unload" : "Load";
    const act = () => (isLoaded ? this.unload(name) : this.load(name));
    const isBusy = state === "loading" || state === "unloading";
    return make(
      "li",
      { title: activity ?? "" },
      make("span", {}, name),
      make("span", { class: "pl-quiet" }, words),
      make("button", { type: "button", class: "pl-button", "data-name": name, "aria-disabled": isBusy ? "true" : null, "aria-label": `${verb} ${name}`, onclick: () => isBusy || act() }, verb),
    );
  }

  /**
   * Load a model and use the model in the chat.
   * @param {string} name
   */
  async load(name) {
    if (!(await this.follow({ verb: "load", model: name }))) return;
    announce(`${name} is loaded.`);
    actOn("chat", { verb: "model", model: name });
  }

  /** @param {string} name */
  async unload(name) {
    if (await this.follow({ verb: "unload", model: name })) announce(`${name} is unloaded.`);
  }
}

/**
 * @param {Page.ModelLoad | undefined} load
 * @param {boolean} isNeeded whether an answer waits for the model
 * @returns {string} the state of a model that is not loaded; empty for a loaded model
 */
export function unloadedState(load, isNeeded) {
  if (!load || load.state === "loaded") return "";
  if (load.state === "loading" || isNeeded) return load.percent === null ? "Loading" : `Loading, ${load.percent} %`;
  return load.state === "unloading" ? "Unloading" : "Not loaded";
}
