// The likely continuations of an answer from a token on, as a tree; and several samples from a token, as a fan.

import { make, button, announce, hasModifier } from "../shared/dom.js";
import { call } from "../shared/wire.js";
import * as visible from "../tokens/token_text.js";
import { coveredWords, fanOf, rowElement, rowsOf } from "./continuation_rows.js";

const MAX_BEFORE = 60; // characters of the text before the token
const WAIT = "An answer is being generated: wait for it, or stop it, before you begin another version.";
const THRESHOLDS = [0.01, 0.02, 0.05, 0.1];
const LENGTHS = { "a sentence or line": null, "8 tokens": 8, "16 tokens": 16, "32 tokens": 32 };
const TREE = { title: "Likely continuations", action: "Continue from here" };
const FAN = { title: "Samples side by side", action: "Show this version" };

export class ContinuationPanel {
  /** @param {Page.Chat} chat */
  constructor(chat) {
    this.chat = chat;
    /** @type {Page.PlaceInAnswer | null} */
    this.place = null;
    /** @type {Page.Fan | null} */
    this.fan = null;
    /** @type {AbortController | null} */
    this.request = null;
    this.before = "";
    /** @type {Page.ContinuationRow[]} */
    this.rows = [];
    /** @type {HTMLElement[]} */
    this.items = [];
    this.current = 0; // the row that Tab reaches; 0 is the text before
    this.title = make("h2", { id: "pl-continuations-title" });
    this.threshold = choice("At least", THRESHOLDS.map((one) => [`${100 * one} %`, one]), 0.02, () => this.grow());
    this.length = choice("Up to", Object.entries(LENGTHS), null, () => this.grow());
    this.choices = make("div", { class: "pl-continuation-choices" }, this.threshold.element, this.length.element);
    this.tree = make("div", { role: "tree", class: "pl-tree" });
    this.status = make("p", { class: "pl-quiet", role: "status" });
    this.remark = make("p", { class: "pl-quiet pl-wrong", role: "alert" });
    this.action = button("", { class: "pl-button pl-first", onclick: () => this.choose() }, "Enter");
    /** @type {HTMLDialogElement} */
    this.element = make(
      "dialog",
      { class: "pl-dialog pl-continuations", "aria-labelledby": "pl-continuations-title", closedby: "any" },
      make("div", { class: "pl-dialog-head" }, this.title, button("Close", { onclick: () => this.element.close() }, "Escape")),
      this.choices,
      make("section", { class: "pl-heat pl-continuation-frame", "data-mode": "probability" }, this.tree),
      this.status,
      make("div", { class: "pl-continuation-foot" }, this.remark, this.action),
    );
    this.element.addEventListener("close", () => {
      this.stop();
      if (document.activeElement === document.body) this.chat.focusField(); // what had the focus is gone
    });
    this.tree.addEventListener("keydown", (event) => this.key(event));
    this.tree.addEventListener("click", (event) => this.items[this.indexOf(event.target)].focus());
    this.tree.addEventListener("dblclick", () => this.choose());
    this.tree.addEventListener("focusin", (event) => this.setCurrent(this.indexOf(event.target)));
  }

  /**
   * Show all continuations from a token on.
   * @param {Page.PlaceInAnswer} place
   */
  showTree(place) {
    this.open(place, null);
    this.grow();
  }

  /**
   * Show an answer, and next to it its samples, as they are generated.
   * @param {Page.PlaceInAnswer} place
   * @param {number[]} known versions that are no samples
   * @param {number} count of samples
   */
  showFan(place, known, count) {
    this.open(place, { known: new Set(known), count, versions: [], asked: new Set(), isOver: false });
    this.take(place.node, [...known]);
  }

