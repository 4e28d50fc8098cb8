// What the controls of the Read tab ask for, next to what was read: results of another text, model or kind are marked. And the place
// right below the button, where progress and errors appear as soon as it is pressed.

import { make, tabMemory } from "../shared/dom.js";

const READ = "read.asked"; // in `tabMemory`, what the last reading was of

const BELOW = "The results are below.";
const LEAST_SEEN = 120; // pixels of the results that are enough to see that they are there

class ReadingInputs {
  constructor() {
    // Not a live region: the same words are in one above the results.
    this.status = make("p", { class: "pl-note pl-read-status", "aria-hidden": "true" });
    this.place = make("div", { class: "pl-read-now" }, this.status);
    /** @type {Page.ReadAsked | null} */
    this.now = null;
    /** @type {Page.ReadAsked | null} */
    this.pressed = null;
    /** @type {Page.ReadAsked | null} */
    this.read = null;
    this.restored = restored();
    /** @type {() => void} */
    this.onPress = () => {};
    /** @type {() => void} */
    this.onChange = () => {};
    document.addEventListener("click", ({ target }) => target instanceof Element && target.closest("#pl-read-go") && this.onPress(), true);
  }

  /**
   * Take what the controls ask for now.
   * @param {string} text
   * @param {string | null} model
   * @param {string} second
   * @param {string} kind
   */
  change(text, model, second, kind) {
    this.now = { text, model: model || "", second, kind };
    this.onChange();
  }

  /**
   * Take what is being read from now on.
   * @param {string} text
   * @param {string | null} model
   * @param {string} second
   * @param {string} kind
   */
  press(text, model, second, kind) {
    this.change(text, model, second, kind);
    this.pressed = this.now;
  }

  /**
   * The results are now those of what was read last. On a phone they are below the window, so that a sentence at the button says so.
   * @param {HTMLElement} results
   * @param {string} model that has read the text, also where the menu had no choices yet
   */
  adopt(results, model) {
    if (this.pressed === null) return;
    if (!this.status.textContent && results.getBoundingClientRect().top > window.innerHeight - LEAST_SEEN) this.say(BELOW, false);
    this.read = { ...this.pressed, model: this.pressed.model || model };
    this.restored = null;
    const { text, ...rest } = this.read;
    tabMemory.set(READ, JSON.stringify({ ...rest, digest: digestOf(text) }));
  }

  /** Whether the controls ask for something else than what was read. */
  get isStale() {
    const { now, read, restored: before } = this;
    if (now === null) return false;
    if (read !== null) return !isSame(read, now) || read.text !== now.text;
    return before !== null && (!isSame(before, now) || before.digest !== digestOf(now.text));
  }

  /**
   * Show a sentence below the button.
   * @param {string} text
   * @param {boolean} isWrong
   */
  say(text, isWrong) {
    this.status.textContent = text;
    this.status.classList.toggle("pl-wrong", isWrong);
  }
}

/**
 * @param {Page.ReadChoices} read
 * @param {Page.ReadChoices} now whose model is empty until the menu has its choices
 * @returns {boolean}
 */
const isSame = (read, now) => (!now.model || read.model === now.model) && read.second === now.second && read.kind === now.kind;

/**
 * Return a short text that another text hardly ever has: the texts themselves may be too long for the browser's storage.
 * @param {string} text
 * @returns {string}
 */
function digestOf(text) {
  let [one, other] = [0xdeadbeef, 0x41c6ce57];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    one = Math.imul(one ^ code, 2654435761);
    other = Math.imul(other ^ code, 1597334677);
  }
  return `${text.length} ${one >>> 0} ${other >>> 0}`;
}

/** @returns {(Page.ReadChoices & { digest: string }) | null} what the last reading of this tab was of, before a reload */
function restored() {
  try {
    return JSON.parse(tabMemory.get(READ) ?? "null");
  } catch {
    return null; // written by an older page
  }
}

export const readInputs = new ReadingInputs();
