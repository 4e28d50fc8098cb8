// The versions of a conversation as a picture: a tree from the first message down, to walk, to go to a version, and to compare some.

import { make, makeSvg, button, announce, hasModifier, isTabOpen, takesKeys } from "../shared/dom.js";
import { isInEditor } from "../shared/editor.js";
import { versionLayout } from "./version_tree_layout.js";
import { versionRow, drawVersionLines } from "./version_tree_rows.js";

const MAX_COMPARED = 4;
const MORE_WORDS = 1.3125; // rem of a second line of words
const NARROW = 480; // pixels of the picture below which words take two lines
const WAIT = "An answer is being generated: wait for it, or stop it, before you go to another version.";
const EMPTY = "There is no conversation yet: send a message first.";
const HINT = "Choose answers with Space or their boxes to compare them.";

/** @type {VersionTree | null} */
let mounted = null;

export class VersionTree {
  /** @param {Page.Chat} chat */
  constructor(chat) {
    this.chat = chat;
    /** @type {{ id: string, nodes: Page.VersionNode[] } | null} */
    this.data = null;
    /** @type {Page.VersionRow[]} */
    this.rows = [];
    /** @type {HTMLElement[]} */
    this.items = []; // the elements of the rows
    /** @type {Map<number, Page.VersionNode>} */
    this.nodes = new Map();
    /** @type {Set<number>} */
    this.unfolded = new Set();
    /** @type {number[]} */
    this.selected = []; // answers to compare, in the order in which they were chosen
    /** @type {number | null} */
    this.focused = null; // the version of the row that Tab reaches
    /** @type {Set<number>} */
    this.onPath = new Set(); // what the chat shows
    this.requestedState = ""; // the state of the chat for which the versions were requested
    this.about = make("p", { class: "pl-quiet" });
    this.picture = makeSvg("svg", { "aria-hidden": "true" });
    this.tree = make("div", { class: "pl-versions-tree", role: "tree", "aria-label": "Versions of the conversation", "aria-multiselectable": "true" });
    this.frame = make("div", { class: "pl-versions-frame" }, this.tree);
    this.status = make("p", { class: "pl-quiet", role: "status" });
    this.compare = button("Compare", { class: "pl-button pl-first", onclick: () => this.compareSelected() });
    /** @type {HTMLDialogElement} */
    this.element = make(
      "dialog",
      { class: "pl-dialog pl-versions", "aria-labelledby": "pl-versions-title", closedby: "any" },
      make("div", { class: "pl-dialog-head" }, make("h2", { id: "pl-versions-title" }, "Versions"), button("Close", { onclick: () => this.element.close() }, "Escape")),
      this.about,
      this.frame,
      make("div", { class: "pl-versions-foot" }, this.status, this.compare),
    );
    this.tree.addEventListener("keydown", (event) => this.key(event));
    this.tree.addEventListener("click", (event) => this.click(event));
    this.tree.addEventListener("focusin", (event) => this.setTabStop(rowOf(event.target)));
    this.width = 0; // of the picture
    this.rem = 16; // pixels
    new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      this.draw();
    }).observe(this.frame);
    mounted = this;
  }

  /**
   * Open the picture at a version, by default at the end of what is shown.
   * @param {number} [node]
   */
  show(node) {
    if (this.element.open) return;
    this.rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
    if (!this.element.isConnected) document.body.append(this.element);
    this.selected = [];
    this.unfolded.clear();
    this.focused = node ?? this.chat.shown.at(-1) ?? null;
    this.requestedState = "";
    this.data = null;
    this.rows = [];
    this.tree.replaceChildren();
    const isEmpty = !this.chat.shown.length;
    this.about.textContent = isEmpty ? EMPTY : "Loading…";
    this.drawFoot();
    this.element.showModal();
    if (!isEmpty) this.request();
  }

  /**
   * Request the versions again when the chat has changed.
   */
  update() {
    if (this.element.open && this.requestedState && this.requestedState !== this.state) this.request();
  }

  /** What the versions depend on. */
  get state() {
    return JSON.stringify([this.chat.busy, this.chat.shown]);
  }

  async request() {
    const state = (this.requestedState = this.state);
    const found = await this.chat.ask("versions", {});
    if (found && state === this.requestedState) this.receive(/** @type {{ id: string, nodes: Page.VersionNode[] }} */ (found));
  }

  /**
   * Draw versions that have arrived.
   * @param {{ id: string, nodes: Page.VersionNode[] }} found
   */
  receive(found) {
    const isFirst = this.data === null;
    this.data = found;
    this.nodes = new Map(found.nodes.map((one) => [one.node, one]));
    this.selected = this.selected.filter((node) => this.nodes.has(node));
    this.drawRows();
    if (isFirst) this.focus(this.focused, "center");
  }

  drawRows() {
    const { data } = this;
    if (data === null) return;
    const hadFocus = this.tree.contains(document.activeElement);
    this.rows = versionLayout(data.nodes, this.chat.shown, this.unfolded);
    this.onPath = new Set(this.chat.shown);
    this.items = this.rows.map((row, index) =>
      versionRow(row, /** @type {Page.VersionNode} */ (this.nodes.get(row.node)), { index, isShown: this.onPath.has(row.node), isSelected: this.selected.includes(row.node) }),
    );
    this.draw();
    this.tree.replaceChildren(this.picture, ...this.items);
    const messages = new Set(data.nodes.map(({ parent }) => parent)).size;
    this.about.textContent = data.nodes.length === messages ? "No message has other versions yet. Edit one, or regenerate an answer." : "What the chat shows is bold.";
    this.drawFoot();
    if (hadFocus) this.focus(this.focused);
    else this.setTabStop(this.rows[this.indexOf(this.focused)] ? this.indexOf(this.focused) : 0);
  }

  /** Draw the lines, which depend on the width. Nothing is measured: that would have the browser lay out all messages behind. */
  draw() {
    if (!this.rows.length || !this.element.open) return;
    const { nodes, onPath, width, rem } = this;
    const more = width < NARROW ? MORE_WORDS : 0;
    this.tree.toggleAttribute("data-narrow", width < NARROW);
    this.tree.style.setProperty("--more-words", `${more}rem`);
    const indents = drawVersionLines(this.picture, this.rows, { nodes, onPath, width, rem, more });
    indents.forEach((pixels, index) => this.item(index)?.style.setProperty("--indent", `${pixels}px`));
  }

  drawFoot() {
    const { selected } = this;
    const pair = this.compared();
    this.compare.disabled = pair.length < 2;
    this.compare.textContent = selected.length === 1 ? "Compare with the shown answer" : selected.length ? `Compare ${selected.length} answers` : "Compare";
    const words = selected.length === 1 && pair.length < 2 ? "This answer is the shown one: choose another one to compare it with." : selected.length ? "" : HINT;
    this.status.textContent = words;
  }

  /** @returns {number[]} the answers that a comparison would have: the chosen ones, or the shown one and the chosen one */
  compared() {
    const { selected } = this;
    if (selected.length !== 1) return selected;
    const level = this.rows.find((row) => row.node === selected[0])?.level ?? 0;
    const shown = this.rows.filter((row) => !row.isFold && this.onPath.has(row.node) && this.nodes.get(row.node)?.role === "assistant");
    const near = shown.find((row) => row.level === level) ?? shown.at(-1);
    return !near || near.node === selected[0] ? selected : [near.node, selected[0]];
  }

  compareSelected() {
    const nodes = this.compared();
    if (nodes.length < 2) return;
    this.element.close();
    this.chat.compare(nodes.map((answer) => ({ answer })));
  }

  /** @param {number | null} node */
  indexOf(node) {
    return this.rows.findIndex((row) => node !== null && row.nodes.includes(node));
  }

  /**
   * @param {number} index
   * @returns {HTMLElement | undefined}
   */
  item(index) {
    return this.items[index];
  }

  /**
   * Focus the row of a version.
   * @param {number | null} node
   * @param {ScrollLogicalPosition} [block]
   */
  focus(node, block = "nearest") {
    const item = this.item(Math.max(0, this.indexOf(node)));
    item?.focus({ preventScroll: true });
    item?.scrollIntoView({ block });
  }

  /**
   * Make a row the only one that Tab reaches.
   * @param {number} index
   */
  setTabStop(index) {
    if (index < 0 || !this.rows[index]) return;
    this.tree.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    this.item(index)?.setAttribute("tabindex", "0");
    this.focused = this.rows[index].node;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const at = rowOf(event.target);
    if (at < 0 || hasModifier(event)) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowDown: () => this.move(Math.min(at + 1, this.rows.length - 1)),
      ArrowUp: () => this.move(Math.max(at - 1, 0)),
      ArrowRight: () => this.enter(at),
      ArrowLeft: () => this.move(Math.max(this.rows[at].parent, 0)),
      Home: () => this.move(0),
      End: () => this.move(this.rows.length - 1),
      Enter: () => this.choose(at),
      " ": () => this.select(at),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** @param {MouseEvent} event */
  click(event) {
    const at = rowOf(event.target);
    if (at < 0) return;
    if (/** @type {Element} */ (event.target).closest(".pl-version-box")) this.select(at);
    else this.choose(at);
  }

  /** @param {number} index */
  move(index) {
    this.focus(this.rows[index].node);
  }

  /**
   * Go to the next message of a version: the straight one, as it is what follows there. A fold opens.
   * @param {number} index
   */
  enter(index) {
    if (this.rows[index].isFold) this.unfold(index);
    else {
      const next = this.rows.map((row) => row.parent).lastIndexOf(index);
      if (next >= 0) this.move(next);
    }
  }

  /**
   * Show a version in the chat. A fold opens.
   * @param {number} index
   */
  choose(index) {
    const { node, isFold } = this.rows[index];
    if (isFold) this.unfold(index);
    else if (this.chat.busy && !this.onPath.has(node)) this.status.textContent = WAIT;
    else {
      this.element.close();
      this.chat.goTo(node);
    }
  }

  /** @param {number} index */
  unfold(index) {
    const { node, nodes } = this.rows[index];
    this.unfolded.add(node);
    this.focused = node;
    this.drawRows();
    announce(`${nodes.length} messages are shown.`);
  }

  /**
   * Choose an answer for a comparison, or no longer.
   * @param {number} index
   */
  select(index) {
    const { node } = this.rows[index];
    const item = this.item(index);
    if (!item?.hasAttribute("aria-selected")) return;
    const isChosen = !this.selected.includes(node);
    if (isChosen && this.selected.length === MAX_COMPARED) {
      this.status.textContent = `At most ${MAX_COMPARED} answers can be compared.`;
      return;
    }
    this.selected = isChosen ? [...this.selected, node] : this.selected.filter((one) => one !== node);
    item.setAttribute("aria-selected", String(isChosen));
    item.focus({ preventScroll: true });
    this.drawFoot();
  }
}

/**
 * @param {EventTarget | null} target
 * @returns {number} the index of the row that contains it; -1 for none
 */
const rowOf = (target) => Number(/** @type {HTMLElement | null} */ (/** @type {Element} */ (target).closest("[data-row]"))?.dataset.row ?? -1);

document.addEventListener("keydown", (event) => {
  const target = /** @type {Element} */ (event.target);
  if (event.key !== "v" || hasModifier(event) || event.defaultPrevented || !(isInEditor() || isTabOpen("Chat"))) return;
  if (takesKeys(target) || target.closest("dialog") || document.querySelector("dialog:modal")) return;
  event.preventDefault();
  mounted?.show();
});

export const showVersions = () => mounted?.show();