  /**
   * @param {Page.PlaceInAnswer} place
   * @param {Page.Fan | null} fan
   */
  open(place, fan) {
    this.stop();
    this.place = place;
    this.fan = fan;
    const words = fan ? FAN : TREE;
    this.title.textContent = words.title;
    this.tree.setAttribute("aria-label", fan ? "Samples from this token" : "Continuations with probabilities");
    this.action.textContent = words.action;
    this.choices.hidden = fan !== null;
    this.status.textContent = this.remark.textContent = "";
    this.current = 0;
    this.draw([], "");
    if (!this.element.isConnected) document.body.append(this.element);
    if (!this.element.open) this.element.showModal();
    this.items[0].focus();
  }

  stop() {
    this.request?.abort();
    this.request = this.place = this.fan = null;
  }

  // The tree

  async grow() {
    const { place } = this;
    if (!place) return;
    this.request?.abort();
    const request = (this.request = new AbortController());
    const [threshold, limit] = [this.threshold.value(), this.length.value()];
    this.remark.textContent = "";
    this.status.textContent = "Reading…";
    /** @param {Page.ContinuationTree} tree */
    const onEvent = (tree) => {
      if (request.signal.aborted) return;
      this.draw(rowsOf(tree.nodes), tree.before);
      this.status.textContent = coveredWords(tree, threshold);
    };
    /** @param {string} sentence */
    const onRefused = (sentence) => {
      this.status.textContent = "";
      this.remark.textContent = sentence;
    };
    const isWhole = await call("continuations", { ...place, threshold, limit }, onEvent, { signal: request.signal, onRefused });
    if (!isWhole && !request.signal.aborted && !this.remark.textContent) onRefused("The connection was lost: choose again what to show.");
  }

  // The fan

  /**
   * Take the versions that have ended since.
   * @param {Page.ChatValue} value
   * @param {Page.Message[]} messages
   * @param {boolean} isOver whether no more samples will come
   */
  update(value, messages, isOver) {
    const { place, fan } = this;
    if (!place || !this.element.open) return;
    if (value.id !== place.conversation) this.element.close();
    else if (fan) {
      const versions = messages.find(({ data }) => data.versions.includes(place.node))?.data.versions ?? [];
      fan.isOver = isOver;
      for (const node of versions) if (!fan.known.has(node) && node !== value.live?.message.node) this.take(node, versions);
      this.drawFanStatus();
    }
  }

  /**
   * Ask for the tokens of a version, once.
   * @param {number} node
   * @param {number[]} versions
   */
  async take(node, versions) {
    const { fan, place } = this;
    if (!fan || !place || fan.asked.has(node)) return;
    fan.asked.add(node);
    const found = await this.chat.ask("tokens", { node });
    if (!found) fan.asked.delete(node); // the next update asks again
    if (!found || fan !== this.fan) return;
    const records = found.tokens.flatMap((/** @type {Page.Batch} */ batch) => JSON.parse(batch));
    fan.versions = [...fan.versions, { node, number: versions.indexOf(node) + 1, records }].sort((one, other) => one.number - other.number);
    const before = fan.versions[0].records.slice(0, place.index).map(({ t }) => t).join("");
    this.draw(rowsOf(fanOf(fan.versions, place.index)), before);
    this.drawFanStatus();
  }

  drawFanStatus() {
    const { fan } = this;
    if (!fan) return;
    const done = fan.versions.filter(({ node }) => !fan.known.has(node)).length;
    const isCut = fan.isOver && fan.versions.length === fan.asked.size && done < fan.count;
    const count = isCut ? `Generation ended after ${done} of ${fan.count} samples. ` : done < fan.count ? `${done} of ${fan.count} samples are complete. ` : "";
    const words = `${count}Each sample is a version of the answer. Coloured words were less likely.`;
    if (this.status.textContent !== words) this.status.textContent = words;
  }

  // The rows

