// The list of conversations: search, open, rename, delete, export and import.
"use strict";

(() => {
  const { make, button, announce, download, nameTab } = window.Pellucid;

  const NARROW = "(max-width: 640px)"; // where the list would push the chat away
  const TYPING_MS = 200;
  const DAY = 86400e3;

  class Conversations {
    constructor({ element, props, watch, act }) {
      this.send = act;
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
            button("Import", { onclick: () => this.file.click() }, "A conversation from a JSON or Markdown file of Pellucid"),
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

    act(verb, more = {}) {
      this.send({ verb, ...more });
    }

    async import() {
      const [file] = this.file.files;
      this.file.value = "";
      if (!file) return;
      const limit = this.waiting.importLimit;
      if (file.size > limit) this.notice.textContent = `${file.name} is larger than ${limit / 1e6} MB: it cannot be imported.`;
      else this.act("import", { name: file.name, data: await compressed(file) });
    }

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
      if (value.search !== this.told) announce(value.search ? `${value.items.length} conversations found` : "");
      this.told = value.search;
    }

    /** Draw the list where it is another one, but not while a title is being written in it. */
    draw(value) {
      this.waiting = value;
      const state = JSON.stringify([value.items, value.open, value.search, value.isCut]);
      if (this.isRenaming || state === this.drawn) return;
      this.drawn = state;
      const place = document.activeElement?.closest?.(".pl-conversations li");
      const name = document.activeElement?.textContent;
      this.list.replaceChildren(...value.items.map((item) => this.item(item, value.open)));
      if (place) {
        const buttons = [...this.list.querySelectorAll(`li[data-id="${CSS.escape(place.dataset.id)}"] button`)];
        (buttons.find((one) => one.textContent === name) || buttons[0] || this.search).focus();
      }
      if (value.isCut) this.list.append(make("li", { class: "pl-quiet" }, "There are older ones: search for them."));
      if (!value.items.length) {
        this.list.append(make("li", { class: "pl-quiet" }, value.search ? "Nothing was found." : "No conversation yet."));
      }
    }

    item(item, open) {
      const chosen = item.id === open;
      const name = button(item.title, { class: "pl-title", dir: "auto", "aria-current": chosen ? "true" : null, onclick: () => this.act("open", { id: item.id }) });
      const line = make("li", { "data-id": item.id, class: chosen ? "pl-chosen" : null }, name);
      if (item.snippet) line.append(make("p", { class: "pl-snippet", dir: "auto" }, ...marked(item.snippet)));
      line.append(make("span", { class: "pl-quiet" }, `${age(item.updated)} · ${item.messages} ${item.messages === 1 ? "message" : "messages"}`));
      if (chosen) line.append(this.tools(item, line, name));
      return line;
    }

    tools(item, line, name) {
      return make(
        "div",
        { class: "pl-tools", role: "toolbar", "aria-label": "What can be done with this conversation" },
        button("Rename", { onclick: () => this.rename(item, line, name) }),
        button("JSON", { "aria-label": "Export as JSON, with all versions and tokens", onclick: () => this.act("export", { id: item.id, form: "json" }) }, "Export all versions with their tokens"),
        button("Markdown", { "aria-label": "Export as Markdown", onclick: () => this.act("export", { id: item.id, form: "markdown" }) }, "Export what is shown as text"),
        this.remover(item),
      );
    }

    /** Deleting asks once: the same button, pressed again. */
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

    rename(item, line, name) {
      const field = make("input", { class: "pl-search", "aria-label": "Title of the conversation" });
      field.value = item.title;
      this.isRenaming = true;
      const leave = (title) => {
        if (!this.isRenaming) return; // a field that is taken away loses the focus as well
        this.isRenaming = false;
        const isHeld = field === document.activeElement;
        field.replaceWith(name);
        if (isHeld) name.focus();
        this.draw(this.waiting);
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

  /** A snippet with what was searched for marked: the server puts \x02 in front of each word of it, and \x03 behind. */
  function marked(snippet) {
    const [plain, ...hits] = snippet.split("\x02");
    return [plain, ...hits.flatMap((part) => {
      const [hit, ...rest] = part.split("\x03");
      return [make("mark", {}, hit), rest.join("")];
    })];
  }

  /** A file as base64 of its gzip: conversations with all their tokens are long, and shrink to a fraction. */
  async function compressed(file) {
    const bytes = await new Response(file.stream().pipeThrough(new CompressionStream("gzip"))).blob();
    const url = await new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(reader.error);
      reader.readAsDataURL(bytes);
    });
    return url.slice(url.indexOf(",") + 1);
  }

  function age(seconds) {
    const then = new Date(seconds * 1000);
    return Date.now() - then < DAY ? then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : then.toLocaleDateString();
  }

  window.Pellucid.mountConversations = (options) => new Conversations(options);
})();
