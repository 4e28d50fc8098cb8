// The list of conversations: grouped by pins, folders and dates; search, keys, menus, deletion with undo, export and import.

import { chatSettings } from "../chat/chat_settings.js";
import { make, announce, saveFile, hasModifier, nameTab } from "../shared/dom.js";
import { iconButton, iconTextButton } from "../shared/icons.js";
import { mount } from "../shared/mounts.js";
import { actOn, follow, provide, publish } from "../shared/page_state.js";
import { openMenu } from "../shared/popup_menu.js";
import { call } from "../shared/wire.js";
import { ConversationRows } from "./conversation_rows.js";
import { UndoNotice, DeletedList } from "./deleted_list.js";
import { SearchMatches } from "./search_match.js";

const TYPING_MS = 200; // without another key, after which the search starts
const MINUTE_MS = 60000;
const REFRESH_MS = 1000; // between two refreshes at least: a window that comes to the front fires two events
const HIDDEN_MS = 15000; // for which a deleted row is hidden: if the server could not be reached, it comes back
const HELD_ROW = ".pl-dragged, .pl-more[aria-expanded=true]";
const ROW_BUTTONS = ".pl-title, .pl-folder-name"; // between which the arrow keys move

class Conversations {
  /** @param {HTMLElement} element */
  constructor(element) {
    /** @type {Page.ConversationsValue | null} */
    this.value = null;
    /** @type {string | null} */
    this.drawn = null; // what the drawn list was made from
    /** @type {string | null} */
    this.announced = null; // the search whose result was announced
    /** @type {Map<string, number>} */
    this.deletedAt = new Map(); // the times at which conversations were deleted here that the server may still have
    this.isEditing = false; // whether a title or a name is being edited
    this.searchTimer = 0;
    this.lastRefresh = 0;
    this.searched = ""; // what the list is asked for
    this.number = 0; // of the last request
    this.newest = 0; // the number of the request whose list is drawn
    this.opening = 0; // how often a conversation was chosen
    /** @type {string | null} */
    this.open = null; // the conversation that the chat shows
    this.search = make("input", { type: "search", class: "pl-search", placeholder: "Search", "aria-label": "Search all conversations" });
    this.file = make("input", { type: "file", accept: ".json,.jsonl,.md,.zip", class: "pl-visually-hidden", tabindex: "-1", "aria-label": "A conversation to import" });
    this.resultCount = make("p", { class: "pl-quiet pl-found" });
    this.list = make("div", { class: "pl-conversations" });
    this.notice = make("p", { class: "pl-notice", role: "alert" });
    /** @type {string | null} */
    this.deletedOpen = null; // the conversation that was open when its deletion was asked for
    this.undo = new UndoNotice((removed) => this.undelete(removed));
    this.deleted = new DeletedList((verb, more) => this.act(verb, more));
    this.matches = new SearchMatches((node) => this.choose(this.matches.conversation, node));
    this.rows = new ConversationRows({
      act: (verb, more) => this.act(verb, more),
      open: (id, node) => this.choose(id, node),
      menu: (item) => this.menu(item),
      folderMenu: (id) => this.folderMenu(id),
    });
    element.replaceChildren(this.panel());
    this.listen();
    this.act("refresh");
  }

  /** @returns {HTMLElement} */
  panel() {
    const create = iconTextButton("add", "New chat", { class: "pl-button pl-first", onclick: () => this.choose(null) });
    const load = iconTextButton("upload", "Import", { onclick: () => this.file.click() }, "Import conversations from Pellucid, open-webui or ChatGPT, or OpenAI messages");
    const folder = iconButton("folderAdd", "New folder", { onclick: () => this.newFolder([]) });
    const all = make("details", { open: true }, make("summary", { class: "pl-quiet" }, "Conversations"));
    all.append(make("div", { class: "pl-search-row" }, this.search, folder), this.resultCount, this.list, this.deleted.element);
    return make("nav", { class: "pl-conversation-panel", "aria-label": "Conversations" }, make("div", { class: "pl-row" }, create, load, this.file), this.notice, this.undo.element, all);
  }

