// What the model sees of a conversation that is longer than its context, and what can be done about it.

import { make, button } from "../shared/dom.js";

export class ContextNotice {
  /** @param {Page.Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.text = make("p", { class: "pl-context-text" });
    this.choices = make("div", { class: "pl-row", role: "group", "aria-label": "How to continue" });
    this.element = make("div", { class: "pl-context-notice", role: "status", hidden: true }, this.text, this.choices);
    this.summary = make("div", { class: "pl-summary-text", tabindex: "0", role: "region", "aria-label": "Summary of the messages above" });
    this.details = make("details", {}, make("summary", {}, "Summary that the model reads instead, written by the model"), this.summary);
    this.regenerateWithAll = button("Regenerate with all messages", {}, "The context of this model has room for all of them");
    this.unseen = make("p", {});
    this.divider = make("div", { class: "pl-context-divider", role: "note" }, this.unseen, this.details, this.regenerateWithAll);
    this.drawnNotice = ""; // JSON of what the notice and its buttons show
    this.drawnDivider = ""; // JSON of what the divider and the dimmed messages show
    /** @type {HTMLElement | null} */
    this.firstSeen = null; // the first message that the model sees, if it does not see all
  }

  /** @param {Page.ContextState | null} context */
  update(context) {
    const notice = context && context.notice;
    const state = JSON.stringify([notice, this.chat.busy]);
    if (state === this.drawnNotice) return;
    this.drawnNotice = state;
    this.element.hidden = !notice;
    this.element.classList.toggle("pl-full", Boolean(notice?.isFull));
    this.text.textContent = notice ? notice.text : "";
    const hadFocus = this.choices.contains(document.activeElement);
    this.choices.replaceChildren(...(notice && notice.canDrop && !this.chat.busy ? this.buttons(notice) : []));
    this.choices.hidden = !this.choices.children.length;
    if (hadFocus) this.chat.focusField();
  }

  /**
   * @param {Page.ContextWarning} notice
   * @returns {HTMLElement[]}
   */
  buttons({ action }) {
    /** @param {() => void} act */
    const disableThen = (act) => () => {
      for (const one of this.choices.querySelectorAll("button")) one.disabled = true; // until the server has answered
      act();
    };
    /** @param {string} remedy */
    const repeat = (remedy) => disableThen(() => action && this.chat.act(action.verb, { ...action, remedy }));
    return [
      button("Leave out the oldest messages", { class: "pl-button pl-first", onclick: repeat("drop") }, "The model reads the newest messages that fit; the others stay in the conversation"),
      button("Summarise them", { onclick: repeat("summarise") }, "The model reads its own summary instead of the oldest messages"),
      button("Continue in a new conversation", { onclick: disableThen(() => this.chat.act("fork")) }, "Copies the newest messages that fit; this conversation stays as it is"),
    ];
  }

  /**
   * Dim the messages that the model no longer sees, and separate them from the others.
   * @param {Page.ContextState | null} context
   * @param {HTMLElement[]} elements of all messages, in order
   */
  mark(context, elements) {
    const begins = context ? context.begins : null;
    const last = elements[elements.length - 1];
    const state = JSON.stringify([begins, elements.length, last?.dataset.node, context?.summary, context?.fits, this.chat.busy]);
    if (state === this.drawnDivider && this.divider.nextElementSibling === this.firstSeen) return;
    this.drawnDivider = state;
    const first = (this.firstSeen = begins === null ? null : (elements.find((one) => one.dataset.node === String(begins)) ?? null));
    const seen = first ? elements.indexOf(first) : 0;
    elements.forEach((one, index) => one.toggleAttribute("data-unseen", index < seen));
    if (!first || !context) {
      this.divider.remove();
      return;
    }
    first.before(this.divider);
    const messages = seen === 1 ? "message" : `${seen} messages`;
    this.unseen.textContent = `The model no longer sees the ${messages} above: a quarter of its context is kept free for answers.`;
    this.details.hidden = !context.summary;
    this.summary.textContent = context.summary;
    const isAnswer = Boolean(last?.classList.contains("pl-assistant"));
    this.regenerateWithAll.hidden = !isAnswer || !context.fits || this.chat.busy;
    this.regenerateWithAll.onclick = () => this.chat.act("retry", { node: Number(last?.dataset.node), remedy: "all" });
  }
}
