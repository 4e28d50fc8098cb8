// The field for a new message: its drafts, attached files, and a message on its way to the server.

import { make, memory } from "../shared/dom.js";
import { AttachedFiles } from "./attached_files.js";

/**
 * A message that was sent but is not yet saved. Its id is random; `conversation` is null for the first one of a new conversation.
 * @typedef {{ id: string, conversation: string | null, text: string, files: Page.FileContent[], isDelivered?: boolean }} OutgoingMessage
 */

export class Composer {
  /**
   * @param {HTMLElement} area where files may be dropped
   * @param {{ limits: () => Page.AttachLimits | null, refuse: (sentences: string) => void, onSubmit: () => void }} options
   */
  constructor(area, { limits, refuse, onSubmit }) {
    this.field = make("textarea", {
      class: "pl-field",
      rows: 2,
      placeholder: "Ask something. Enter sends, Shift+Enter starts a new line.",
      "aria-label": "Your message",
    });
    this.files = new AttachedFiles(area, { field: this.field, limits, refuse });
    /** @type {OutgoingMessage | null} */
    this.outgoing = null;
    /** @type {string | null} */
    this.conversation = null; // the conversation whose draft is in the field; null for a new one
    /** @type {string | null} */
    this.filledText = null; // the text of the field after the server last filled it
    this.field.value = memory.get(draftKey(null)) || "";
    this.field.addEventListener("input", () => this.keep());
    this.field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      onSubmit();
    });
  }

  /**
   * Show the draft of another conversation: what is typed from now on belongs to it.
   * @param {string | null} conversation
   */
  open(conversation) {
    if (conversation === this.conversation) return;
    this.conversation = conversation;
    this.field.value = memory.get(draftKey(conversation)) || "";
  }

  keep() {
    memory.set(draftKey(this.conversation), this.field.value);
  }

  /**
   * Put a text before what is written.
   * @param {string} text
   */
  fill(text) {
    const written = this.field.value === this.filledText ? "" : this.field.value;
    this.field.value = this.filledText = [text, written].filter(Boolean).join("\n\n");
    this.keep();
    this.field.focus();
  }

  /**
   * Return the message to send. The server ignores an id that it has already received; a changed message has a new id.
   * @param {string} text
   * @returns {OutgoingMessage}
   */
  take(text) {
    const { outgoing, conversation } = this;
    const isSame = outgoing && outgoing.conversation === conversation && text.startsWith(outgoing.text) && outgoing.files.every((file) => this.files.pending.includes(file));
    this.outgoing = isSame ? outgoing : { id: randomId(), conversation, text, files: [...this.files.pending] };
    return this.outgoing;
  }

  /** Forget a message that the server has refused: a corrected message is a new one. */
  refuse() {
    this.outgoing = null;
  }

  /**
   * Remove a message that the server has saved. Text that was written since then stays the conversation's draft.
   * @param {OutgoingMessage} sent
   * @param {string} conversation
   */
  deliver(sent, conversation) {
    if (sent.isDelivered) return; // Enter was pressed twice
    sent.isDelivered = true;
    if (this.outgoing === sent) this.outgoing = null;
    this.files.remove(sent.files);
    const isHere = sent.conversation === this.conversation; // else the field shows the draft of another conversation
    const draft = isHere ? this.field.value : memory.get(draftKey(sent.conversation)) || "";
    const rest = draft.startsWith(sent.text) ? draft.slice(sent.text.length) : draft;
    memory.set(draftKey(sent.conversation), "");
    memory.set(draftKey(conversation), rest);
    if (!isHere) return;
    this.conversation = conversation;
    this.field.value = rest;
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