  listen() {
    this.search.addEventListener("input", () => {
      clearTimeout(this.searchTimer);
      this.searchTimer = setTimeout(() => this.find(this.search.value), TYPING_MS);
    });
    this.search.addEventListener("keydown", (event) => this.searchKey(event));
    this.file.addEventListener("change", () => this.import());
    for (const released of ["dragend", "pellucid-menu-closed"]) this.list.addEventListener(released, () => this.value && this.draw(this.value));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("focusin", (event) => this.setTabStop(/** @type {Element} */ (event.target)));
    // Another tab may have changed the list, and the day may have ended.
    document.addEventListener("visibilitychange", () => this.refresh());
    window.addEventListener("focus", () => this.refresh());
    document.addEventListener("pellucid-server-back", () => this.act("refresh"));
    setInterval(() => this.value && this.draw(this.value), MINUTE_MS);
    provide("conversations", ({ verb, ...more }) => this.act(verb, more));
    follow("opened", (id) => {
      this.open = id;
      if (this.value) this.draw(this.value);
      if (this.matches.conversation !== null && this.matches.conversation !== id) this.matches.clear();
    });
    let shown = "";
    follow("chat", (/** @type {Page.ChatValue} */ { id, title, live }) => {
      const now = JSON.stringify([id, title, live === null]);
      if (id !== null && now !== shown) this.act("refresh");
      shown = now;
    });
  }

  refresh() {
    if (document.hidden || !this.value || Date.now() - this.lastRefresh < REFRESH_MS) return;
    this.lastRefresh = Date.now();
    this.act("refresh");
  }

  /**
   * @param {string} verb
   * @param {object} [more]
   */
  async act(verb, more = {}) {
    const number = (this.number += 1);
    if (verb !== "refresh") this.say("", false);
    const onRefused = (/** @type {string} */ sentence) => {
      this.say(sentence, true);
      this.deletedAt.clear(); // a deletion may have failed
      if (this.value) this.draw(this.value);
    };
    await call("conversations", { verb, search: this.searched, ...more }, (/** @type {Page.ConversationsValue} */ value) => this.receive(value, number), { onRefused });
    // A list that was asked for meanwhile may be from before this action.
    if (verb !== "refresh" && number < this.number) this.act("refresh");
  }

  /** @param {string} text to search for; empty to list all */
  find(text) {
    this.searched = text;
    this.act("refresh");
  }

  /**
   * Show a conversation, at a match of the search.
   * @param {string | null} id null for a new one
   * @param {number | null} [node] the message that matches
   */
  async choose(id, node = null) {
    const number = (this.opening += 1);
    if (node !== null) await this.act("match", { id, node });
    if (number === this.opening) actOn("chat", { verb: "open", id });
  }

  async import() {
    const file = this.file.files?.[0];
    this.file.value = "";
    if (!file || !this.value) return;
    const limit = this.value.importLimit;
    const remedy = file.name.endsWith(".zip") ? "choose the conversations.json in it instead" : "it cannot be imported";
    if (file.size > limit) this.say(`${file.name} is larger than ${limit / 1e6} MB: ${remedy}.`, true);
    else {
      try {
        this.act("import", { name: file.name, data: await compressed(file), settings: await chatSettings() });
      } catch {
        this.say(`${file.name} cannot be read: choose a file that you have access to, not a folder.`, true);
      }
    }
  }

  /**
   * @param {string} text
   * @param {boolean} isWrong
   */
  say(text, isWrong) {
    this.notice.textContent = text;
    this.notice.className = isWrong ? "pl-notice" : "pl-done";
  }

  /**
   * Take the result of a request, and the list unless a newer list is there.
   * @param {Page.ConversationsValue} value
   * @param {number} number of the request
   */
  receive(value, number) {
    const { notice, removed, file, match, opens, search } = value;
    if (removed) {
      this.deletedAt.delete(removed.id);
      this.undo.show({ ...removed, wasOpen: this.deletedOpen === removed.id });
      if (this.open === removed.id) this.choose(null);
    }
    if (notice !== undefined) this.say(notice, false);
    saveFile(file);
    if (opens) this.choose(opens);
    if (match) this.matches.show(match);
    if (number < this.newest) return;
    this.newest = number;
    this.draw(value);
    this.deleted.draw(value);
    const open = value.items.find((item) => item.id === this.open);
    if (open) nameTab(open.title);
    if (search !== this.announced) announce(search ? `${value.items.length} ${value.items.length === 1 ? "conversation" : "conversations"} found` : "");
    this.announced = search;
    if (!search) this.matches.clear();
    publish("conversations", value);
  }

