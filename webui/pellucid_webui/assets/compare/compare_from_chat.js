// Comparisons that begin in a chat: stored answers as columns, and the messages before them in place of the prompt alone.

import { make, button, openTab } from "../shared/dom.js";
import { call } from "../shared/wire.js";

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

/** Fill in the form of what was asked for, and compare, as soon as the tab is ready. */
function ask() {
  const [ready, asked] = [tab, waiting];
  if (ready === null || asked === null) return;
  waiting = null;
  call("compare", { verb: "chat", ...asked }, (/** @type {{ form: Page.CompareFormValue }} */ { form }) => ready.fill(form), { onRefused: (sentence) => ready.say(sentence, true) });
}

/**
 * Take the tab, once its form is shown.
 * @param {Page.ChatComparer} compare
 */
export function takeTab(compare) {
  tab = compare;
  ask();
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
