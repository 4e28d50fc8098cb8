// The list of conversations: search, open, rename, delete, export and import.
"use strict";

(() => {
  const { make, button, announce, download, nameTab } = window.Pellucid;

  const NARROW = "(max-width: 640px)"; // the list is closed at first, because it would push the chat off the screen
  const TYPING_MS = 200;
  const DAY = 86400e3;

  class Conversations {
    /**
     * @param {Page.Component<Page.ConversationsValue | null>} component
     */
    constructor({ element, props, watch, act }) {
      this.send = act;
      /** @type {Page.ConversationsValue | null} */
      this.value = null;
      /** @type {string | null} */
      this.drawn = null; // what the drawn list was made from
      /** @type {string | null} */
      this.announced = null; // the search whose result was announced
      this.isRenaming = false;
      this.timer = 0;
      this.seen = { file: 0, notice: 0 };
      this.search = make("input", { type: "search", class: "pl-search", placeholder: "Search", "aria-label": "Search all conversations" });
      this.file = make("input", { type: "file", accept: ".json,.md", class: "pl-heard", tabindex: "-1", "aria-label": "A conversation to import" });
      this.list = make("ul", { class: "pl-conversations" });
      this.notice = make("p", { class: "pl-notice", role: "alert" });
      element.replaceChildren(
        make(
          "nav",
          { class: "pl-shelf", "aria-label": "Conversations" },
          make(
            "div",
            { class: "pl-row" },
            button("New chat", { class: "pl-button pl-first", onclick: () => this.act("new") }),
            button("Import", { onclick: () => this.file.click() }, "Import a conversation that Pellucid exported as JSON or Markdown"),
            this.file,
          ),
          this.notice,
          make(
            "details",
            { open: !matchMedia(NARROW).matches },
            make("summary", { class: "pl-quiet" }, "Conversations"),
            this.search,
            this.list,
          ),
        ),
      );
      this.search.addEventListener("input", () => {
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.act("search", { text: this.search.value }), TYPING_MS);
      });
      this.file.addEventListener("change", () => this.import());
      watch("value", () => this.update(props.value));
      this.update(props.value);
    }

    /**
     * @param {string} verb
     * @param {object} [more]
     */
    act(verb, more = {}) {
      this.send({ verb, ...more });
    }

    async import() {
      const file = this.file.files?.[0];
      this.file.value = "";
      if (!file || !this.value) return;
      const limit = this.value.importLimit;
      if (file.size > limit) this.notice.textContent = `${file.name} is larger than ${limit / 1e6} MB: it cannot be imported.`;
      else this.act("import", { name: file.name, data: await compressed(file) });
    }

    /** @param {Page.ConversationsValue | null} value */
    update(value) {
      if (!value) return;
      this.draw(value);
      const open = value.items.find((item) => item.id === value.open);
      if (open) nameTab(open.title);
      if (value.file && value.file.n !== this.seen.file) {
        this.seen.file = value.file.n;
        download(value.file.name, value.file.text, value.file.type);
      }
      if (value.notice && value.notice.n !== this.seen.notice) {
        this.seen.notice = value.notice.n;
        this.notice.textContent = value.notice.text;
      }
      if (value.search !== this.announced) announce(value.search ? `${value.items.length} conversations found` : "");
      this.announced = value.search;
    }

    /**
     * Draw the list if it has changed, but not while a title is being edited.
     * @param {Page.ConversationsValue} value
     */
    draw(value) {
      this.value = value;
      const state = JSON.stringify([value.items, value.open, value.search, value.isCut]);
      if (this.isRenaming || state === this.drawn) return;
      this.drawn = state;
      const place = /** @type {HTMLElement | null | undefined} */ (document.activeElement?.closest?.(".pl-conversations li"));
      const name = document.activeElement?.textContent;
      this.list.replaceChildren(...value.items.map((item) => this.item(item, value.open)));
      if (place) {
        const row = `li[data-id="${CSS.escape(place.dataset.id ?? "")}"]`;
        const buttons = /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll(`${row} button`)]);
        (buttons.find((one) => one.textContent === name) || buttons[0] || this.search).focus();
      }
      if (value.isCut) this.list.append(make("li", { class: "pl-quiet" }, "Search to find older conversations."));
      if (!value.items.length) {
        this.list.append(make("li", { class: "pl-quiet" }, value.search ? "No matches." : "No conversations yet."));
      }
    }

    /**
     * @param {Page.ConversationItem} item
     * @param {string | null} open id of the open conversation
     * @returns {HTMLElement}
     */
    item(item, open) {
      const chosen = item.id === open;
      const name = button(item.title, { class: "pl-title", dir: "auto", "aria-current": chosen ? "true" : null, onclick: () => this.act("open", { id: item.id }) });
      const line = make("li", { "data-id": item.id, class: chosen ? "pl-chosen" : null }, name);
      if (item.snippet) line.append(make("p", { class: "pl-snippet", dir: "auto" }, ...marked(item.snippet)));
      line.append(make("span", { class: "pl-quiet" }, `${age(item.updated)} · ${item.messages} ${item.messages === 1 ? "message" : "messages"}`));
      if (chosen) line.append(this.tools(item, name));
      return line;
    }

    /**
     * @param {Page.ConversationItem} item
     * @param {HTMLElement} name the button that shows the title
     * @returns {HTMLElement}
     */
    tools(item, name) {
      return make(
        "div",
        { class: "pl-tools", role: "toolbar", "aria-label": "Conversation actions" },
        button("Rename", { onclick: () => this.rename(item, name) }),
        button("JSON", { "aria-label": "Export as JSON, with all versions and tokens", onclick: () => this.act("export", { id: item.id, form: "json" }) }, "Export all versions with their tokens"),
        button("Markdown", { "aria-label": "Export as Markdown", onclick: () => this.act("export", { id: item.id, form: "markdown" }) }, "Export the shown messages as text"),
        this.remover(item),
      );
    }

    /**
     * Return a button that deletes when it is pressed twice.
     * @param {Page.ConversationItem} item
     * @returns {HTMLButtonElement}
     */
    remover(item) {
      const remove = button("Delete", {
        onclick: () => {
          if (remove.dataset.sure) this.act("delete", { id: item.id });
          remove.dataset.sure = "yes";
          remove.textContent = "Really delete?";
        },
        onblur: () => {
          delete remove.dataset.sure;
          remove.textContent = "Delete";
        },
      });
      return remove;
    }

    /**
     * @param {Page.ConversationItem} item
     * @param {HTMLElement} name
     */
    rename(item, name) {
      const field = make("input", { class: "pl-search", "aria-label": "Title of the conversation" });
      field.value = item.title;
      this.isRenaming = true;
      /** @param {string} title nothing is renamed if it is empty */
      const leave = (title) => {
        if (!this.isRenaming) return; // removing the field takes its focus, which calls this again
        this.isRenaming = false;
        const isHeld = field === document.activeElement;
        field.replaceWith(name);
        if (isHeld) name.focus();
        if (this.value) this.draw(this.value);
        if (title && title !== item.title) this.act("rename", { id: item.id, title });
      };
      field.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.isComposing) leave(field.value.trim());
        if (event.key === "Escape") leave("");
      });
      field.addEventListener("blur", () => leave(field.value.trim()));
      name.replaceWith(field);
      field.focus();
      field.select();
    }
  }

  /**
   * Mark the words of a search in a snippet: the server puts \x02 before and \x03 after each of them.
   * @param {string} snippet
   * @returns {Page.Child[]}
   */
  function marked(snippet) {
    const [plain, ...hits] = snippet.split("\x02");
    return [plain, ...hits.flatMap((part) => {
      const [hit, ...rest] = part.split("\x03");
      return [make("mark", {}, hit), rest.join("")];
    })];
  }

  /**
   * Return base64 of a file's gzip: conversations with all their tokens are long, and shrink to a fraction.
   * @param {File} file
   * @returns {Promise<string>}
   */
  async function compressed(file) {
    const bytes = await new Response(file.stream().pipeThrough(new CompressionStream("gzip"))).blob();
    /** @type {string} */
    const url = await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(/** @type {string} */ (reader.result));
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(bytes);
    });
    return url.slice(url.indexOf(",") + 1);
  }

  /**
   * @param {number} seconds since 1970
   * @returns {string}
   */
  function age(seconds) {
    const then = new Date(seconds * 1000);
    return Date.now() - then.getTime() < DAY ? then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : then.toLocaleDateString();
  }

  window.Pellucid.mountConversations = (options) => new Conversations(options);
})();
