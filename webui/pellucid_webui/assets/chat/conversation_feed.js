// What this tab knows of the conversation that it shows: the state from the server, the answer that grows, and opened tokens.

import { call } from "../shared/wire.js";
import { chatSettings } from "./chat_settings.js";

const STALLED_MS = 15000; // without an event of a running answer, after which the tab asks again: the connection may be broken
const NOT_FOUND = 404;
const SERVER_ERROR = 500;
const RETRY_MS = 1000; // between the loss of a connection and the next request

/** A finished message, and what the tab has added to it. */
/** @typedef {{ text: string, base: Page.ChatMessage, tokens: Page.Batch[] | undefined, marks: Page.Marks | undefined, data: Page.ChatMessage }} KnownMessage */

/**
 * @typedef {object} FeedListeners
 * @property {(value: Page.ChatValue, isOther: boolean) => void} onValue shows a new value
 * @property {(sentence: string, status: number) => void} onRefused the status is 0 if the server could not be reached
 * @property {(state: Page.ChatState) => void} onOpened after the first state of a conversation
 * @property {(sentence: string) => void} onGone when the conversation no longer exists
 * @property {(opened: Page.OpenedTokens) => void} onTokens
 */

export class ConversationFeed {
  /**
   * @param {import("./chat_settings.js").ChatSettings} settings
   * @param {FeedListeners} listeners
   */
  constructor(settings, listeners) {
    this.settings = settings;
    this.listeners = listeners;
    /** @type {string | null} */
    this.conversation = null; // the conversation that was chosen last; null for a new one
    this.isOpen = false; // whether its state has arrived
    this.number = 0; // of the last request for a state
    /** @type {Page.ChatState | null} */
    this.state = null; // what is shown
    /** @type {Page.LiveAnswer | null} */
    this.live = null;
    /** @type {AbortController | null} */
    this.stream = null;
    this.lastEvent = 0; // when something of the running answer came
    /** @type {Map<number, KnownMessage>} */
    this.known = new Map();
    /** @type {Set<number>} */
    this.asTokens = new Set(); // messages that are shown as tokens
    /** @type {Map<number, Page.Batch[]>} */
    this.tokens = new Map();
    /** @type {Map<number, Page.Marks>} */
    this.marks = new Map();
    // Another tab may have continued the conversation.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.show();
      else this.stream?.abort(); // browsers allow six connections to a server, for all tabs
    });
    window.addEventListener("focus", () => this.show());
    document.addEventListener("pellucid-server-back", () => this.show());
    setInterval(() => {
      if (this.live && !document.hidden && Date.now() - this.lastEvent > STALLED_MS) this.restart();
    }, STALLED_MS);
  }

  /**
   * Open a conversation, or a new one.
   * @param {string | null} id
   */
  open(id) {
    this.conversation = id;
    this.isOpen = false;
    this.stream?.abort();
    return this.show();
  }

  /** Ask the server for the state of the conversation, and for its settings if it is being opened. */
  async show() {
    const { conversation, isOpen } = this;
    const number = (this.number += 1);
    const { edits } = this.settings;
    let refusal = "";
    let status = 0;
    /** @type {Page.ChatState | null} */
    let state = null;
    const asked = { verb: "show", conversation, opens: !isOpen, model: this.settings.model };
    await call("chat", asked, (/** @type {Page.ChatState} */ found) => (state = found), { onRefused: (sentence, code) => ([refusal, status] = [sentence, code]) });
    if (number !== this.number) return;
    if (state !== null) this.receive(state, edits);
    else if (status === NOT_FOUND && conversation !== null) this.listeners.onGone(refusal); // deleted, for example
    else if (status) this.listeners.onRefused(refusal, status);
    else setTimeout(() => number === this.number && !this.isOpen && this.show(), RETRY_MS);
  }

  /**
   * @param {Page.ChatState} state
   * @param {number} edits of the settings before the request
   */
  receive(state, edits) {
    const isOther = this.state === null || this.state.id !== state.id;
    if (isOther) [this.known, this.asTokens, this.tokens, this.marks].forEach((one) => one.clear());
    this.state = state;
    const node = state.live?.node;
    if (this.live?.message.node !== node) this.follow(state.live);
    else if (state.live && !this.stream) this.follow(state.live);
    if (!this.isOpen) {
      this.isOpen = true;
      if (state.header && (isOther || edits === this.settings.edits)) this.settings.show(state.settings ?? null, state.header.menu);
      this.listeners.onOpened(state);
    }
    this.publish(isOther);
    for (const shown of this.asTokens) if (shown !== node && !this.tokens.has(shown)) this.loadTokens(shown);
  }

  /** @param {boolean} [isOther] whether another conversation is shown than before */
  publish(isOther = false) {
    const { state } = this;
    if (!state) return;
    const messages = state.messages.map((text) => this.message(text));
    this.listeners.onValue({ ...state, messages, live: this.live }, isOther);
  }

  /**
   * Return a finished message: the same object until something in it changes.
   * @param {string} text JSON
   * @returns {Page.ChatMessage}
   */
  message(text) {
    const node = Number(/"node": (\d+)/.exec(text)?.[1]);
    const before = this.known.get(node);
    const base = before?.text === text ? before.base : /** @type {Page.ChatMessage} */ (JSON.parse(text));
    const tokens = this.asTokens.has(node) ? this.tokens.get(node) : undefined;
    const marks = this.marks.get(node);
    if (before && before.base === base && before.tokens === tokens && before.marks === marks) return before.data;
    const data = { ...base, asTokens: tokens !== undefined, tokens, marks };
    this.known.set(node, { text, base, tokens, marks, data });
    return data;
  }

  // The running answer

  /** @param {Page.ChatMessage | null} message an answer that is being generated */
  follow(message) {
    this.stream?.abort();
    this.stream = null;
    if (message === null) {
      this.live = null;
      return;
    }
    if (this.live?.message.node !== message.node) {
      this.live = { message, blocks: [], tokens: [], stats: "", use: null, reasoning: "" };
    }
    this.read(message.node);
  }

  /** Follow the running answer over another connection. */
  restart() {
    if (this.live) this.follow(this.live.message);
  }

  /** @param {number} node */
  async read(node) {
    if (document.hidden) return; // show() follows the answer once the tab is seen
    const controller = (this.stream = new AbortController());
    const withTokens = this.asTokens.has(node);
    const asked = { conversation: this.state?.id, node, after: this.live?.tokens.length ?? 0, tokens: withTokens };
    this.lastEvent = Date.now();
    const onRefused = () => {};
    const isWhole = await call("turn", asked, (/** @type {Page.TurnEvent} */ event) => this.stream === controller && this.grow(event), { signal: controller.signal, onRefused });
    if (this.stream !== controller) return;
    this.stream = null;
    if (document.hidden) return;
    if (isWhole) await this.show();
    else setTimeout(() => this.stream === null && this.show(), RETRY_MS);
  }

  /** @param {Page.TurnEvent} event */
  grow(event) {
    const { live } = this;
    this.lastEvent = Date.now();
    if (!live) return;
    if (event.end) {
      // Otherwise the answer ended before all of its tokens came, and they are loaded.
      if (this.asTokens.has(live.message.node) && event.n === live.tokens.length) this.tokens.set(live.message.node, live.tokens);
      if (event.error) this.listeners.onRefused(event.error, SERVER_ERROR);
      return;
    }
    const tokens = event.tokens?.length ? [...live.tokens, ...event.tokens] : live.tokens;
    const reasoning = (event.begins ? "" : live.reasoning) + event.reasoning;
    this.live = { ...live, blocks: [...live.blocks.slice(0, event.keep), ...event.blocks], tokens, stats: event.stats, use: event.use, reasoning };
    this.publish();
  }

  // Actions

  /**
   * Run an action in the conversation that is shown, and show the result.
   * @param {string} verb
   * @param {Record<string, any>} [more]
   * @param {string | null} [conversation]
   * @returns {Promise<Record<string, any> | null>} the result; null if the server refused or could not be reached
   */
  async act(verb, more = {}, conversation = this.state?.id ?? null) {
    const settings = await chatSettings();
    const result = await this.ask(verb, { settings, ...more }, conversation);
    if (result === null) return null;
    if (!result.opens && conversation === this.conversation) {
      if (conversation === null && result.conversation) this.conversation = result.conversation;
      if (result.node !== undefined && verb !== "edit" && this.asTokens.has(more.node)) this.asTokens.add(result.node);
      await this.show();
    }
    return result;
  }

  /**
   * Ask for something of a conversation that does not change it.
   * @param {string} verb
   * @param {object} more
   * @param {string | null} [conversation]
   * @returns {Promise<Record<string, any> | null>}
   */
  async ask(verb, more, conversation = this.state?.id ?? null) {
    /** @type {Record<string, any> | null} */
    let result = null;
    /** @type {(sentence: string, status: number) => void} */
    const onRefused = (sentence, status) => {
      if (conversation === this.conversation) this.listeners.onRefused(sentence, status);
    };
    await call("chat", { verb, conversation, ...more }, (/** @type {Record<string, any>} */ found) => (result = found), { onRefused });
    return result;
  }

  /** Save changed settings with the conversation. */
  async saveSettings() {
    const { conversation } = this;
    if (conversation !== null && this.isOpen) await call("chat", { verb: "settings", conversation, settings: await chatSettings() }, () => {}, { onRefused: () => {} });
  }

  /**
   * Show a message as tokens, or as text again.
   * @param {number} node
   */
  async toggleTokens(node) {
    const isLive = this.live?.message.node === node;
    if (this.asTokens.delete(node)) this.publish();
    else if (isLive) {
      this.asTokens.add(node);
      this.restart();
    } else {
      this.asTokens.add(node);
      if (this.tokens.has(node)) this.publish();
      else await this.loadTokens(node);
    }
  }

  /** @param {number} node a message to show as tokens */
  async loadTokens(node) {
    const { state } = this;
    const found = await this.ask("tokens", { node });
    if (state?.id !== this.state?.id) return;
    if (found) this.tokens.set(node, found.tokens);
    else this.asTokens.delete(node);
    this.publish();
  }

  /**
   * Ask for the places of the tokens of answers, and for the tokens of an answer.
   * @param {number[]} nodes
   * @param {number | null} open
   */
  async inspect(nodes, open) {
    const { state } = this;
    const found = await this.ask("inspect", { nodes, open });
    if (!found || state?.id !== this.state?.id) return;
    for (const [node, marks] of Object.entries(found.marks)) this.marks.set(Number(node), marks);
    this.publish();
    if (found.opened) this.listeners.onTokens(found.opened);
  }
}
