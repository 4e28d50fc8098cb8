// The matches of a search in the open conversation: scrolls to one, marks its words, and goes to the next and previous one.

import { make, announce } from "../shared/dom.js";
import { iconButton } from "../shared/icons.js";

const DRAWING_MS = 15000; // in which a message is drawn at the latest: long conversations need seconds
const HIGHLIGHT = "pl-match";
const BLOCKS = "p, li, td, th, h1, h2, h3, h4, h5, h6, pre, dt, dd, blockquote, figcaption, div";
const WORDS = /[\p{L}\p{N}\p{M}\p{Co}]+/gu; // as SQLite divides text into words

export class SearchMatches {
  /** @param {(node: number) => void} onGo shows the path that leads to a message */
  constructor(onGo) {
    this.onGo = onGo;
    /** @type {Page.SearchMatch | null} */
    this.match = null;
    this.hasScrolled = false; // whether the message has been scrolled to
    this.scrollUntil = 0; // the time after which a message that is drawn late is no longer scrolled to
    this.count = make("span", { class: "pl-match-count" });
    this.previous = iconButton("up", "Previous match", { onclick: () => this.step(-1) }, "Previous match (Shift+Enter in the search)");
    this.next = iconButton("down", "Next match", { onclick: () => this.step(1) }, "Next match (Enter in the search)");
    const close = iconButton("close", "Remove the marks", { onclick: () => this.clear() }, "Remove the marks (Escape)");
    this.bar = make("div", { class: "pl-match-bar", role: "group", "aria-label": "Matches of the search" }, this.count, this.previous, this.next, close);
    this.bar.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault(); // this Escape does not stop an answer
      event.stopPropagation();
      this.clear();
    });
    this.frame = 0;
    this.observer = new MutationObserver(() => {
      this.frame ||= requestAnimationFrame(() => {
        this.frame = 0;
        this.draw();
      });
    });
  }

  /** @returns {string | null} id of the conversation whose matches are shown */
  get conversation() {
    return this.match?.conversation ?? null;
  }

  /**
   * Show a match as soon as its message is drawn.
   * @param {Page.SearchMatch} match
   */
  show(match) {
    this.match = match;
    this.hasScrolled = false;
    this.scrollUntil = Date.now() + DRAWING_MS;
    const at = match.nodes.indexOf(match.node) + 1;
    this.count.textContent = `Match ${at} of ${match.nodes.length}`;
    this.previous.hidden = this.next.hidden = match.nodes.length < 2;
    announce(`Match ${at} of ${match.nodes.length}`);
    const chat = document.getElementById("pl-chat");
    if (chat) this.observer.observe(chat, { childList: true, subtree: true });
    this.draw();
  }

  /**
   * Go to the next or previous match.
   * @param {number} direction 1 or -1
   */
  step(direction) {
    if (!this.match) return;
    const { nodes, node } = this.match;
    const next = nodes.at((nodes.indexOf(node) + direction) % nodes.length);
    if (next === undefined) return;
    if (messageOf(next)) this.show({ ...this.match, node: next });
    else this.onGo(next);
  }

  clear() {
    this.match = null;
    this.observer.disconnect();
    const hadFocus = this.bar.contains(document.activeElement);
    this.bar.remove();
    document.querySelectorAll("[data-match]").forEach((element) => element.removeAttribute("data-match"));
    CSS.highlights?.delete(HIGHLIGHT);
    if (hadFocus) /** @type {HTMLElement | null} */ (document.querySelector(".pl-messages"))?.focus();
  }

  /** Mark what is drawn, and scroll to the match when it is drawn for the first time. */
  draw() {
    if (!this.match) return;
    const { node, nodes, search } = this.match;
    const list = document.querySelector("#pl-chat .pl-messages");
    if (list && !this.bar.isConnected) (list.closest(".pl-stage") ?? list).before(this.bar);
    const ranges = nodes.flatMap((one) => wordsIn(messageOf(one), search));
    if (CSS.highlights) CSS.highlights.set(HIGHLIGHT, new Highlight(...ranges));
    const message = messageOf(node);
    for (const element of document.querySelectorAll("[data-match]")) if (element !== message) element.removeAttribute("data-match");
    if (!message) return;
    message.dataset.match = "current";
    if (this.hasScrolled || Date.now() > this.scrollUntil) return;
    this.hasScrolled = true;
    scrollTo(message, wordsIn(message, search)[0]);
  }
}

/**
 * @param {number} node
 * @returns {HTMLElement | null}
 */
const messageOf = (node) => document.querySelector(`#pl-chat .pl-message[data-node="${node}"]`);

/**
 * Scroll the messages, not the page, so that a range of a message is in the upper part.
 * @param {HTMLElement} message
 * @param {Range | undefined} range
 */
function scrollTo(message, range) {
  const list = message.closest(".pl-messages");
  if (!list) return;
  const place = (range ?? message).getBoundingClientRect();
  const frame = list.getBoundingClientRect();
  list.scrollTop += place.top - frame.top - (range ? frame.height / 3 : 0);
}

/**
 * Return where the text of a message has words of a search.
 * @param {HTMLElement | null} message
 * @param {string} search
 * @returns {Range[]}
 */
function wordsIn(message, search) {
  const body = message?.querySelector(".pl-body");
  if (!body) return [];
  const wanted = search.split(/\s+/).flatMap((part) => {
    const words = [...part.matchAll(WORDS)].map(([word]) => folded(word));
    return words.map((word, index) => ({ word, isPrefix: index === words.length - 1 }));
  });
  return textRunsIn(body).flatMap((texts) => {
    const words = [...texts.map((text) => text.data).join("").matchAll(WORDS)];
    return words
      .filter(([word]) => wanted.some((one) => (one.isPrefix ? folded(word).startsWith(one.word) : folded(word) === one.word)))
      .map((found) => rangeOf(texts, found.index, found.index + found[0].length));
  });
}

/**
 * Return the text nodes of each run of text: a word may be divided by emphasis or into tokens, but not by a paragraph.
 * @param {Element} body
 * @returns {Text[][]}
 */
function textRunsIn(body) {
  /** @type {Text[][]} */
  const runs = [];
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  /** @type {Element | null | undefined} */
  let block = null;
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const around = text.parentElement?.closest(BLOCKS);
    if (around !== block || !runs.length) runs.push([]);
    runs.at(-1)?.push(/** @type {Text} */ (text));
    block = around;
  }
  return runs;
}

/**
 * @param {Text[]} texts
 * @param {number} from
 * @param {number} to
 * @returns {Range} from and to these places in the texts together
 */
function rangeOf(texts, from, to) {
  const range = document.createRange();
  let before = 0;
  for (const text of texts) {
    const end = before + text.length;
    if (before <= from && from < end) range.setStart(text, from - before);
    if (before < to && to <= end) range.setEnd(text, to - before);
    before = end;
  }
  return range;
}

/**
 * Return a word without accents and capitals, which the search ignores.
 * @param {string} word
 * @returns {string}
 */
const folded = (word) => word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
