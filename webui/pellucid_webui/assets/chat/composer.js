// The field for a new message: its drafts, attached files, and a message on its way to the server.

import { make, memory, tabMemory, typed } from "../shared/dom.js";
import { reload } from "../shared/editor.js";
import { AttachedFiles } from "./attached_files.js";

/**
 * A message that was sent but is not yet saved. Its id is random; `conversation` is null for the first one of a new conversation.
 * @typedef {{ id: string, conversation: string | null, text: string, files: Page.FileContent[] }} OutgoingMessage
 */

const OWNER_KEY = "owner"; // in `memory` and `tabMemory`: the user who wrote here last
const LOCAL = "local"; // the user of a server without keys
const TOUCH = "(pointer: coarse)"; // where Enter is the only key for a new line

export class Composer {
  /**
   * @param {HTMLElement} area where files may be dropped
   * @param {{ limits: () => Page.AttachLimits | null, refuse: (sentences: string) => void, onSubmit: () => void }} options
   */
  constructor(area, { limits, refuse, onSubmit }) {
    this.field = make("textarea", {
      class: "pl-field",
      rows: 2,
      placeholder: `Ask something.${matchMedia(TOUCH).matches ? "" : " Enter sends, Shift+Enter starts a new line."}`,
      "aria-label": "Your message",
    });
    this.files = new AttachedFiles(area, { field: this.field, limits, refuse });
    /** @type {Map<string | null, OutgoingMessage>} */
    this.outgoing = new Map(); // by conversation
    /** @type {Map<string | null, Page.FileContent[]>} */
    this.filesOf = new Map(); // the attached files of other conversations
    this.owner = tabMemory.get(OWNER_KEY) ?? memory.get(OWNER_KEY) ?? "";
    /** @type {string | null} */
    this.conversation = null; // the conversation whose draft is in the field; null for a new one
    /** @type {string | null} */
    this.filledText = null; // the text of the field after the server last filled it
    this.textBefore = ""; // of the field, before that
    /** @type {Page.FileContent[]} */
    this.filledPictures = []; // which came with the text
    this.field.value = typed.get(this.draftKey(null));
    this.isTouched = false; // whether the user has written since the draft was shown
    this.field.addEventListener("input", () => {
      this.isTouched = true;
      this.keep();
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia(TOUCH).matches) return;
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
    this.filesOf.set(this.conversation, this.files.pending);
    this.conversation = conversation;
    this.isTouched = false;
    this.field.value = typed.get(this.draftKey(conversation));
    this.files.pending = this.filesOf.get(conversation) ?? [];
    this.files.draw();
  }

  /**
   * Show the drafts of a user: several users may log in with one browser. Text that was typed before the user was known stays.
   * @param {string} owner
   */
  belongTo(owner) {
    const before = this.owner;
    this.owner = owner;
    memory.set(OWNER_KEY, owner);
    if (before && before !== owner) {
      tabMemory.change(before, owner);
      reload(); // the page's other tabs show what the user before has written
    }
    tabMemory.set(OWNER_KEY, owner);
    if (before === owner) return;
    if ((this.isTouched || !before) && this.field.value) this.keep();
    else this.field.value = typed.get(this.draftKey(this.conversation));
  }

  /**
   * @param {string | null} conversation null for a new one
   * @returns {string} the key of its draft in `typed`
   */
  draftKey(conversation) {
    return conversation === null ? `draft.new${this.owner && this.owner !== LOCAL ? `.${this.owner}` : ""}` : `draft.${conversation}`;
  }

  keep() {
    typed.set(this.draftKey(this.conversation), this.field.value);
  }

  /**
   * Put a text and pictures before what is written in a conversation.
   * @param {string} text
   * @param {string | null} conversation
   * @param {Page.FileContent[]} [pictures]
   */
  fill(text, conversation, pictures = []) {
    if (conversation !== this.conversation) {
      const key = this.draftKey(conversation);
      typed.set(key, [text, typed.get(key)].filter(Boolean).join("\n\n"));
      this.filesOf.set(conversation, [...pictures, ...(this.filesOf.get(conversation) ?? [])]);
      return;
    }
    if (this.field.value === this.filledText) this.files.remove(this.filledPictures);
    else this.textBefore = this.field.value;
    this.filledPictures = pictures;
    this.files.pending.unshift(...pictures);
    this.files.draw();
    this.field.value = this.filledText = [text, this.textBefore].filter(Boolean).join("\n\n");
    this.keep();
    this.field.focus();
  }

  /** Take back the text and the pictures of an undone message that is in the conversation again. */
  unfill() {
    if (this.field.value !== this.filledText) return;
    this.files.remove(this.filledPictures);
    this.field.value = this.textBefore;
    this.keep();
  }

  /**
   * Return the message to send. The server ignores an id that it has already received; a changed message has a new id.
   * @param {string} text
   * @returns {OutgoingMessage}
   */
  take(text) {
    const { conversation } = this;
    const files = [...this.files.pending];
    const before = this.outgoing.get(conversation) ?? this.unanswered(conversation);
    const isSame = before?.text === text && before.files.length === files.length && before.files.every((file) => files.includes(file));
    const sent = isSame ? before : { id: randomId(), conversation, text, files };
    this.outgoing.set(conversation, sent);
    typed.set(sentKey(conversation), JSON.stringify({ id: sent.id, text }));
    return sent;
  }

  /**
   * @param {string | null} conversation
   * @returns {OutgoingMessage | null} a message that was sent before the page was reloaded, without files
   */
  unanswered(conversation) {
    const kept = typed.get(sentKey(conversation));
    return kept ? { ...JSON.parse(kept), conversation, files: [] } : null;
  }

  /**
   * Forget a message that the server has refused: a corrected message is a new one.
   * @param {OutgoingMessage} sent
   */
  refuse(sent) {
    this.outgoing.delete(sent.conversation);
    typed.set(sentKey(sent.conversation), "");
  }

  /**
   * Remove a message that the server has saved. Text that was written since then stays the conversation's draft.
   * @param {OutgoingMessage} sent
   * @param {string} conversation
   */
  deliver(sent, conversation) {
    this.refuse(sent);
    const isHere = sent.conversation === this.conversation; // else the field shows the draft of another conversation
    if (isHere) this.files.remove(sent.files);
    else this.filesOf.delete(sent.conversation);
    const draft = isHere ? this.field.value : typed.get(this.draftKey(sent.conversation));
    const rest = draft.startsWith(sent.text) ? draft.slice(sent.text.length) : draft;
    typed.set(this.draftKey(sent.conversation), "");
    typed.set(this.draftKey(conversation), rest);
    if (!isHere) return;
    this.conversation = conversation;
    this.field.value = rest;
  }
}

/**
 * @param {string | null} conversation null for a new one
 * @returns {string} the key in `typed` of the message on its way
 */
const sentKey = (conversation) => `sent.${conversation ?? "new"}`;

/**
 * Return a random id for a message, so that the server adds it once even if it receives it twice.
 * @returns {string}
 */
function randomId() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}
