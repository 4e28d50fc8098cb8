// The chat: the conversation's messages, and the field for a new one.

import { compareFromChat } from "../compare/compare_from_chat.js";
import { mountCodeBlocks, completeCodeBlocks } from "../shared/code_blocks.js";
import { make, button, announce, nameTab, nameOf } from "../shared/dom.js";
import { reload } from "../shared/editor.js";
import { mount } from "../shared/mounts.js";
import { follow, provide, publish } from "../shared/page_state.js";
import { Inspection } from "../tokens/inspection.js";
import { PICTURE_TYPES } from "./attached_files.js";
import { Message, endingOf } from "./chat_message.js";
import { ChatSettings } from "./chat_settings.js";
import { Composer } from "./composer.js";
import { ContextNotice } from "./context_notice.js";
import { ConversationFeed } from "./conversation_feed.js";
import { VersionTree } from "./version_tree.js";

const WAIT = "An answer is being generated: wait for it, or press Escape to stop it. Your text stays here.";
const UNSENT_MESSAGE = "The server does not answer, so the message was not sent. It stays here: send it again when the server is back.";
const NEAR_END_PIXELS = 80; // from the bottom, within which the list scrolls with new text
const SETTINGS_MS = 300; // without another change of the settings, after which they are saved

class Chat {
  /** @param {HTMLElement} element */
  constructor(element) {
    /** @type {Page.ChatValue | null} */
    this.value = null;
    /** @type {Map<number, Page.Message>} */
    this.messages = new Map();
    /** @type {Page.HeaderValue | null} */
    this.header = null;
    this.wasSent = true; // what was refused last; false if the server could not be reached
    /** @type {import("./composer.js").OutgoingMessage | null} */
    this.sending = null;
    /** @type {string | null} */
    this.pendingText = null; // the text to send as soon as the conversation is open
    this.settingsTimer = 0;
    /** @type {number | null} */
    this.scrollTarget = null; // the message to scroll to as soon as it is drawn
    this.notice = make("p", { class: "pl-notice", role: "alert" });
    this.feed = new ConversationFeed(new ChatSettings(() => this.keepSettings()), {
      onValue: (value, isOther) => this.update(value, isOther),
      onRefused: (sentence, status) => this.refuse(sentence, status),
      onOpened: (state) => this.opened(state),
      onGone: (sentence) => {
        const written = this.composer.field.value;
        this.open(null);
        if (written) this.composer.fill(written, null);
        this.say(sentence);
      },
      onTokens: (opened) => this.inspection.arrive(opened),
    });
    this.list = make("div", { class: "pl-messages", role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
    /** @type {Page.Inspection} */
    this.inspection = new Inspection(this, this.list);
    this.composer = new Composer(element, {
      limits: () => this.value && { ...this.value, model: this.header?.model ?? this.value.model, seesImages: this.seesImages },
      refuse: (sentences) => this.say(sentences),
      onSubmit: () => this.submit(),
    });
    this.contextNotice = new ContextNotice(this);
    this.versions = new VersionTree(this);
    this.sendButton = button("Send", { class: "pl-button pl-first", onclick: () => this.submit() }, "Enter");
    this.pictureButton = button("Add a picture", { hidden: true, onclick: () => this.composer.files.choose(PICTURE_TYPES) }, "Pictures can also be pasted, or dropped onto the chat");
    this.stopButton = button("Stop", { class: "pl-button pl-first", hidden: true, onclick: () => this.stop() }, "Escape");
    this.undoButton = button("Undo", { onclick: () => this.undo() }, "Move the last message back into the field; it is kept as a version");
    this.redoButton = button("Redo", { hidden: true, onclick: () => this.redo() }, "Show the messages that followed");
    element.replaceChildren(this.panel());
    mountCodeBlocks(this.list);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.busy && !event.defaultPrevented) this.stop();
    });
    provide("chat", (asked) => this.actFor(asked));
    follow("header", (header) => this.takeHeader(header));
    document.addEventListener("pellucid-server-back", () => this.wasSent || this.say("")); // the cause is over
    if (document.activeElement === document.body) this.focusField();
    this.open(new URL(location.href).searchParams.get("c"));
  }

  panel() {
    const { files, field } = this.composer;
    const attach = button("Attach", { onclick: () => files.choose() }, "Add text files to the message");
    const row = make("div", { class: "pl-row" }, attach, this.pictureButton, files.input, this.undoButton, this.redoButton, this.sendButton, this.stopButton);
    const composer = make("div", { class: "pl-composer" }, files.element, field, row);
    return make("section", { class: "pl-chat", "aria-label": "Chat" }, this.inspection.bar, this.inspection.stage, this.contextNotice.element, this.notice, composer);
  }

  // What parts of the chat use

  /** The names of the models that can answer. */
  get models() {
    return this.value?.models ?? [];
  }

  /** Whether the chosen model sees the pictures of messages. */
  get seesImages() {
    return Boolean(this.header?.models.find(({ name }) => name === this.header?.model)?.images);
  }

  get busy() {
    return Boolean(this.value?.live);
  }

  /** The messages that are shown, from the first one to the last. */
  get shown() {
    return [...this.messages.keys()];
  }

  focusField() {
    this.composer.field.focus();
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

  /**
   * Run an action on the messages that are shown.
   * @param {string} verb
   * @param {Record<string, any>} [more]
   */
  async act(verb, more = {}) {
    if (!this.feed.isOpen) return null; // what is shown belongs to another conversation
    this.say("");
    const result = await this.feed.act(verb, more);
    if (result?.opens) this.open(result.opens);
    return result;
  }

  /**
   * @param {string} verb
   * @param {object} more
   */
  ask(verb, more) {
    return this.feed.ask(verb, more);
  }

  /** @param {number} node */
  toggleTokens(node) {
    this.feed.toggleTokens(node);
  }

  /**
   * @param {number[]} nodes
   * @param {number | null} open
   */
  inspect(nodes, open) {
    this.feed.inspect(nodes, open);
  }

  /** @param {{ verb: "open", id: string | null } | { verb: "refresh" } | { verb: "toggleTokens", node: number } | { verb: "model", model: string } | { verb: "attach", files: File[] }} asked by another part of the page */
  actFor(asked) {
    if (asked.verb === "open") this.open(asked.id);
    else if (asked.verb === "toggleTokens") this.toggleTokens(asked.node);
    else if (asked.verb === "attach") {
      this.composer.files.add(asked.files);
      this.focusField();
    } else if (asked.verb === "model") this.feed.settings.choose(asked.model);
    else this.feed.show();
  }

  // The conversation

  /** @param {string | null} id of a conversation; null for a new one */
  open(id) {
    this.flushSettings();
    this.say("");
    this.pendingText = null;
    this.composer.open(id);
    publish("opened", id);
    this.feed.open(id);
    this.list.inert = this.value !== null && this.value.id !== id; // until the other conversation is there
    for (const one of [this.undoButton, this.redoButton, this.stopButton]) one.disabled = this.list.inert;
  }

  /**
   * Put the conversation into the page's address.
   * @param {string | null} id
   */
  nameAddress(id) {
    const url = new URL(location.href);
    if (id) url.searchParams.set("c", id);
    else url.searchParams.delete("c");
    history.replaceState(null, "", url);
  }

  /** @param {Page.ChatState} state */
  opened(state) {
    this.nameAddress(state.id);
    if (state.header) publish("header", state.header);
    if (this.feed.conversation !== this.composer.conversation) this.composer.open(this.feed.conversation);
    const pending = this.pendingText;
    this.pendingText = null;
    if (pending !== null && this.composer.field.value.startsWith(pending)) queueMicrotask(() => this.submit(pending));
  }

  /** @param {Page.HeaderValue} header */
  takeHeader(header) {
    if (this.header && this.header.owner !== header.owner) reload(); // another user has logged in
    this.header = header;
    this.pictureButton.hidden = !this.seesImages;
    this.composer.belongTo(header.owner);
  }

  keepSettings() {
    const { model } = this.feed.settings;
    if (this.header && this.header.model !== model) publish("header", { ...this.header, model });
    this.say(""); // a refusal of the settings before
    clearTimeout(this.settingsTimer);
    this.settingsTimer = setTimeout(() => this.flushSettings(), SETTINGS_MS);
  }

  flushSettings() {
    if (!this.settingsTimer) return;
    clearTimeout(this.settingsTimer);
    this.settingsTimer = 0;
    this.feed.saveSettings();
  }

  // Messages

  /** Stop the answer that is being generated. */
  stop() {
    if (this.value?.live && this.feed.isOpen) this.feed.ask("stop", { node: this.value.live.message.node });
  }

  async undo() {
    const conversation = this.value?.id ?? null;
    const found = await this.act("undo");
    if (!found) return;
    const pictures = found.pictures.map((/** @type {{ name: string, url: string }} */ { name, url }) => {
      const [type, data] = url.slice("data:".length).split(";base64,");
      return { name, data, size: (data.length / 4) * 3, type };
    });
    this.composer.fill(found.draft, conversation, pictures);
  }

  async redo() {
    if (await this.act("selectVersion", { node: this.value?.redo })) this.composer.unfill();
  }

  async submit(text = this.composer.field.value) {
    const { composer, feed } = this;
    if (!feed.isOpen) {
      if (this.pendingText === null || !text.startsWith(this.pendingText)) this.pendingText = text;
      return;
    }
    if (this.busy) this.say(WAIT);
    if (this.busy || this.sending !== null || (!text.trim() && !composer.files.pending.length)) return;
    const sent = composer.take(text);
    this.flushSettings();
    this.say("");
    this.sending = sent; // a second Enter sends nothing
    const found = await feed.act("send", { text: sent.text, files: sent.files, messageId: sent.id }, sent.conversation);
    this.sending = null;
    if (found) {
      composer.deliver(sent, found.conversation);
      if (feed.conversation !== found.conversation) return;
      this.nameAddress(found.conversation);
      if (sent.conversation === null) publish("opened", found.conversation);
    } else if (this.wasSent) composer.refuse(sent);
    else if (feed.conversation === sent.conversation) this.say(UNSENT_MESSAGE);
  }

  /**
   * @param {string} sentence
   * @param {number} status 0 if the server could not be reached
   */
  refuse(sentence, status) {
    this.wasSent = status !== 0;
    const isKnown = !this.wasSent && this.notice.textContent === UNSENT_MESSAGE; // which says more
    if (!isKnown) this.say(sentence);
  }

  /** @param {string} sentence */
  say(sentence) {
    if (this.notice.textContent !== sentence) this.notice.textContent = sentence;
  }

  /**
   * Draw a new value.
   * @param {Page.ChatValue} value
   * @param {boolean} isOther whether another conversation is shown than before
   */
  update(value, isOther) {
    const wasBusy = this.busy;
    const count = this.messages.size;
    const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_END_PIXELS;
    this.value = value;
    this.composer.files.addEarly(); // the limits of files are known now
    if (isOther) this.clear();
    this.drawMessages(value);
    this.contextNotice.update(value.context);
    this.inspection.update(value, [...this.messages.values()]);
    nameTab(value.title);
    const staysAtEnd = isAtEnd && (this.busy || wasBusy || this.messages.size > count);
    const hadFocus = [this.sendButton, this.stopButton].some((one) => one === document.activeElement);
    this.sendButton.hidden = this.busy;
    this.stopButton.hidden = !this.busy;
    if (hadFocus) (this.busy ? this.stopButton : this.sendButton).focus();
    const { inert } = this.list; // more of the conversation before may still come while another opens
    this.undoButton.disabled = inert || this.busy || !value.messages.length;
    this.redoButton.hidden = value.redo === null;
    this.redoButton.disabled = this.stopButton.disabled = inert;
    if (staysAtEnd || isOther || this.messages.size > count + 1) this.list.scrollTop = this.list.scrollHeight;
    this.scrollToTarget();
    this.versions.update();
    if (wasBusy && !this.busy && !isOther) announceEnd(value);
    if (!this.busy && this.notice.textContent === WAIT) this.say("");
    publish("chat", value);
  }

  /** Remove the messages of another conversation. */
  clear() {
    this.messages.clear();
    this.scrollTarget = null;
    this.list.replaceChildren();
    this.list.inert = false;
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

  /** @param {Page.ChatValue} value */
  drawMessages({ messages, live }) {
    const data = [...messages];
    if (live) data.push({ ...live.message, text: "", asTokens: this.feed.asTokens.has(live.message.node), blocks: live.blocks, tokens: live.tokens, stats: live.stats, reasoning: live.reasoning, live: true });
    const kept = new Set();
    const focused = document.activeElement;
    const { divider } = this.contextNotice;
    const focusedAt = [...this.list.children].filter((element) => element !== divider).findIndex((element) => element.contains(focused));
    let next = this.list.firstElementChild; // where the next message should be
    let afterPictures = false;
    data.forEach((one, index) => {
      kept.add(one.node);
      const isLast = index === data.length - 1;
      let message = this.messages.get(one.node);
      if (!message) {
        message = new Message(this, one, isLast, afterPictures);
        this.messages.set(one.node, message);
      } else if (message.data !== one || message.drawnBusy !== this.busy || message.isLast !== isLast) {
        message.isLast = isLast;
        message.update(one);
      }
      message.drawnBusy = this.busy;
      afterPictures ||= Boolean(one.pictures?.length);
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
      else this.focusField();
    }
    this.list.classList.toggle("pl-empty", !data.length);
    const shown = data.map((one) => this.messages.get(one.node)?.element).filter((one) => one !== undefined);
    this.contextNotice.mark(this.value?.context ?? null, shown);
    completeCodeBlocks(this.list);
  }
}

/**
 * Announce to screen readers how the answer ended.
 * @param {Page.ChatValue} value
 */
function announceEnd({ messages }) {
  const last = messages.at(-1);
  if (last?.role === "assistant") announce([last.error || endingOf(last) || "The answer is complete.", last.incomplete].filter(Boolean).join(" "));
}

mount("pl-chat", (element) => new Chat(element));
