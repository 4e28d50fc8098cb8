// The models on the server's machine and in the catalog, in the dialog about the model: facts, and buttons to load, to unload and to fetch.

import { announce, button, copy, make } from "../shared/dom.js";
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
    /** @type {Page.ModelTable} */
    this.facts = { titles: ["", ""], columns: ["name"], rows: [], notes: [] };
    this.table = make("table", {});
    this.notes = make("div", { class: "pl-quiet" });
    this.element = make("section", { class: "pl-loads", hidden: true, "aria-label": "Models" }, make("h2", {}, "Models"), this.refusal, this.table, this.notes);
  }

  /** Show the models, with the facts of this moment: `pellucid models` may have changed the facts. */
  open() {
    this.follow();
    call("loads/facts", {}, (/** @type {Page.ModelTable} */ facts) => {
      this.facts = facts;
      this.draw();
    });
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
    this.draw();
    publish("loads", this.loads);
  }

  draw() {
    this.element.hidden = this.loads.size === 0;
    const focused = /** @type {HTMLElement | null} */ (this.table.querySelector(":focus"))?.dataset.name;
    const { titles, columns, rows, notes } = this.facts;
    const others = rows.map(([name]) => name).filter((name) => !this.loads.has(name));
    const heads = columns.map((column) => make("th", { scope: "col" }, column));
    this.table.replaceChildren(
      make("thead", {}, make("tr", {}, ...heads, make("td", {}))),
      this.group(titles[0], [...this.loads.values()].map((one) => this.loadRow(one))),
      this.group(titles[1], others.map((name) => this.pullRow(name))),
    );
    this.notes.replaceChildren(...notes.map((note) => make("p", {}, ...note.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part)))));
    if (focused) /** @type {HTMLElement | null} */ (this.table.querySelector(`[data-name=${CSS.escape(focused)}]`))?.focus();
  }

  /**
   * @param {string} title
   * @param {HTMLElement[]} rows
   */
  group(title, rows) {
    const heading = make("tr", {}, make("th", { scope: "rowgroup", colspan: this.facts.columns.length + 1 }, title));
    return make("tbody", { hidden: !rows.length }, heading, ...rows);
  }

  /**
   * @param {string} name
   * @param {Node} below
   * @param {HTMLElement} act
   * @param {string | null} [activity]
   */
  row(name, below, act, activity) {
    const cells = this.facts.rows.find(([other]) => other === name) ?? [];
    const facts = this.facts.columns.slice(1).map((column, index) => make("td", { "data-column": column }, cells[index + 1] ?? "-"));
    return make("tr", { title: activity }, make("th", { scope: "row" }, name, below), ...facts, make("td", {}, act));
  }

  /** @param {Page.ModelLoad} load */
  loadRow({ name, state, percent, activity }) {
    const isLoaded = state === "loaded";
    const words = state === "loading" && percent !== null ? `loading, ${percent} %` : state;
    const verb = isLoaded ? "Unload" : "Load";
    const isBusy = state === "loading" || state === "unloading";
    const onclick = () => isBusy || (isLoaded ? this.unload(name) : this.load(name));
    const press = button(verb, { "data-name": name, "aria-disabled": isBusy ? "true" : null, "aria-label": `${verb} ${name}`, onclick });
    return this.row(name, make("span", { class: "pl-quiet" }, words), press, activity);
  }

  /** @param {string} name of a model that is not on the server's machine */
  pullRow(name) {
    const command = `pellucid models pull ${name}`;
    const onclick = (/** @type {{ currentTarget: HTMLElement }} */ { currentTarget }) => copy(command, currentTarget);
    const press = button("Copy", { "data-name": name, "aria-label": `Copy the command for ${name}`, onclick }, "Copy the command, for a terminal on the server's machine");
    return this.row(name, make("code", {}, command), press);
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
