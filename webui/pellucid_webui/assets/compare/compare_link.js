// The link that fills in the form of Compare.

import { openTab } from "../shared/dom.js";
import { isChat } from "./compare_from_chat.js";

export const LETTERS = ["A", "B", "C", "D"];
export const LEAST = 2; // columns
const MAX_LINK = 16000; // characters after the "#": browsers and chats keep links of this length
const PREFIX = "#compare=";

/** @type {Page.CompareSettings} */
export const EMPTY = { model: "", system: "", temperature: 0, top_p: 1, top_k: 0, min_p: 0, seed: null, max_tokens: 128, answer: null, pictures: true };

/**
 * Return the link that fills in the form. What is after the "#" stays in the browser. Throws RangeError if it is too long.
 * @param {Page.CompareFormValue} form
 * @returns {string}
 */
export function toLink(form) {
  const bytes = new TextEncoder().encode(JSON.stringify(form));
  const code = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const length = PREFIX.length + code.length;
  if (length > MAX_LINK) throw new RangeError(`This form is too long for a link (${length} of at most ${MAX_LINK} characters): shorten its texts.`);
  return location.href.replace(/#.*$/su, "") + PREFIX + code;
}

/**
 * Return the form of a link; null if the address has none. Throws RangeError for a broken one.
 * @param {string} hash the address from its "#"
 * @returns {Page.CompareFormValue | null}
 */
export function fromLink(hash) {
  if (!hash.startsWith(PREFIX)) return null;
  try {
    if (hash.length > MAX_LINK) throw new RangeError("it is too long");
    const code = atob(hash.slice(PREFIX.length).replaceAll("-", "+").replaceAll("_", "/"));
    const text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(code, (character) => character.charCodeAt(0)));
    const form = JSON.parse(text);
    if (!isForm(form)) throw new RangeError("it is incomplete");
    return form;
  } catch {
    throw new RangeError("This link to a comparison is broken, so the form was not filled in: copy the whole link again.");
  }
}

/**
 * @param {any} form
 * @returns {form is Page.CompareFormValue}
 */
export function isForm(form) {
  const isObject = form !== null && typeof form === "object";
  if (!isObject || typeof form.prompt !== "string" || typeof form.reference !== "string" || !Array.isArray(form.columns)) return false;
  if (form.seeds !== undefined && !Number.isSafeInteger(form.seeds)) return false;
  if (form.columns.length < LEAST || form.columns.length > LETTERS.length || !isChat(form.chat)) return false;
  return form.columns.every(
    (/** @type {any} */ column) =>
      column !== null &&
      typeof column === "object" &&
      Object.keys(column).every((name) => name in EMPTY) &&
      ["model", "system"].every((name) => typeof column[name] === "string") &&
      ["temperature", "top_p", "min_p", "top_k", "max_tokens"].every((name) => Number.isFinite(column[name])) &&
      [column.seed, column.answer ?? null].every((one) => one === null || Number.isSafeInteger(one)),
  );
}

/** Open the tab of a comparison whose link was followed, as soon as the page has it. */
export function openTabOfLink() {
  if (!location.hash.startsWith(PREFIX)) return;
  const watcher = new MutationObserver(() => openTab("Compare") && watcher.disconnect());
  if (!openTab("Compare")) watcher.observe(document.documentElement, { childList: true, subtree: true });
}
