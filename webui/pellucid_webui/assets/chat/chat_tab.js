// The chat: the conversation's messages, and the field for a new one.
"use strict";

(() => {
  const { make, button, announce, memory, nameTab, nameOf, mountCodeBlocks, markWrapped, AttachedFiles, ContextNotice, Inspection, Message, VersionTree, endingOf } = window.Pellucid;

  const WAIT = "An answer is being generated: wait for it, or press Escape to stop it. Your text stays here.";
  const STALLED_MS = 15000; // without news of an answer, after which the page asks: the connection may be broken
  const NEAR_END = 80; // pixels from the bottom within which the list scrolls with new text

  /**
   * A message that was sent but is not yet in the conversation. `name` is its random id.
   * @typedef {{ name: string, place: string | null, text: string, files: Page.FileContent[] }} Letter
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
      this.seen = { notice: 0, draft: 0 };
      /** @type {Letter | null} */
      this.letter = null;
      /** @type {string | null} */
      this.place = null; // the conversation whose draft is in the field
      /** @type {string | null} */
      this.offered = null; // the last text that the server put into the field
      this.isEager = false; // whether to send the field once the server has sent the conversation
      this.heard = 0; // when something was last sent or received
      this.list = make("div", { class: "pl-messages", role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
      /** @type {Page.Inspection} */
      this.inspection = new Inspection(this, this.list);
      this.notice = make("p", { class: "pl-notice", role: "alert" });
      this.field = make("textarea", {
        class: "pl-field",
        rows: 3,
        placeholder: "Ask something. Enter sends, Shift+Enter starts a new line.",
        "aria-label": "Your message",
      });
      this.files = new AttachedFiles(element, {
        field: this.field,
        limits: () => this.value,
        refuse: (sentences) => (this.notice.textContent = sentences),
      });
      this.room = new ContextNotice(this);
      this.versions = new VersionTree(this);
      /** @type {number | null} */
      this.going = null; // the message to scroll to as soon as it is there
      this.sendButton = button("Send", { class: "pl-button pl-first", onclick: () => this.submit() }, "Enter");
      this.stopButton = button("Stop", { class: "pl-button pl-first", onclick: () => this.stop() }, "Escape");
      this.undoButton = button("Undo", { onclick: () => this.act("undo") }, "Move the last message back into the field; it is kept as a version");
      this.redoButton = button("Redo", { onclick: () => this.act("walk", { node: this.value?.redo }) }, "Show the messages that followed");
      this.attachButton = button("Attach", { onclick: () => this.files.input.click() }, "Add text files to the message");
      element.replaceChildren(
        make(
          "section",
          { class: "pl-chat", "aria-label": "Chat" },
          this.inspection.bar,
          this.inspection.stage,
          this.room.element,
          this.notice,
          this.files.element,
          this.field,
          make("div", { class: "pl-row" }, this.sendButton, this.stopButton, this.undoButton, this.redoButton, this.attachButton, this.files.input),
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
        if (document.visibilityState === "visible") this.see();
      });
      window.addEventListener("focus", () => this.see());
      document.addEventListener("pellucid-back", () => this.see());
      setInterval(() => {
        if (this.busy && !document.hidden && Date.now() - this.heard > STALLED_MS) this.see();
      }, STALLED_MS);
      watch("value", () => this.update(props.value));
      this.update(props.value);
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
      this.going = node;
      if (!this.messages.has(node)) this.act("walk", { node });
      this.arriveAt();
    }

    /** @param {Page.ChatColumn[]} columns */
    compare(columns) {
      if (this.value?.id) window.Pellucid.compareFromChat({ conversation: this.value.id, columns });
    }

    /** Scroll to the message that the user has gone to, once it is drawn. */
    arriveAt() {
      const element = this.going === null ? undefined : this.messages.get(this.going)?.element;
      if (!element) return;
      this.going = null;
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
      this.heard = Date.now();
      this.send({ verb, conversation: this.value.id, ...more });
    }

    /** Ask the server for the current state. */
    see() {
      if (this.value) this.act("see");
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

    submit() {
      this.isEager = !this.value;
      if (this.busy) this.notice.textContent = WAIT;
      const text = this.field.value;
      if (this.isEager || this.busy || (!text.trim() && !this.files.pending.length)) return;
      // The server ignores a letter that it has already received; a changed message is a new letter.
      const { letter } = this;
      const isSame = letter && letter.place === this.place && text.startsWith(letter.text) && letter.files.every((file) => this.files.pending.includes(file));
      const sent = isSame ? letter : { name: newLetter(), place: this.place, text, files: [...this.files.pending] };
      this.letter = sent;
      this.notice.textContent = "";
      this.act("send", { text: sent.text, files: sent.files, letter: sent.name });
    }

    keepDraft() {
      if (this.value) memory.set(draftOf(this.place), this.field.value);
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
      const moved = !this.value || this.value.id !== value.id;
      const wasBusy = this.busy;
      const count = this.messages.size;
      this.heard = Date.now();
      const isAtEnd = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_END;
      this.value = value;
      this.arrive(value);
      if (moved) this.move(value);
      this.drawMessages(value);
      this.room.update(value.context);
      this.inspection.update(value, [...this.messages.values()]);
      this.take(value);
      nameTab(value.title);
      const follow = isAtEnd && (this.busy || wasBusy || this.messages.size > count);
      const held = [this.sendButton, this.stopButton].some((one) => one === document.activeElement);
      this.sendButton.hidden = this.busy;
      this.stopButton.hidden = !this.busy;
      if (held) (this.busy ? this.stopButton : this.sendButton).focus();
      this.undoButton.disabled = this.busy || !value.messages.length;
      this.redoButton.hidden = value.redo === null;
      if (follow || moved || this.messages.size > count + 1) this.list.scrollTop = this.list.scrollHeight;
      this.arriveAt();
      this.versions.update(value);
      if (wasBusy && !this.busy && !moved) this.announceEnd(value);
      if (!this.busy && this.notice.textContent === WAIT) this.notice.textContent = "";
      if (early) {
        this.field.value = [this.field.value, early].filter(Boolean).join("\n\n");
        this.keepDraft();
      }
      this.files.addEarly();
      if (this.isEager) this.submit();
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
    move({ id }) {
      this.messages.clear();
      this.going = null;
      this.list.replaceChildren();
      this.place = id;
      this.field.value = memory.get(draftOf(this.place)) || "";
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
      const held = document.activeElement;
      const { border } = this.room;
      const place = [...this.list.children].filter((element) => element !== border).findIndex((element) => element.contains(held));
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
        if (next === border) next = border.nextElementSibling;
        if (next === message.element) next = next.nextElementSibling;
        else this.list.insertBefore(message.element, next);
      });
      for (const [node, message] of this.messages) {
        if (kept.has(node)) continue;
        message.forgetEdit();
        message.element.remove();
        this.messages.delete(node);
      }
      if (held && place >= 0 && !this.list.contains(held)) {
        const there = data[Math.min(place, data.length - 1)];
        if (there) this.messages.get(there.node)?.focus(nameOf(held));
        else this.field.focus();
      }
      this.list.classList.toggle("pl-empty", !data.length);
      const shown = data.map((one) => this.messages.get(one.node)?.element).filter((one) => one !== undefined);
      this.room.mark(this.value?.context ?? null, shown);
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
     * Clear the letter that has arrived from the field; text that was written since then stays the conversation's draft.
     * @param {Page.ChatValue} value
     */
    arrive({ arrived }) {
      const letter = this.letter;
      if (!arrived || !letter || arrived.letter !== letter.name) return;
      this.letter = null;
      this.files.remove(letter.files);
      const isHere = letter.place === this.place; // else the field shows the draft of another conversation
      const draft = isHere ? this.field.value : memory.get(draftOf(letter.place)) || "";
      const rest = draft.startsWith(letter.text) ? draft.slice(letter.text.length) : draft;
      memory.set(draftOf(letter.place), "");
      memory.set(draftOf(arrived.conversation), rest);
      if (isHere) this.field.value = rest;
    }

    /**
     * Show what the server sends once: a sentence, or a text for the field.
     * @param {Page.ChatValue} value
     */
    take({ notice, draft }) {
      if (notice && notice.n !== this.seen.notice) {
        this.seen.notice = notice.n;
        this.notice.textContent = notice.text;
        if (notice.text) this.letter = null; // it was refused: a corrected message is a new letter
      }
      if (draft && draft.n !== this.seen.draft) {
        this.seen.draft = draft.n;
        const written = this.field.value === this.offered ? "" : this.field.value;
        this.field.value = this.offered = [draft.text, written].filter(Boolean).join("\n\n");
        this.keepDraft();
        this.field.focus();
      }
    }
  }

  /**
   * @param {string | null} place id of a conversation
   * @returns {string} the key of its draft in `memory`
   */
  const draftOf = (place) => `draft.${place || "new"}`;

  /**
   * Return a random name for a letter, so that a letter that is sent twice is added once.
   * @returns {string}
   */
  function newLetter() {
    return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
  }

  window.Pellucid.mountChat = (options) => new Chat(options);
})();
