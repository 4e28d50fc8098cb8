// The chat: the conversation's messages, and the field for a new one.

import { compareFromChat } from "../compare/compare_from_chat.js";
import { mountCodeBlocks, markWrapped } from "../shared/code_blocks.js";
import { make, button, announce, memory, nameTab, nameOf } from "../shared/dom.js";
import { Inspection } from "../tokens/inspection.js";
import { AttachedFiles } from "./attached_files.js";
import { Message, endingOf } from "./chat_message.js";
import { ContextNotice } from "./context_notice.js";
import { VersionTree } from "./version_tree.js";

const WAIT = "An answer is being generated: wait for it, or press Escape to stop it. Your text stays here.";
const STALLED_MS = 15000; // without news of an answer, after which the page asks: the connection may be broken
const NEAR_END_PIXELS = 80; // from the bottom, within which the list scrolls with new text

/**
 * A message that was sent but is not yet saved. Its id is random; `conversation` is null for the first one of a new conversation.
 * @typedef {{ id: string, conversation: string | null, text: string, files: Page.FileContent[] }} OutgoingMessage
 */

class Chat {
  /**
   * @param {Page.Component<Page.ChatValue | null>} component
   */
  constructor({ element, props, watch, act }) {
    this.send = act;
    this.props = props;
    /** @type {Page.ChatValue | null} */
    this.value = null;
    /** @type {Map<number, Page.Message>} */
    this.messages = new Map();
    /** @type {Map<string, Page.ChatMessage>} */
    this.parsedMessages = new Map(); // by their JSON text: those of the last update
    this.lastShown = { notice: 0, draft: 0 }; // their numbers
    /** @type {OutgoingMessage | null} */
    this.outgoing = null;
    /** @type {string | null} */
    this.draftConversation = null; // the conversation whose draft is in the field; null for a new one
    /** @type {string | null} */
    this.filledText = null; // the text of the field after the server last filled it
    /** @type {string | null} */
    this.pendingText = null; // the text to send as soon as the conversation is loaded
    this.lastActivity = 0; // when something was last sent or received
    this.list = make("div", { class: "pl-messages", role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
    /** @type {Page.Inspection} */
    this.inspection = new Inspection(this, this.list);
    this.notice = make("p", { class: "pl-notice", role: "alert" });
    this.field = make("textarea", {
      class: "pl-field",
      rows: 2,
      placeholder: "Ask something. Enter sends, Shift+Enter starts a new line.",
      "aria-label": "Your message",
    });
    this.files = new AttachedFiles(element, {
      field: this.field,
      limits: () => this.value,
      refuse: (sentences) => (this.notice.textContent = sentences),
    });
    this.contextNotice = new ContextNotice(this);
    this.versions = new VersionTree(this);
    /** @type {number | null} */
    this.scrollTarget = null; // the message to scroll to as soon as it is drawn
    this.sendButton = button("Send", { class: "pl-button pl-first", onclick: () => this.submit() }, "Enter");
    this.stopButton = button("Stop", { class: "pl-button pl-first", onclick: () => this.stop() }, "Escape");
    this.undoButton = button("Undo", { onclick: () => this.act("undo") }, "Move the last message back into the field; it is kept as a version");
    this.redoButton = button("Redo", { onclick: () => this.act("selectVersion", { node: this.value?.redo }) }, "Show the messages that followed");
    this.attachButton = button("Attach", { onclick: () => this.files.input.click() }, "Add text files to the message");
    element.replaceChildren(
      make(
        "section",
        { class: "pl-chat", "aria-label": "Chat" },
        this.inspection.bar,
        this.inspection.stage,
        this.contextNotice.element,
        this.notice,
        make(
          "div",
          { class: "pl-composer" },
          this.files.element,
          this.field,
          make("div", { class: "pl-row" }, this.attachButton, this.files.input, this.undoButton, this.redoButton, this.sendButton, this.stopButton),
        ),
      ),
    );
    this.field.addEventListener("keydown", (event) => this.key(event));
    this.field.addEventListener("input", () => this.keepDraft());
    mountCodeBlocks(this.list);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.busy && !event.defaultPrevented) this.stop();
    });
    // Another tab may have continued the conversation.
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.refresh();
    });
    window.addEventListener("focus", () => this.refresh());
    document.addEventListener("pellucid-server-back", () => this.refresh());
    setInterval(() => {
      if (this.busy && !document.hidden && Date.now() - this.lastActivity > STALLED_MS) this.refresh();
    }, STALLED_MS);
    watch("value", () => this.update(props.value));
    this.update(props.value);
    if (document.activeElement === document.body) this.focusField();
  }

  /** The names of the models that can answer. */
  get models() {
    return this.value?.models ?? [];
  }

  focusField() {
    this.field.focus();
  }

  /** The messages that are shown, from the first one to the last. */
  get shown() {
    return [...this.messages.keys()];
  }

  /** @param {number} [node] */
  showVersions(node) {
    this.versions.show(node);
  }

  /**
   * Show a version of a message, and go to it.
   * @param {number} node
   */
  goTo(node) {
    this.scrollTarget = node;
    if (!this.messages.has(node)) this.act("selectVersion", { node });
    this.scrollToTarget();
  }

  /** @param {Page.ChatColumn[]} columns */
  compare(columns) {
    if (this.value?.id) compareFromChat({ conversation: this.value.id, columns });
  }

  /** Scroll to the message that the user has gone to, once it is drawn. */
  scrollToTarget() {
    const element = this.scrollTarget === null ? undefined : this.messages.get(this.scrollTarget)?.element;
    if (!element) return;
    this.scrollTarget = null;
    this.list.scrollTop += element.getBoundingClientRect().top - this.list.getBoundingClientRect().top;
    element.tabIndex = -1;
    element.focus({ preventScroll: true });
  }

  get busy() {
    return Boolean(this.value && this.value.live);
  }

  /**
   * @param {string} verb
   * @param {object} [more]
   */
  act(verb, more = {}) {
    if (this.value === null) return; // the page is still loading
    this.lastActivity = Date.now();
    this.send({ verb, conversation: this.value.id, ...more });
  }

  /** Ask the server for the current state. */
  refresh() {
    if (this.value) this.act("refresh");
  }

  /** Stop the answer that is being generated. */
  stop() {
    if (this.value?.live) this.act("stop", { node: JSON.parse(this.value.live.message).node });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.submit();
    }
  }

  submit(text = this.field.value) {
    if (!this.value) this.pendingText ??= text;
    if (this.busy) this.notice.textContent = WAIT;
    if (!this.value || this.busy || (!text.trim() && !this.files.pending.length)) return;
    // The server ignores an id that it has already received; a changed message has a new id.
    const { outgoing, draftConversation: conversation } = this;
    const isSame = outgoing && outgoing.conversation === conversation && text.startsWith(outgoing.text) && outgoing.files.every((file) => this.files.pending.includes(file));
    const sent = isSame ? outgoing : { id: randomId(), conversation, text, files: [...this.files.pending] };
    this.outgoing = sent;
    this.notice.textContent = "";
    this.act("send", { text: sent.text, files: sent.files, messageId: sent.id });
  }

  /**
   * Send what was to be sent while the page was loading. What was written since then stays in the field.
   * @param {string} early the text that was written while the page was loading
   */
  submitPending(early) {
    const pending = this.pendingText;
    this.pendingText = null;
    if (pending === null) return;
    const text = this.field.value;
    this.submit(early.startsWith(pending) ? text.slice(0, text.length - (early.length - pending.length)) : text);
  }

  keepDraft() {
    if (this.value) memory.set(draftKey(this.draftConversation), this.field.value);
  }

  /**
   * Draw a new state of the server.
   * @param {Page.ChatValue | null} value
   */
  update(value) {
    if (!value) return;
    if (value.stale) {
      location.reload(); // the server no longer knows this tab; drafts and conversations are kept
      return;
    }
    const early = this.value ? "" : this.field.value; // written while the page was loading
    const isOther = !this.value || this.value.id !== value.id;
    const wasBusy = this.busy;
    const count = this.messages.size;
    this.lastActivity = Date.now();
    const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_END_PIXELS;
    this.value = value;
    this.clearDelivered(value);
    if (isOther) this.openConversation(value);
    this.drawMessages(value);
    this.contextNotice.update(value.context);
    this.inspection.update(value, [...this.messages.values()]);
    this.showNoticeAndDraft(value);
    nameTab(value.title);
    const follow = isAtEnd && (this.busy || wasBusy || this.messages.size > count);
    const hadFocus = [this.sendButton, this.stopButton].some((one) => one === document.activeElement);
    this.sendButton.hidden = this.busy;
    this.stopButton.hidden = !this.busy;
    if (hadFocus) (this.busy ? this.stopButton : this.sendButton).focus();
    this.undoButton.disabled = this.busy || !value.messages.length;
    this.redoButton.hidden = value.redo === null;
    if (follow || isOther || this.messages.size > count + 1) this.list.scrollTop = this.list.scrollHeight;
    this.scrollToTarget();
    this.versions.update(value);
    if (wasBusy && !this.busy && !isOther) this.announceEnd(value);
    if (!this.busy && this.notice.textContent === WAIT) this.notice.textContent = "";
    if (early) {
      this.field.value = [this.field.value, early].filter(Boolean).join("\n\n");
      this.keepDraft();
    }
    this.files.addEarly();
    this.submitPending(early);
  }

  /**
   * Announce to screen readers how the answer ended.
   * @param {Page.ChatValue} value
   */
  announceEnd({ messages }) {
    const last = messages.length ? this.parsed(messages[messages.length - 1]) : null;
    if (last && last.role === "assistant") announce([last.error || endingOf(last) || "The answer is complete.", last.incomplete].filter(Boolean).join(" "));
  }

  /**
   * Show another conversation.
   * @param {Page.ChatValue} value
   */
  openConversation({ id }) {
    this.messages.clear();
    this.scrollTarget = null;
    this.list.replaceChildren();
    this.draftConversation = id;
    this.field.value = memory.get(draftKey(id)) || "";
    const url = new URL(location.href);
    if (id) url.searchParams.set("c", id);
    else url.searchParams.delete("c");
    history.replaceState(null, "", url);
  }

  /** @param {Page.ChatValue} value */
  drawMessages({ messages, live }) {
    const parsed = new Map(messages.map((text) => [text, this.parsed(text)]));
    this.parsedMessages = parsed;
    const data = [...parsed.values()];
    if (live) {
      data.push({ ...JSON.parse(live.message), blocks: live.blocks, tokens: live.tokens, stats: live.stats, live: true });
    }
    const kept = new Set();
    const focused = document.activeElement;
    const { divider } = this.contextNotice;
    const focusedAt = [...this.list.children].filter((element) => element !== divider).findIndex((element) => element.contains(focused));
    let next = this.list.firstElementChild; // where the next message should be
    data.forEach((one, index) => {
      kept.add(one.node);
      const isLast = index === data.length - 1;
      let message = this.messages.get(one.node);
      if (!message) {
        message = new Message(this, one, isLast);
        this.messages.set(one.node, message);
      } else if (message.data !== one || message.drawnBusy !== this.busy || message.isLast !== isLast) {
        message.isLast = isLast;
        message.update(one);
      }
      message.drawnBusy = this.busy;
      if (next === divider) next = divider.nextElementSibling;
      if (next === message.element) next = next.nextElementSibling;
      else this.list.insertBefore(message.element, next);
    });
    for (const [node, message] of this.messages) {
      if (kept.has(node)) continue;
      message.forgetEdit();
      message.element.remove();
      this.messages.delete(node);
    }
    if (focused && focusedAt >= 0 && !this.list.contains(focused)) {
      const nearest = data[Math.min(focusedAt, data.length - 1)];
      if (nearest) this.messages.get(nearest.node)?.focus(nameOf(focused));
      else this.field.focus();
    }
    this.list.classList.toggle("pl-empty", !data.length);
    const shown = data.map((one) => this.messages.get(one.node)?.element).filter((one) => one !== undefined);
    this.contextNotice.mark(this.value?.context ?? null, shown);
    markWrapped(this.list);
  }

  /**
   * Return the message of a JSON text: the same object for the same text.
   * @param {string} text
   * @returns {Page.ChatMessage}
   */
  parsed(text) {
    return this.parsedMessages.get(text) ?? /** @type {Page.ChatMessage} */ (JSON.parse(text));
  }

  /**
   * Remove the message that the server has saved from the field. Text that was written since then stays the conversation's draft.
   * @param {Page.ChatValue} value
   */
  clearDelivered({ delivered }) {
    const sent = this.outgoing;
    if (!delivered || !sent || delivered.id !== sent.id) return;
    this.outgoing = null;
    this.files.remove(sent.files);
    const isHere = sent.conversation === this.draftConversation; // else the field shows the draft of another conversation
    const draft = isHere ? this.field.value : memory.get(draftKey(sent.conversation)) || "";
    const rest = draft.startsWith(sent.text) ? draft.slice(sent.text.length) : draft;
    memory.set(draftKey(sent.conversation), "");
    memory.set(draftKey(delivered.conversation), rest);
    if (isHere) this.field.value = rest;
  }

  /**
   * Show a notice and put a draft into the field, each only once.
   * @param {Page.ChatValue} value
   */
  showNoticeAndDraft({ notice, draft }) {
    if (notice && notice.n !== this.lastShown.notice) {
      this.lastShown.notice = notice.n;
      this.notice.textContent = notice.text;
      if (notice.text) this.outgoing = null; // it was refused: a corrected message is a new one
    }
    if (draft && draft.n !== this.lastShown.draft) {
      this.lastShown.draft = draft.n;
      const written = this.field.value === this.filledText ? "" : this.field.value;
      this.field.value = this.filledText = [draft.text, written].filter(Boolean).join("\n\n");
      this.keepDraft();
      this.field.focus();
    }
  }
}

/**
 * @param {string | null} conversation null for a new one
 * @returns {string} the key of its draft in `memory`
 */
const draftKey = (conversation) => `draft.${conversation || "new"}`;

/**
 * Return a random id for a message, so that the server adds it once even if it receives it twice.
 * @returns {string}
 */
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}

/** @param {Page.Component<Page.ChatValue | null>} options */
export const mountChat = (options) => new Chat(options);
