// Inspection in the chat: the switch for all answers, the pointer and the keys on rendered text, and the inspector.

import { ContinuationPanel } from "../continuations/continuation_panel.js";
import { make, button, memory, announce } from "../shared/dom.js";
import * as colours from "./colours.js";
import { legendScale } from "./heatmap_toolbar.js";
import { Inspector } from "./inspector.js";
import { MoreSamples } from "./more_samples.js";
import { RenderedAnswer } from "./rendered_answer.js";

/** @type {Record<Page.InspectState, string>} */
const STATES = { text: "Text", unsure: "Unsure words", heat: "Heat map" };
const ASK_MS = 120; // after a scroll, before the places of the answers in view are asked for
const KEPT = 8; // answers whose records are kept
const WIDE = 736; // pixels from which the inspector is next to the messages
const MARGIN = 24; // pixels between a token that is scrolled to and the edge
const EDITABLE = "input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable=true], .pl-tokens, [role=tree]";

export class Inspection {
  /**
   * @param {Page.Chat} chat
   * @param {HTMLElement} list of the messages
   */
  constructor(chat, list) {
    this.chat = chat;
    this.list = list;
    /** @type {Page.InspectState} */
    this.state = remembered();
    /** @type {Map<number, Page.RenderedAnswer>} */
    this.answers = new Map(); // those in view
    /** @type {Set<Page.Message>} */
    this.inView = new Set();
    /** @type {WeakMap<Page.Message, Page.ChatMessage>} */
    this.seen = new WeakMap(); // what was known of a message the last time
    /** @type {WeakMap<Element, Page.Message>} */
    this.messages = new WeakMap();
    /** @type {Map<number, number>} */
    this.asked = new Map(); // how many versions an answer had when its places were asked for
    /** @type {Map<number, Page.TokenRecord[]>} */
    this.records = new Map();
    /** @type {number | null} */
    this.opened = null; // the answer whose records were asked for last
    /** @type {Page.RenderedAnswer | null} */
    this.pinned = null;
    this.continuations = new ContinuationPanel(chat);
    this.samples = new MoreSamples((branch) => this.generateSample(branch));
    /** @type {Page.ChatValue | null} */
    this.value = null;
    /** @type {Page.Message | null} */
    this.last = null; // the last answer that has ended
    this.wantsLeast = false;
    /** @type {string | null} */
    this.introduced = null; // the conversation whose only answer was introduced
    this.timer = 0;
    this.frame = 0;
    this.inspector = new Inspector({
      onStep: (direction) => this.step(direction),
      onClose: () => this.unpin(),
      onSamples: (index, alternative, count) => this.generateSamples(index, alternative, count),
      onTree: (index) => this.showContinuations(index),
      placeWithExperts: (index) => this.placeWithExperts(index),
    });
    this.legend = make("span", { class: "pl-heat pl-inspect-legend", role: "group", "aria-label": "What the marks mean", "data-mode": "probability" });
    this.least = button("Least likely", { class: "pl-button pl-inspect-least", onclick: () => this.goToLeast() }, "Go to the least likely word of the answer in view (l)");
    this.choices = /** @type {Page.InspectState[]} */ (Object.keys(STATES)).map((state) => this.choice(state));
    const radios = make("div", { class: "pl-inspect-choices", role: "radiogroup", "aria-label": "Inspect tokens" }, ...this.choices);
    this.bar = make("div", { class: "pl-inspect-bar" }, radios, this.least, this.legend);
    this.stage = make("div", { class: "pl-stage" }, list, this.inspector.element);
    this.observer = new IntersectionObserver((entries) => this.scrolled(entries), { root: list, rootMargin: "100px" });
    new ResizeObserver(() => {
      this.stage.toggleAttribute("data-wide", this.stage.clientWidth >= WIDE);
      this.placeBar();
    }).observe(this.stage);
    new ResizeObserver(() => this.answers.forEach((answer) => answer.placeBranch())).observe(list);
    this.listen();
    this.choose(this.state);
  }