  /**
   * @param {Page.ContinuationRow[]} rows
   * @param {string} before
   */
  draw(rows, before) {
    const hadFocus = this.tree.contains(document.activeElement);
    const kept = this.rows[this.current - 1];
    this.rows = rows;
    this.items = [this.head(before), ...rows.map((row, index) => rowElement(row, index + 1, this.fan?.versions.length ?? 0))];
    this.tree.replaceChildren(...this.items);
    /** @param {Page.ContinuationRow} row */
    const isEnd = ({ node }) => node.end === "end"; // its text is that of the row above
    this.setCurrent(kept === undefined ? 0 : rows.findIndex((row) => row.text === kept.text && isEnd(row) === isEnd(kept)) + 1);
    if (hadFocus) this.items[this.current].focus();
  }

  /**
   * Return the row of the text before, which precedes all others.
   * @param {string} before
   * @returns {HTMLElement}
   */
  head(before) {
    const last = Array.from(before).slice(-MAX_BEFORE).join("");
    const words = last.length < before.length ? `…${last}` : last || "Beginning of the answer";
    const shown = make("span", { class: "pl-continuation-text", dir: "auto" }, ...visible.flowing(visible.piecesOf(words, undefined)));
    return make("div", { role: "treeitem", class: "pl-tree-row pl-continuation pl-continuation-before", tabindex: "-1", "aria-level": 1, "aria-expanded": "true", "aria-label": `After: ${words}`, "data-row": 0 }, shown);
  }

  /**
   * @param {EventTarget | null} target
   * @returns {number}
   */
  indexOf(target) {
    const item = target instanceof Element ? /** @type {HTMLElement | null} */ (target.closest("[data-row]")) : null;
    return item === null ? this.current : Number(item.dataset.row);
  }

  /** @param {number} index */
  setCurrent(index) {
    this.current = Math.max(0, index);
    this.items.forEach((item, at) => {
      item.tabIndex = at === this.current ? 0 : -1;
      item.setAttribute("aria-selected", String(at === this.current));
    });
    this.action.disabled = !this.canChoose;
  }

  get canChoose() {
    const row = this.rows[this.current - 1];
    return row !== undefined && (this.fan ? !row.node.nodes.length : row.text !== "" && row.node.pieces.length > 0 && row.node.end !== "half");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (hasModifier(event)) return;
    const { current, rows, items } = this;
    const level = rows[current - 1]?.level ?? 1;
    /** @type {Record<string, () => number>} */
    const goals = {
      ArrowDown: () => Math.min(current + 1, items.length - 1),
      ArrowUp: () => Math.max(current - 1, 0),
      ArrowRight: () => ((rows[current]?.level ?? 0) > level ? current + 1 : current),
      ArrowLeft: () => rows.slice(0, Math.max(current - 1, 0)).map((row) => row.level < level).lastIndexOf(true) + 1,
      Home: () => 0,
      End: () => items.length - 1,
    };
    if (event.key in goals) items[goals[event.key]()].focus();
    else if (event.key === "Enter") this.choose();
    else return;
    event.preventDefault();
  }

  /** Begin a version with the chosen continuation, or show the chosen sample. */
  choose() {
    const { place, fan } = this;
    if (!place || !this.canChoose) return;
    const { node, text } = this.rows[this.current - 1];
    if (this.chat.busy) {
      this.remark.textContent = WAIT;
      return;
    }
    this.element.close();
    this.chat.inspection.unpin();
    if (fan) this.chat.act("selectVersion", { node: node.versions?.[0].node });
    else {
      this.chat.act("branch", { node: place.node, index: place.index, text });
      announce("A version begins with this continuation.");
    }
  }
}

/**
 * Create a menu with its label.
 * @template Value
 * @param {string} label
 * @param {[name: string, value: Value][]} options
 * @param {Value} chosen
 * @param {() => void} onChange
 */
function choice(label, options, chosen, onChange) {
  const select = make("select", { class: "pl-field", onchange: onChange }, ...options.map(([name, value]) => make("option", { selected: value === chosen }, name)));
  return { element: make("label", {}, label, select), value: () => options[select.selectedIndex][1] };
}