  /**
   * Draw the list if it has changed, but not while a title is edited, a menu is open or a row is dragged: they would lose their row.
   * @param {Page.ConversationsValue} value
   */
  draw(value) {
    this.value = value;
    const items = value.items.filter((item) => Date.now() - (this.deletedAt.get(item.id) ?? 0) > HIDDEN_MS);
    const state = JSON.stringify([items, value.folders, this.open, value.search, value.isCut, new Date().toDateString()]);
    if (this.isEditing || this.list.querySelector(HELD_ROW) || state === this.drawn) return;
    this.drawn = state;
    const focused = /** @type {HTMLElement | null} */ (this.list.contains(document.activeElement) ? document.activeElement : null);
    const row = focused?.closest("[data-id]");
    const place = focused ? this.rowButtons().findIndex((one) => row?.contains(one)) : -1;
    const scrolled = this.list.scrollTop;
    this.list.replaceChildren(...(value.search ? this.rows.results(items, this.open) : this.rows.groups(items, value, this.open)));
    this.list.scrollTop = scrolled;
    if (value.isCut) this.list.append(make("p", { class: "pl-quiet" }, "Search to find older conversations."));
    if (!items.length) this.list.append(make("p", { class: "pl-quiet" }, value.search ? "No matches." : "No conversations yet."));
    this.resultCount.textContent = value.search && items.length ? `${items.length} ${items.length === 1 ? "conversation" : "conversations"} found` : "";
    if (focused && row) this.focusRow(row.getAttribute("data-id") ?? "", focused.classList.contains("pl-more"), place);
    this.setTabStop(this.list.contains(document.activeElement) ? document.activeElement : this.list.querySelector(".pl-chosen .pl-title"));
  }