  /**
   * @param {Page.InspectState} state
   * @returns {HTMLElement}
   */
  choice(state) {
    const input = make("input", { type: "radio", name: "pl-inspect", value: state, onchange: () => this.chooseForAll(state) });
    return make("label", { class: "pl-inspect-choice", title: "Key i goes to the next one" }, input, STATES[state]);
  }

  /** @param {Page.InspectState} state */
  choose(state) {
    this.state = state;
    memory.set("inspect", state);
    for (const input of this.bar.querySelectorAll("input")) input.checked = input.value === state;
    this.drawLegend();
    if (state === "text") this.unpin();
    this.inView.forEach((message) => this.refresh(message));
    this.answers.forEach((answer) => answer.paint());
    this.fit();
    this.askForPlaces();
  }

  /**
   * Show all answers alike, also those that are shown as a list of tokens.
   * @param {Page.InspectState} state
   */
  chooseForAll(state) {
    for (const data of this.value?.messages ?? []) if (data.asTokens && isAnswer(data)) this.chat.toggleTokens(data.node);
    this.choose(state);
  }

  /** Say what the underlines mean, or the colours, which the sliders show too. */
  drawLegend() {
    const isColoured = this.state === "heat" || [...this.answers.values()].some(({ verdicts }) => verdicts.settings !== null);
    const shown = isColoured ? "heat" : this.state;
    if (this.legend.dataset.shown === shown) return;
    this.legend.dataset.shown = shown;
    this.stage.dataset.shown = shown;
    this.legend.hidden = shown === "text";
    this.legend.title = "";
    if (isColoured) {
      const parts = colours.legend("probability", []).flatMap((part) => ("scale" in part ? [legendScale(part)] : []));
      this.legend.replaceChildren(...parts);
    } else {
      this.legend.replaceChildren(make("i", { class: "pl-unsure-sample" }, "word"), ": less than 30 % likely");
      this.legend.title = "At most a tenth of the text is marked.";
    }
  }

