// Comparisons that begin in a chat: stored answers as columns, and the messages before them in place of the prompt alone.

import { make, button, openTab } from "../shared/dom.js";

/**
 * The line above the form that says that the messages of a chat are answered.
 */
export class ChatOrigin {
  /** @param {() => void} onDetach called when only the prompt is to be answered */
  constructor(onDetach) {
    this.words = make("span", { dir: "auto" });
    this.element = make("p", { class: "pl-compare-origin", hidden: true }, this.words, button("Use the prompt alone", { onclick: onDetach }, "Answer the prompt without the messages before it"));
  }

  /** @param {Page.CompareChat | null} chat */
  show(chat) {
    this.element.hidden = chat === null;
    this.words.textContent = chat === null ? "" : `From the chat “${chat.title}”: each column reads the messages before its answer, of which the prompt is the last.`;
  }
}

/**
 * Return whether a link or a draft has a valid chat.
 * @param {any} chat
 * @returns {boolean}
 */
export function isChat(chat) {
  return chat === undefined || (chat !== null && typeof chat === "object" && ["conversation", "title"].every((name) => typeof chat[name] === "string") && Number.isSafeInteger(chat.node));
}

/** @type {Page.ChatComparer | null} */
let tab = null;
/** @type {Page.ChatComparison | null} */
let waiting = null; // what was asked for before the tab was ready
let number = 0; // of the form that was asked for last

/** Ask the server for the form of what was asked for, as soon as the tab is ready. */
function ask() {
  if (!waiting || !tab?.isOpened) return;
  number = Date.now();
  tab.ask({ verb: "chat", n: number, ...waiting });
  waiting = null;
}

/**
 * Take the tab, and the form that it has received, if that was asked for.
 * @param {Page.ChatComparer} compare
 * @param {Page.CompareValue} value
 */
export function offerChat(compare, value) {
  tab = compare;
  ask();
  if (!value.offer || value.offer.n !== number) return;
  number = 0; // the last output of a stream comes twice
  compare.fill(value.offer.form);
}

/**
 * Open the tab, and compare answers of a chat.
 * @param {Page.ChatComparison} asked
 */
export function compareFromChat(asked) {
  waiting = asked;
  openTab("Compare")?.focus();
  ask();
}
