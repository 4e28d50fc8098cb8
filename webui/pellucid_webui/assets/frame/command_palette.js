// The command palette: every command of the frame, and every listed conversation, found by typing.

import { showVersions } from "../chat/version_tree.js";
import { make, pageTabs, isTabOpen, openTab, chatField } from "../shared/dom.js";
import { isInEditor } from "../shared/editor.js";
import { follow, actOn } from "../shared/page_state.js";
import * as drawers from "./drawers.js";
import { showKeys } from "./keyboard_help.js";
import * as theme from "./theme.js";

const MAX_SHOWN = 50;

/** @type {Page.ConversationsValue | null} */
let list = null;
/** @type {Page.HeaderValue | null} */
let header = null;
/** @type {Palette | null} */
let palette = null;
follow("conversations", (value) => {
  list = value;
  palette?.lookAgain();
});
/** @type {string | null} */
let open = null; // the conversation that the chat shows
follow("opened", (id) => (open = id));
follow("header", (value) => {
  header = value;
  palette?.lookAgain();
});

/**
 * Return a command that first goes to the chat, which it concerns.
 * @param {() => void} run
 * @returns {() => void}
 */
const inChat = (run) => () => {
  if (isTabOpen("Chat") || !openTab("Chat")) run();
  else requestAnimationFrame(() => requestAnimationFrame(run)); // Gradio shows the tab meanwhile
};

const focusField = () => chatField()?.focus();

/** @returns {Page.Command[]} */
function commands() {
  const models = header?.models ?? [];
  const id = open;
  return [
    { title: "New chat", run: inChat(() => (actOn("chat", { verb: "open", id: null }), focusField())) },
    ...pageTabs().map((tab) => ({ title: `Go to ${tab.textContent?.trim()}`, run: () => (tab.click(), tab.focus()) })),
    { title: "Write a message", run: inChat(focusField) },
    { title: drawers.isOpen("settings") ? "Close model & settings" : "Open model & settings", run: inChat(() => drawers.toggle("settings")) },
    { title: drawers.isOpen("side") ? "Hide the conversations" : "Show the conversations", run: inChat(() => drawers.toggle("side")) },
    ...models
      .filter((model) => model.name !== header?.model)
      .map((model) => ({ title: `Use model ${model.name}`, run: inChat(() => actOn("chat", { verb: "model", model: model.name })) })),
    ...(id
      ? [
          { title: "Show the versions of this conversation", hint: "v", run: inChat(showVersions) },
          { title: "Export this conversation as JSON", run: () => actOn("conversations", { verb: "export", id, form: "json" }) },
          { title: "Export this conversation as Markdown", run: () => actOn("conversations", { verb: "export", id, form: "markdown" }) },
        ]
      : []),
    ...["light", "dark", "system"]
      .filter((name) => name !== theme.get())
      .map((name) => ({ title: `Theme: ${name}`, run: () => theme.set(/** @type {Page.Theme} */ (name)) })),
    { title: "Show all keys and words", hint: "?", run: showKeys },
    { title: "HTTP API for programs", hint: "/v1, /openapi.json", run: showKeys },
    ...("locked" in document.body.dataset ? [{ title: "Log out", run: () => location.assign("logout") }] : []),
    ...(list?.items ?? [])
      .filter((item) => item.id !== open)
      .map((item) => ({ title: item.title, hint: "conversation", run: inChat(() => actOn("chat", { verb: "open", id: item.id })) })),
  ];
}

/**
 * @param {string} text
 * @returns {Page.Command[]} the commands whose titles contain every word of a text; those that begin with it come first
 */
function matching(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = commands().filter(({ title }) => words.every((word) => title.toLowerCase().includes(word)));
  const begins = (/** @type {Page.Command} */ { title }) => title.toLowerCase().startsWith(words.join(" "));
  return [...found.filter(begins), ...found.filter((command) => !begins(command))].slice(0, MAX_SHOWN);
}

class Palette {
  constructor() {
    /** @type {Page.Command[]} */
    this.found = [];
    this.chosen = 0; // the index of the command that Enter runs
    this.field = make("input", {
      type: "text",
      class: "pl-search",
      role: "combobox",
      "aria-label": "Command or conversation",
      "aria-expanded": "true",
      "aria-controls": "pl-palette-list",
      "aria-autocomplete": "list",
      autocomplete: "off",
      spellcheck: "false",
      placeholder: "Command or conversation",
      oninput: () => this.filter(),
      onkeydown: (event) => this.key(event),
    });
    this.list = make("ul", { id: "pl-palette-list", role: "listbox", "aria-label": "Commands", tabindex: "-1" });
    this.noMatch = make("p", { class: "pl-quiet", role: "status" });
    this.dialog = make("dialog", { class: "pl-dialog pl-palette", "aria-label": "Command palette", closedby: "any" }, this.field, this.list, this.noMatch);
    this.list.addEventListener("click", (event) => {
      const row = /** @type {Element} */ (event.target).closest("li");
      if (row) this.run([...this.list.children].indexOf(row));
    });
    document.body.append(this.dialog);
  }

  show() {
    if (this.dialog.open) return;
    this.field.value = "";
    this.filter();
    this.dialog.showModal();
    this.field.focus();
  }

  filter() {
    this.found = matching(this.field.value);
    this.list.replaceChildren(
      ...this.found.map(({ title, hint }, index) =>
        make("li", { role: "option", id: `pl-command-${index}`, dir: "auto" }, make("span", {}, title), hint ? make("span", { class: "pl-quiet" }, hint) : null),
      ),
    );
    this.noMatch.textContent = this.found.length ? "" : "Nothing has this name.";
    this.list.hidden = !this.found.length;
    this.choose(0);
  }

  /** After the server has sent something: what was not found may be there now. What was found stays in its place. */
  lookAgain() {
    if (this.dialog.open && !this.found.length) this.filter();
  }

  /** @param {number} index */
  choose(index) {
    const rows = [...this.list.children];
    this.chosen = rows.length ? (index + rows.length) % rows.length : 0;
    rows.forEach((row, one) => row.setAttribute("aria-selected", String(one === this.chosen)));
    if (rows.length) this.field.setAttribute("aria-activedescendant", `pl-command-${this.chosen}`);
    else this.field.removeAttribute("aria-activedescendant");
    rows[this.chosen]?.scrollIntoView({ block: "nearest" });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const moves = { ArrowDown: this.chosen + 1, ArrowUp: this.chosen - 1, PageDown: Math.min(this.chosen + 8, this.found.length - 1), PageUp: Math.max(this.chosen - 8, 0) };
    if (event.key in moves) this.choose(moves[/** @type {keyof typeof moves} */ (event.key)]);
    else if (event.key === "Enter" && !event.isComposing) this.run(this.chosen);
    else return;
    event.preventDefault();
  }

  /** @param {number} index */
  run(index) {
    const command = this.found[index];
    if (!command) return;
    this.dialog.close(); // gives the focus back; the command may move it
    command.run();
  }
}

export function showPalette() {
  palette ??= new Palette();
  palette.show();
}

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey || isInEditor()) return;
  event.preventDefault();
  showPalette();
});