  listen() {
    const { list } = this;
    list.addEventListener("pointermove", (event) => event.pointerType === "mouse" && this.hover(event.target, event.clientX, event.clientY, event.buttons));
    list.addEventListener("click", (event) => this.click(event));
    list.addEventListener("keydown", (event) => this.keyInText(event));
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.escape(event), { capture: true });
    document.addEventListener("pellucid-server-back", () => {
      this.asked.clear(); // what was asked may be lost
      this.opened = null;
    });
  }

  // What the server sends

  /**
   * Take a new state of the chat.
   * @param {Page.ChatValue} value
   * @param {Page.Message[]} messages
   */
  update(value, messages) {
    const moved = this.value?.id !== value.id;
    this.value = value;
    if (moved) this.forget();
    for (const message of messages) {
      const before = this.seen.get(message);
      if (before === message.data) continue;
      if (!this.seen.has(message)) {
        this.messages.set(message.element, message);
        this.observer.observe(message.element);
      }
      this.seen.set(message, message.data);
      this.refresh(message);
    }
    this.last = messages.filter(({ data }) => isAnswer(data)).at(-1) ?? null;
    this.fit();
    this.askForPlaces();
    this.samples.update(value, messages);
    this.continuations.update(value, messages, this.samples.pending === null);
  }

  forget() {
    this.answers.forEach((answer) => answer.destroy());
    this.answers.clear();
    this.inView.clear();
    this.asked.clear();
    this.records.clear();
    this.opened = this.pinned = null;
  }

  /** @param {Page.OpenedTokens} opened */
  arrive({ node, batches }) {
    if (this.records.has(node)) return;
    const records = batches.flatMap((batch) => /** @type {Page.TokenRecord[]} */ (JSON.parse(batch)));
    this.records.set(node, records);
    if (this.records.size > KEPT) this.records.delete(this.records.keys().next().value ?? -1);
    this.answers.get(node)?.arrive(records);
  }

  /** @param {IntersectionObserverEntry[]} entries */
  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      const message = this.messages.get(target);
      if (!message) continue;
      if (isIntersecting && target.isConnected) this.inView.add(message);
      else this.inView.delete(message);
      this.refresh(message);
    }
    this.offerWords();
    this.askForPlaces();
  }

  /**
   * Create or remove what makes an answer's text inspectable.
   * @param {Page.Message} message
   */
  refresh(message) {
    const { data } = message;
    const old = this.answers.get(data.node) ?? null;
    const marks = data.marks ?? old?.marks ?? null;
    const isHere = this.inView.has(message) || (old !== null && this.inspector.owner === old);
    const isShown = this.state !== "text" || Boolean(marks?.branched);
    const isText = isAnswer(data) && !data.asTokens && marks !== null && marks.count > 0;
    if (isHere && isShown && isText && marks && message.element.isConnected) {
      if (old && old.message === message && old.marks === marks && old.blocks === message.drawn) return;
      const shown = old?.shown ?? null; // stays in the inspector when the marks of the answer change
      const isPinned = old !== null && this.pinned === old;
      old?.destroy();
      const answer = new RenderedAnswer(this, message, marks);
      this.answers.set(data.node, answer);
      const records = this.records.get(data.node);
      if (records) answer.arrive(records);
      if (isPinned) this.pin(answer);
      if (shown !== null && shown < marks.count) answer.show(shown);
      if (this.wantsLeast) this.goToLeast();
      else this.introduce(answer);
    } else if (old) {
      old.destroy();
      this.answers.delete(data.node);
      if (this.pinned === old) this.pinned = null;
    }
  }

  /** Ask for the places of the tokens of the answers in view. */
  askForPlaces() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const nodes = [...this.inView].filter(({ data }) => this.isWanted(data)).map(({ data }) => data);
      if (!nodes.length) return;
      for (const { node, versions } of nodes) this.asked.set(node, versions.length);
      this.chat.inspect(nodes.map(({ node }) => node), null);
    }, ASK_MS);
  }

  /**
   * @param {Page.ChatMessage} data
   * @returns {boolean}
   */
  isWanted(data) {
    const count = data.versions.length;
    if (!isAnswer(data) || this.asked.get(data.node) === count || data.marks?.versions === count) return false;
    return this.state !== "text" || count > 1 || document.body.hasAttribute("data-details");
  }

  /**
   * Ask for the tokens of an answer.
   * @param {number} node
   */
  askForTokens(node) {
    if (this.opened === node && !this.records.has(node)) return; // on its way
    this.opened = node;
    this.chat.inspect([], node);
  }

  /** Show the inspector, and the switch, where there is something to inspect. */
  fit() {
    const isEmpty = this.list.querySelector(".pl-message") === null;
    const isMap = this.list.querySelector(".pl-message .pl-tokens") !== null;
    this.bar.hidden = isEmpty;
    this.least.disabled = this.state === "text" || !this.last;
    this.stage.dataset.inspect = isEmpty || (this.state === "text" && !isMap) ? "off" : "on";
    this.placeBar();
    this.offerWords();
  }

  /** While no token is shown, offer what is worth a look in the answer in view: its unsure words, and its least likely one. */
  offerWords() {
    const answer = this.answers.get(Math.max(-1, ...this.answers.keys()));
    if (!answer || this.state === "text") this.inspector.offer([]);
    else this.inspector.offer(answer.tokens.worthALook(answer.marks.least).map((word) => ({ ...word, go: () => answer.go(word.token) })));
  }

  placeBar() {
    this.bar.toggleAttribute("data-next", this.stage.dataset.inspect === "on" && this.stage.hasAttribute("data-wide"));
  }

  // The pointer

  /**
   * @param {EventTarget | null} target
   * @returns {Page.RenderedAnswer | null}
   */
  answerOf(target) {
    const element = target instanceof Element ? target.closest(".pl-message") : null;
    const message = element && this.messages.get(element);
    const found = message && this.answers.get(message.data.node);
    return found && this.state !== "text" && target instanceof Node && message.body.contains(target) ? found : null;
  }

  /**
   * @param {EventTarget | null} target
   * @param {number} x
   * @param {number} y
   * @param {number} buttons
   */
  hover(target, x, y, buttons) {
    const isSheet = !this.stage.hasAttribute("data-wide"); // it would cover the text under the pointer
    if (isSheet || this.pinned || buttons || this.frame || this.inspector.card.hasFocus) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      const answer = this.answerOf(target);
      const token = answer?.tokens.at(x, y) ?? null;
      if (answer && token !== null && !(answer.shown === token && this.inspector.owner === answer)) answer.show(token);
    });
  }

  /** @param {MouseEvent} event */
  click(event) {
    const { target } = event;
    if (!(target instanceof Element) || target.closest("a, button, summary, input, .pl-heat")) return;
    if (!window.getSelection()?.isCollapsed) return; // the user selects text
    const answer = this.answerOf(target);
    const token = answer?.tokens.at(event.clientX, event.clientY) ?? null;
    if (!answer || token === null) {
      this.unpin();
      return;
    }
    answer.message.body.focus({ preventScroll: true });
    this.pin(answer);
    answer.show(token);
    const place = answer.tokens.place(token);
    if (place) this.reveal(place); // a sheet may cover it
  }

  /** @param {Page.RenderedAnswer} answer */
  pin(answer) {
    this.pinned = answer;
    this.inspector.element.toggleAttribute("data-pinned", true);
  }

  /** Let the inspector follow the pointer again, and show nothing until then. */
  unpin() {
    this.pinned = null;
    this.inspector.element.toggleAttribute("data-pinned", false);
    const { owner } = this.inspector;
    if (!owner) return;
    const hadFocus = this.inspector.element.contains(document.activeElement);
    owner.lose();
    this.inspector.release(owner);
    if (hadFocus && owner instanceof RenderedAnswer) owner.message.body.focus({ preventScroll: true });
  }

  // The keyboard

  /** @param {KeyboardEvent} event */
  keyInText(event) {
    const answer = event.target instanceof HTMLElement && "tokens" in event.target.dataset ? this.answerOf(event.target) : null;
    if (!answer || event.ctrlKey || event.metaKey || event.altKey) return;
    const isEnter = event.key === "Enter" || event.key === " ";
    if (isEnter && answer.shown !== null) {
      this.pin(answer);
      this.inspector.card.enter();
    } else if (!answer.move(event.key)) return;
    event.preventDefault();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.list.offsetParent) return;
    if (target instanceof Element && target.closest(EDITABLE)) return;
    if (event.key === "i") this.cycle();
    else if (event.key === "n" || event.key === "p") this.stepHere(event.key === "n" ? 1 : -1);
    else if (event.key === "l") this.goToLeast();
    else return;
    event.preventDefault();
  }

  cycle() {
    const states = /** @type {Page.InspectState[]} */ (Object.keys(STATES));
    this.chooseForAll(states[(states.indexOf(this.state) + 1) % states.length]);
    announce(`Inspect tokens: ${STATES[this.state]}`);
  }

  /** @param {number} direction */
  stepHere(direction) {
    const { owner } = this.inspector;
    if (owner) owner.step(direction);
    else this.step(direction);
  }

  /**
   * Go to an unsure word of the answer in view; of the last one, if there are several.
   * @param {number} direction
   */
  step(direction) {
    const nodes = [...this.answers.keys()].sort((one, other) => other - one);
    if (this.state === "text" || !nodes.some((node) => this.answers.get(node)?.step(direction))) announce("No unsure words are in view.");
  }

  /** Go to the least likely token of the answer that is inspected; of the last one in view, if none is. */
  goToLeast() {
    const { owner } = this.inspector;
    const answer = owner instanceof RenderedAnswer ? owner : this.answers.get(Math.max(-1, ...this.answers.keys()));
    if (this.state === "text" || !this.last) return;
    this.wantsLeast = !answer; // then the last answer is scrolled into view, and comes once its places are there
    if (!answer) this.showTop(this.last.element);
    else if (answer.marks.least !== null) answer.go(answer.marks.least);
  }

  /**
   * Show the least likely word of a conversation's only answer once, until the pointer is at another word.
   * @param {Page.RenderedAnswer} answer
   */
  introduce(answer) {
    const { id, messages } = /** @type {Page.ChatValue} */ (this.value);
    if (this.introduced === id || messages.filter(({ role }) => role === "assistant").length > 1) return;
    this.introduced = id;
    const isSheet = !this.stage.hasAttribute("data-wide"); // it would cover the answer
    if (this.state !== "text" && !isSheet && !this.inspector.isOpen && answer.marks.least !== null) answer.show(answer.marks.least);
  }

  /** @param {KeyboardEvent} event */
  escape(event) {
    const { owner } = this.inspector;
    if (event.target instanceof Element && event.target.closest("[role=combobox], #pl-settings, #pl-side")) return; // this Escape closes them
    if (!(owner instanceof RenderedAnswer) || !this.list.offsetParent || document.querySelector("dialog[open]")) return;
    this.unpin();
    event.preventDefault(); // this Escape does not stop an answer
  }

  /**
   * Scroll a place of the text into view, and no further.
   * @param {DOMRect} place
   */
  reveal({ top, bottom }) {
    const box = this.list.getBoundingClientRect();
    const sheet = this.inspector.element.getBoundingClientRect();
    const isSheet = sheet.left < box.left + box.width / 2; // it lies over the list
    const end = (isSheet && sheet.height ? Math.min(box.bottom, sheet.top) : box.bottom) - MARGIN;
    if (top < box.top + MARGIN) this.list.scrollTop += top - box.top - MARGIN;
    else if (bottom > end) this.list.scrollTop += bottom - end;
  }

  /**
   * Scroll the messages until an element begins at their top.
   * @param {HTMLElement} element
   */
  showTop(element) {
    this.list.scrollTop += element.getBoundingClientRect().top - this.list.getBoundingClientRect().top;
  }

  // Branches

  /**
   * @param {Page.Message} message
   * @returns {boolean}
   */
  canBranch({ data }) {
    return isAnswer(data) && !this.chat.busy;
  }

  /**
   * @param {number} node
   * @param {number} index
   * @param {number} alternative
   */
  branch(node, index, alternative) {
    this.unpin();
    this.chat.act("branch", { node, index, alternative });
  }

  /**
   * Start several versions that continue from the same alternative.
   * @param {number} index
   * @param {number} alternative
   * @param {number} count
   */
  generateSamples(index, alternative, count) {
    const node = this.inspectedNode;
    const message = [...this.inView].find(({ data }) => data.node === node);
    if (node === null || !message || this.chat.busy) return;
    const { versions } = message.data;
    this.unpin();
    this.continuations.showFan({ conversation: this.value?.id ?? "", node, index }, versions, count);
    this.samples.begin({ node, index, alternative }, count, versions.length);
  }

  /**
   * Begin a sample. Where the server refuses, the banner says why, and the fan would hide it.
   * @param {Page.BranchRequest} branch
   */
  async generateSample(branch) {
    const begun = await this.chat.act("branch", branch);
    if (begun === null && this.continuations.fan) this.continuations.element.close();
    return begun;
  }

  /** @param {number} index */
  showContinuations(index) {
    const node = this.inspectedNode;
    if (node !== null) this.continuations.showTree({ conversation: this.value?.id ?? "", node, index });
  }

  /**
   * @param {number} index
   * @returns {Page.PlaceInAnswer | null}
   */
  placeWithExperts(index) {
    const node = this.inspectedNode;
    const message = [...this.inView].find(({ data }) => data.node === node);
    const { marks, reasoning } = message?.data ?? {}; // an answer is not read again with its reasoning
    return node !== null && marks?.experts && !reasoning ? { conversation: this.value?.id ?? "", node, index } : null;
  }

  get inspectedNode() {
    const { owner } = this.inspector;
    return owner instanceof RenderedAnswer ? owner.message.data.node : this.nodeOfMap(owner);
  }

  /**
   * @param {Page.TokenOwner | null} owner
   * @returns {number | null} the message of a heat map
   */
  nodeOfMap(owner) {
    for (const message of this.inView) if (message.map === owner) return message.data.node;
    return null;
  }
}

/**
 * @param {Page.ChatMessage} data
 * @returns {boolean} whether it is an answer that has ended
 */
const isAnswer = (data) => data.role === "assistant" && !data.live;

/** @returns {Page.InspectState} */
function remembered() {
  const state = memory.get("inspect");
  return state !== null && state in STATES ? /** @type {Page.InspectState} */ (state) : "unsure";
}
