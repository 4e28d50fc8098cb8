// The chat: messages with their versions, each of which can be shown as tokens, and the field for a new message.
"use strict";

(() => {
  const { make, button, announce, copy, contentOf, memory, nameTab, AnswerTree } = window.Pellucid;

  /** @type {Record<string, string>} */
  const ROLES = { user: "You", assistant: "Answer" };
  /** @type {Record<string, string>} */
  const ENDINGS = {
    length: "Stopped at the token limit.",
    cancelled: "Stopped.",
    deadline: "Stopped at the deadline.",
    error: "Failed.",
    "": "Interrupted: the server stopped before the answer was complete.",
  };
  const WAIT = "An answer is being generated: wait for it, or press Escape to stop it. Your text stays here.";
  const STALLED_MS = 15000; // without news of an answer, after which the page asks: the connection may be broken
  const CACHED = 2000; // parsed messages
  const NEAR_END = 80; // pixels from the bottom within which the list scrolls with new text

  /**
   * A message that was sent but is not yet in the conversation. `name` is its random id.
   * @typedef {{ name: string, place: string | null, text: string, files: Page.FileContent[] }} Letter
   */

  class Message {
    /**
     * @param {Chat} chat
     * @param {Page.ChatMessage} data
     * @param {boolean} isLast
     */
    constructor(chat, data, isLast) {
      this.chat = chat;
      this.data = data;
      this.isLast = isLast;
      /** @type {boolean | null} */
      this.drawnBusy = null; // whether the chat was busy when the tools were drawn
      /** @type {string | null} */
      this.toolState = null;
      this.body = make("div", { class: "pl-body" });
      this.tools = make("div", { class: "pl-tools", role: "toolbar", "aria-label": "Message actions" });
      this.head = make("header", { class: "pl-head" });
      this.note = make("p", { class: "pl-note" });
      this.trees = make("div", { class: "pl-trees" });
      /** @type {Page.TreeData[] | null} */
      this.drawnTrees = null;
      /** @type {[number, number] | null} */
      this.chosen = null; // the tokens to mark once they are shown
      this.element = make("article", { class: "pl-message" }, this.head, this.body, this.trees, this.note, this.tools);
      /** @type {Page.HeatMap | null} */
      this.map = null;
      /** @type {string[]} */
      this.drawn = [];
      /** @type {Page.Batch[]} */
      this.tokens = [];
      this.update(data);
    }

    /**
     * Draw what has changed.
     * @param {Page.ChatMessage} data
     */
    update(data) {
      this.data = data;
      this.element.className = `pl-message pl-${data.role}`;
      this.element.dataset.node = String(data.node);
      this.element.setAttribute("aria-label", ROLES[data.role] || data.role);
      this.element.setAttribute("aria-busy", String(Boolean(data.live)));
      if (data.looked) this.drawTokens();
      else this.drawText();
      this.drawHead();
      this.drawTrees();
      this.drawNote();
      const state = JSON.stringify([data.versions, data.live, data.looked, data.role, this.isLast, this.chat.busy]);
      if (state !== this.toolState) this.drawTools();
      this.toolState = state;
    }

    drawText() {
      if (this.map) this.closeMap(this.map);
      const blocks = this.data.blocks;
      while (this.body.children.length > blocks.length) this.body.lastElementChild?.remove();
      blocks.forEach((html, index) => {
        if (this.drawn[index] === html && this.body.children[index]) return;
        const block = make("div", { class: "pl-block", dir: "auto" });
        block.innerHTML = html; // the server's own Markdown, without any HTML of the author
        const old = this.body.children[index];
        if (old) old.replaceWith(block);
        else this.body.append(block);
      });
      this.drawn = [...blocks];
    }

    drawTokens() {
      const map = this.map ?? this.openMap();
      const branches = this.data.role === "assistant" && !this.data.live;
      map.onBranch = branches ? (index, alternative) => this.chat.act("branch", { node: this.data.node, index, alternative }) : null;
      const batches = this.data.tokens || [];
      if (batches.length < this.tokens.length || (this.tokens.length && batches[0] !== this.tokens[0])) {
        map.set(batches.flatMap((batch) => JSON.parse(batch)));
      } else if (batches.length > this.tokens.length) {
        const fresh = batches.slice(this.tokens.length).flatMap((batch) => JSON.parse(batch));
        if (this.tokens.length) map.add(fresh);
        else map.set(fresh);
      }
      this.tokens = [...batches];
      if (this.chosen) map.markRange(...this.chosen);
      this.chosen = null;
    }

    drawTrees() {
      const trees = this.data.trees ?? null;
      if (JSON.stringify(trees) === JSON.stringify(this.drawnTrees)) return;
      this.drawnTrees = trees;
      this.trees.replaceChildren(...(trees ?? []).map((tree) => new AnswerTree(tree, (tokens) => this.showTokens(tokens)).element));
    }

    /**
     * Mark tokens in the heat map; show it first if the message is shown as text.
     * @param {[number, number]} tokens
     */
    showTokens(tokens) {
      const [from, to] = tokens;
      announce(to - from > 1 ? `Tokens ${from + 1} to ${to} are marked.` : `Token ${to} is marked.`);
      if (this.map) {
        this.map.markRange(from, to);
        return;
      }
      this.chosen = tokens;
      this.chat.act("look", { node: this.data.node });
    }

    /** @returns {Page.HeatMap} */
    openMap() {
      this.body.replaceChildren();
      this.drawn = [];
      this.tokens = [];
      const label = this.data.role === "assistant" ? "Tokens of the answer" : "Tokens of the message, as the model reads them";
      const map = new window.Pellucid.HeatMap(this.body, { label });
      this.map = map;
      if (this.data.sampling) map.setSampling(this.data.sampling);
      return map;
    }

    /** @param {Page.HeatMap} map */
    closeMap(map) {
      map.destroy();
      this.map = null;
      this.body.replaceChildren();
      this.drawn = [];
      this.tokens = [];
    }

    drawHead() {
      const { data } = this;
      this.head.replaceChildren(make("strong", {}, ROLES[data.role] || data.role), make("span", { class: "pl-quiet" }, data.about || ""));
    }

    drawNote() {
      const { data } = this;
      const sentences = [];
      if (data.error) sentences.push(data.error);
      else if (!data.live && data.role === "assistant" && data.end !== "stop") sentences.push(ENDINGS[data.end || ""] || "");
      if (data.incomplete) sentences.push(data.incomplete);
      if (data.idle) sentences.push("The model added nothing.");
      if (data.stats) sentences.push(data.stats);
      this.note.textContent = sentences.filter(Boolean).join(" ");
      this.note.classList.toggle("pl-wrong", Boolean(data.error || data.incomplete));
    }

    drawTools() {
      const { data, chat } = this;
      const node = data.node;
      const answer = data.role === "assistant";
      const idle = !chat.busy;
      const tools = [];
      if (data.versions.length > 1) tools.push(...this.versionTools());
      if (!data.live) tools.push(button("Copy", { onclick: (event) => copy(data.text, event.currentTarget) }, "Copy the text"));
      tools.push(
        button(
          data.looked ? "Text" : "Tokens",
          { "aria-pressed": String(Boolean(data.looked)), class: "pl-button pl-look", onclick: () => chat.act("look", { node }) },
          data.looked ? "Show the text again" : "Show every token with its probability",
        ),
      );
      if (idle && !data.live) {
        tools.push(button("Edit", { class: "pl-button pl-edit-button", onclick: () => this.edit() }, answer ? "Write another version of this answer" : "Edit and resend (the old version is kept)"));
        if (answer) {
          tools.push(
            button("Retry", { onclick: () => chat.act("retry", { node }) }, "Generate another version of this answer"),
            button("Continue", { onclick: () => chat.act("resume", { node }) }, "Continue the answer where it ended"),
          );
        } else if (this.isLast) {
          tools.push(button("Answer", { onclick: () => chat.act("retry", { node }) }, "Generate an answer to this message"));
        }
      }
      const held = this.tools.contains(document.activeElement) ? nameOf(/** @type {Element} */ (document.activeElement)) : null;
      this.tools.replaceChildren(...tools);
      if (held !== null) this.focus(held);
    }

    /**
     * Focus the tool of this name, else the one that every message has.
     * @param {string | null} name
     */
    focus(name) {
      const tools = /** @type {HTMLElement[]} */ ([...this.tools.querySelectorAll("button:not(:disabled)")]);
      const look = /** @type {HTMLElement} */ (this.tools.querySelector(".pl-look"));
      (tools.find((one) => nameOf(one) === name) || look).focus();
    }

    /** @returns {HTMLElement[]} */
    versionTools() {
      const { data, chat } = this;
      const at = data.versions.indexOf(data.node);
      /** @param {number} step */
      const walk = (step) => chat.act("walk", { node: data.versions[at + step] });
      return [
        button("‹", { "aria-label": "Previous version", disabled: at === 0 || chat.busy, onclick: () => walk(-1) }),
        make("span", { class: "pl-version", "aria-label": `Version ${at + 1} of ${data.versions.length}` }, `${at + 1} / ${data.versions.length}`),
        button("›", { "aria-label": "Next version", disabled: at === data.versions.length - 1 || chat.busy, onclick: () => walk(1) }),
      ];
    }

    /** Let the user edit the message; Escape cancels. */
    edit() {
      const field = make("textarea", { class: "pl-field", "aria-label": "Edit the message", rows: Math.min(12, this.data.text.split("\n").length + 1) });
      const kept = `edit.${this.data.node}`; // like drafts: the page may be reloaded while this is open
      field.value = memory.get(kept) || this.data.text;
      field.addEventListener("input", () => memory.set(kept, field.value));
      const done = () => {
        memory.set(kept, "");
        form.remove();
        this.body.hidden = this.tools.hidden = false;
        /** @type {HTMLElement | null} */ (this.tools.querySelector(".pl-edit-button"))?.focus();
      };
      const save = () => {
        if (this.chat.busy) return; // the text stays until it can be sent
        done();
        this.chat.act("edit", { node: this.data.node, text: field.value });
      };
      const form = make(
        "div",
        { class: "pl-edit" },
        field,
        button("Save as a new version", { onclick: save }, "Ctrl+Enter"),
        button("Cancel", { onclick: done }, "Escape"),
      );
      field.addEventListener("keydown", (event) => {
        if (event.key === "Escape") {
          event.preventDefault(); // this Escape does not stop an answer
          done();
        }
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
      });
      this.body.hidden = this.tools.hidden = true;
      this.body.after(form);
      field.focus();
    }
  }

  class Chat {
    /**
     * @param {Page.Component<Page.ChatValue | null>} component
     */
    constructor({ element, props, watch, act }) {
      this.send = act;
      this.props = props;
      /** @type {Page.ChatValue | null} */
      this.value = null;
      /** @type {Map<number, Message>} */
      this.messages = new Map();
      /** @type {Map<string, Page.ChatMessage>} */
      this.cache = new Map(); // of parsed messages
      this.seen = { notice: 0, draft: 0 };
      /** @type {Letter | null} */
      this.letter = null;
      /** @type {string | null} */
      this.place = null; // the conversation whose draft is in the field
      /** @type {string | null} */
      this.offered = null; // the last text that the server put into the field
      this.isEager = false; // whether to send the field once the server has sent the conversation
      this.heard = 0; // when something was last sent or received
      /** @type {Page.FileContent[]} */
      this.pending = []; // files to send with the next message
      this.list = make("div", { class: "pl-messages", role: "log", "aria-label": "Conversation", "aria-live": "off", tabindex: "0" });
      this.notice = make("p", { class: "pl-notice", role: "alert" });
      this.field = make("textarea", {
        class: "pl-field",
        rows: 3,
        placeholder: "Ask something. Enter sends, Shift+Enter starts a new line.",
        "aria-label": "Your message",
      });
      this.files = make("input", { type: "file", multiple: true, class: "pl-heard", tabindex: "-1", "aria-label": "Attach text files" });
      this.attached = make("ul", { class: "pl-attached", "aria-label": "Attached files" });
      this.sendButton = button("Send", { class: "pl-button pl-first", onclick: () => this.submit() }, "Enter");
      this.stopButton = button("Stop", { class: "pl-button pl-first", onclick: () => this.stop() }, "Escape");
      this.undoButton = button("Undo", { onclick: () => this.act("undo") }, "Move the last message back into the field; it is kept as a version");
      this.redoButton = button("Redo", { onclick: () => this.act("walk", { node: this.value?.redo }) }, "Show the messages that followed");
      this.attachButton = button("Attach", { onclick: () => this.files.click() }, "Add text files to the message");
      element.replaceChildren(
        make(
          "section",
          { class: "pl-chat", "aria-label": "Chat" },
          this.list,
          this.notice,
          this.attached,
          this.field,
          make("div", { class: "pl-row" }, this.sendButton, this.stopButton, this.undoButton, this.redoButton, this.attachButton, this.files),
        ),
      );
      this.field.addEventListener("keydown", (event) => this.key(event));
      this.field.addEventListener("input", () => this.keepDraft());
      this.files.addEventListener("change", () => this.attach());
      this.list.addEventListener("click", (event) => {
        const target = /** @type {Element} */ (event.target);
        const copier = /** @type {HTMLElement | null} */ (target.closest(".pl-copy"));
        if (copier) copy(copier.closest(".pl-code")?.querySelector("code")?.textContent ?? "", copier);
      });
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
      if (this.isEager || this.busy || (!text.trim() && !this.pending.length)) return;
      // The server ignores a letter that it has already received; a changed message is a new letter.
      const { letter } = this;
      const isSame = letter && letter.place === this.place && text.startsWith(letter.text) && letter.files.every((file) => this.pending.includes(file));
      const sent = isSame ? letter : { name: newLetter(), place: this.place, text, files: [...this.pending] };
      this.letter = sent;
      this.act("send", { text: sent.text, files: sent.files, letter: sent.name });
    }

    async attach() {
      if (!this.value) return;
      for (const file of this.files.files ?? []) {
        this.pending.push(await contentOf(file, this.value.fileLimit));
        if (this.pending.reduce((sum, one) => sum + one.size, 0) > this.value.filesLimit) {
          this.pending.pop();
          this.notice.textContent = `With ${file.name} the files would exceed ${this.value.filesLimit / 1000} kB together: remove some.`;
          break;
        }
      }
      this.files.value = "";
      this.drawAttached();
    }

    drawAttached() {
      this.attached.replaceChildren(
        ...this.pending.map((file, index) =>
          make(
            "li",
            {},
            file.name,
            button("×", {
              "aria-label": `Remove ${file.name}`,
              onclick: () => {
                this.pending.splice(index, 1);
                this.drawAttached();
              },
            }),
          ),
        ),
      );
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
      if (wasBusy && !this.busy && !moved) this.announceEnd(value);
      if (!this.busy && this.notice.textContent === WAIT) this.notice.textContent = "";
      if (early) this.field.value = early;
      if (this.isEager) this.submit();
    }

    /**
     * Announce to screen readers how the answer ended.
     * @param {Page.ChatValue} value
     */
    announceEnd({ messages }) {
      const last = messages.length ? this.parsed(messages[messages.length - 1]) : null;
      if (last && last.role === "assistant") announce([last.error || (last.end === "stop" ? "The answer is complete." : ENDINGS[last.end || ""] || ""), last.incomplete].filter(Boolean).join(" "));
    }

    /**
     * Show another conversation.
     * @param {Page.ChatValue} value
     */
    move({ id }) {
      this.messages.clear();
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
      const data = messages.map((text) => this.parsed(text));
      if (live) {
        data.push({ ...JSON.parse(live.message), blocks: live.blocks, tokens: live.tokens, stats: live.stats, live: true });
      }
      const kept = new Set();
      const held = document.activeElement;
      const place = [...this.list.children].findIndex((element) => element.contains(held));
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
        if (this.list.children[index] !== message.element) this.list.insertBefore(message.element, this.list.children[index] || null);
      });
      for (const [node, message] of this.messages) {
        if (kept.has(node)) continue;
        message.element.remove();
        this.messages.delete(node);
      }
      if (held && place >= 0 && !this.list.contains(held)) {
        const there = data[Math.min(place, data.length - 1)];
        if (there) this.messages.get(there.node)?.focus(nameOf(held));
        else this.field.focus();
      }
      this.list.classList.toggle("pl-empty", !data.length);
    }

    /**
     * Return the message of a JSON text: the same object for the same text.
     * @param {string} text
     * @returns {Page.ChatMessage}
     */
    parsed(text) {
      let found = this.cache.get(text);
      if (!found) {
        found = /** @type {Page.ChatMessage} */ (JSON.parse(text));
        this.cache.set(text, found);
        if (this.cache.size > CACHED) this.cache.delete(this.cache.keys().next().value ?? "");
      }
      return found;
    }

    /**
     * Clear the letter that has arrived from the field; text that was written since then stays the conversation's draft.
     * @param {Page.ChatValue} value
     */
    arrive({ arrived }) {
      const letter = this.letter;
      if (!arrived || !letter || arrived.letter !== letter.name) return;
      this.letter = null;
      this.pending = this.pending.filter((file) => !letter.files.includes(file));
      this.drawAttached();
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
   * @param {Element} element
   * @returns {string | null}
   */
  const nameOf = (element) => element.getAttribute("aria-label") || element.textContent;

  /**
   * Return a random name for a letter, so that a letter that is sent twice is added once.
   * @returns {string}
   */
  function newLetter() {
    return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
  }

  window.Pellucid.mountChat = (options) => new Chat(options);
})();