  /** @returns {HTMLElement[]} the buttons of all rows, between which the arrow keys move */
  rowButtons() {
    return /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll(ROW_BUTTONS)]);
  }

  /**
   * Focus a row, or the one at its place if it is no longer there.
   * @param {string} id
   * @param {boolean} isMenu whether its menu button had the focus
   * @param {number} place
   */
  focusRow(id, isMenu, place) {
    const row = this.list.querySelector(`[data-id="${CSS.escape(id)}"]`);
    const same = /** @type {HTMLElement | null | undefined} */ (row?.querySelector(isMenu ? ".pl-more" : ROW_BUTTONS));
    const buttons = this.rowButtons();
    (same ?? buttons[Math.min(place, buttons.length - 1)] ?? this.search).focus();
  }

  /**
   * Make a row the only one that Tab reaches.
   * @param {Element | null} target
   */
  setTabStop(target) {
    const row = target?.closest("[data-id]") ?? this.rowButtons()[0]?.closest("[data-id]");
    for (const one of this.list.querySelectorAll(`${ROW_BUTTONS}, .pl-more`)) one.setAttribute("tabindex", one.closest("[data-id]") === row ? "0" : "-1");
  }

  /**
   * @param {Page.ConversationItem} item
   * @returns {Page.MenuItem[]}
   */
  menu(item) {
    const { id } = item;
    return [
      { text: "Rename", icon: "edit", key: "F2", run: () => this.rename(item) },
      { text: item.pinned ? "Unpin" : "Pin", icon: "pin", key: "p", run: () => this.pin(item) },
      { text: "Move to a folder…", icon: "folder", run: () => this.moveMenu(item) },
      { text: "Export as JSON", icon: "download", run: () => this.act("export", { id, form: "json" }) },
      { text: "Export as Markdown", icon: "text", run: () => this.act("export", { id, form: "markdown" }) },
      { text: "Delete", icon: "remove", key: "Delete", run: () => this.delete(id) },
    ];
  }

  /**
   * @param {string} id
   * @returns {Page.MenuItem[]}
   */
  folderMenu(id) {
    return [
      { text: "Rename", icon: "edit", key: "F2", run: () => this.renameFolder(id) },
      { text: "Delete the folder", icon: "remove", key: "Delete", run: () => this.act("deleteFolder", { id }) },
    ];
  }

  /** @param {Page.ConversationItem} item */
  moveMenu(item) {
    const anchor = /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-id="${CSS.escape(item.id)}"] .pl-more`));
    if (!anchor || !this.value) return;
    /** @type {Page.MenuItem[]} */
    const folders = this.value.folders.map(({ id, name }) => ({
      text: name,
      icon: item.folder === id ? "tick" : "folder",
      checked: item.folder === id,
      run: () => this.move(item.id, id, name),
    }));
    /** @type {Page.MenuItem} */
    const none = { text: "No folder", icon: item.folder ? "out" : "tick", checked: !item.folder, run: () => this.move(item.id, null, "") };
    openMenu(anchor, "Move to a folder", [...folders, none, { text: "New folder…", icon: "folderAdd", run: () => this.newFolder([item.id]) }]);
  }

  /**
   * @param {string} id
   * @param {string | null} folder
   * @param {string} name
   */
  move(id, folder, name) {
    this.act("move", { id, folder });
    announce(folder ? `Moved to ${name}` : "Moved out of its folder");
  }

  /** @param {Page.ConversationItem} item */
  pin(item) {
    this.act("pin", { id: item.id, pinned: !item.pinned });
    announce(item.pinned ? "Unpinned" : "Pinned");
  }

  /** @param {string} id */
  delete(id) {
    this.deletedAt.set(id, Date.now()); // the row disappears at once
    if (this.open === id) this.deletedOpen = id; // the chat may close before the answer is there
    if (this.value) this.draw(this.value);
    this.act("delete", { id });
  }

  /** @param {Page.Removed} removed */
  undelete({ kind, id, title, wasOpen, ids }) {
    if (kind === "folder") this.act("createFolder", { name: title, ids });
    else this.act("restore", { id, open: Boolean(wasOpen) });
    announce("Restored");
    this.search.focus();
  }

  /** @param {KeyboardEvent} event */
  searchKey(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      this.clearSearch();
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      this.rowButtons()[0]?.focus();
    } else if (event.key === "Enter" && !event.isComposing) {
      const first = this.value?.search === this.search.value ? this.value.items[0] : undefined;
      if (this.matches.conversation !== null) this.matches.step(event.shiftKey ? -1 : 1);
      else if (first && this.search.value) this.choose(first.id, first.node);
    }
  }

  clearSearch() {
    clearTimeout(this.searchTimer);
    this.search.value = "";
    this.matches.clear();
    if (this.searched) this.find("");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (target.closest("input") || hasModifier(event)) return;
    const id = target.closest("[data-id]")?.getAttribute("data-id") ?? "";
    const item = this.value?.items.find((one) => one.id === id);
    const folder = this.value?.folders.find((one) => one.id === id);
    if (event.key === "Escape" && this.value?.search) {
      this.clearSearch();
      this.search.focus();
    } else if (["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) this.moveFocus(target, event.key);
    else if (folder && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      if (folder.collapsed === (event.key === "ArrowRight")) this.act("collapseFolder", { id, collapsed: !folder.collapsed });
    } else {
      const choices = item ? this.menu(item) : folder ? this.folderMenu(id) : [];
      const choice = choices.find((one) => one.key === event.key);
      if (!choice) return;
      choice.run();
    }
    event.preventDefault();
  }

  /**
   * Move the focus to another row.
   * @param {HTMLElement} target
   * @param {string} key
   */
  moveFocus(target, key) {
    const buttons = this.rowButtons();
    const row = target.closest("[data-id]");
    const at = buttons.findIndex((one) => row?.contains(one));
    if (key === "ArrowUp" && at === 0) this.search.focus();
    else if (key === "Home") buttons[0]?.focus();
    else buttons[key === "End" ? buttons.length - 1 : Math.min(at + (key === "ArrowDown" ? 1 : -1), buttons.length - 1)]?.focus();
  }

  /** @param {Page.ConversationItem} item */
  rename(item) {
    const name = /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-id="${CSS.escape(item.id)}"] .pl-title`));
    if (name) this.edit(name, "Title of the conversation", item.title, (title) => this.act("rename", { id: item.id, title }));
  }

  /** @param {string} id */
  renameFolder(id) {
    const name = /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-id="${CSS.escape(id)}"] .pl-folder-name`));
    const folder = this.value?.folders.find((one) => one.id === id);
    if (name && folder) this.edit(name, "Name of the folder", folder.name, (text) => this.act("renameFolder", { id, name: text }));
  }

  /**
   * Ask for the name of a new folder.
   * @param {string[]} ids conversations to move into it
   */
  newFolder(ids) {
    if (this.isEditing) return;
    const placeholder = make("span", {});
    this.list.prepend(placeholder);
    this.list.scrollTop = 0;
    this.edit(placeholder, "Name of the new folder", "", (name) => this.act("createFolder", { name, ids }));
  }

  /**
   * Replace an element by a field until Enter, Escape, or the focus leaves.
   * @param {HTMLElement} replaced
   * @param {string} label
   * @param {string} text
   * @param {(text: string) => void} save
   */
  edit(replaced, label, text, save) {
    const field = make("input", { class: "pl-search pl-name-field", "aria-label": label, placeholder: label });
    field.value = text;
    this.isEditing = true;
    /** @param {string} written nothing is changed if it is empty */
    const finish = (written) => {
      if (!this.isEditing) return; // removing the field takes its focus, which calls this again
      this.isEditing = false;
      const hadFocus = field === document.activeElement;
      field.replaceWith(replaced);
      if (hadFocus) (replaced.matches(ROW_BUTTONS) ? replaced : this.search).focus();
      if (!replaced.matches(ROW_BUTTONS)) replaced.remove();
      if (this.value) this.draw(this.value);
      if (written && written !== text) save(written);
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) finish(field.value.trim());
      if (event.key === "Escape") finish("");
    });
    field.addEventListener("blur", () => finish(field.value.trim()));
    replaced.replaceWith(field);
    field.focus();
    field.select();
  }
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

mount("pl-conversation-panel", (element) => new Conversations(element));
