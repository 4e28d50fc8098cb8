// The rows of the list of conversations, in groups: pinned ones, folders, and by date.

import { make } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { openMenu } from "../shared/popup_menu.js";
import * as dates from "./conversation_dates.js";

const DRAGGED = "application/x-pellucid-conversation";

export class ConversationRows {
  /** @param {Page.RowActions} actions */
  constructor({ act, open, menu, folderMenu }) {
    this.act = act;
    this.open = open;
    this.menu = menu;
    this.folderMenu = folderMenu;
  }

  /**
   * @param {Page.ConversationItem[]} items
   * @param {string | null} open id of the open conversation
   * @returns {HTMLElement[]}
   */
  results(items, open) {
    return items.length ? [make("ul", { "aria-label": "Found conversations" }, ...items.map((item) => this.item(item, open)))] : [];
  }

  /**
   * @param {Page.ConversationItem[]} items
   * @param {Page.ConversationsValue} value
   * @param {string | null} open id of the open conversation
   * @returns {HTMLElement[]}
   */
  groups(items, { folders }, open) {
    const pinned = items.filter((item) => item.pinned);
    /** @type {Map<string, Page.ConversationItem[]>} */
    const dated = new Map();
    for (const item of items) {
      if (item.pinned || item.folder) continue;
      const name = dates.groupOf(item.updated);
      dated.set(name, [...(dated.get(name) ?? []), item]);
    }
    const groups = [...dated].map(([name, inside]) => this.group(make("h2", { class: "pl-group-name" }, name), inside, open, null));
    const inFolders = folders.map((folder) => this.folder(folder, items.filter((item) => item.folder === folder.id && !item.pinned), open));
    const top = pinned.length ? [this.group(make("h2", { class: "pl-group-name" }, icon("pin"), "Pinned"), pinned, open)] : [];
    return [...top, ...inFolders, ...groups];
  }

  /**
   * @param {HTMLElement} head
   * @param {Page.ConversationItem[]} items
   * @param {string | null} open
   * @param {string | null} [folder] where a conversation goes that is dropped here; null for no folder
   * @returns {HTMLElement}
   */
  group(head, items, open, folder) {
    const section = make("section", {}, head, items.length ? make("ul", {}, ...items.map((item) => this.item(item, open))) : null);
    if (folder !== undefined) this.acceptDrops(section, folder);
    return section;
  }

  /**
   * @param {Page.ConversationFolder} folder
   * @param {Page.ConversationItem[]} items
   * @param {string | null} open
   * @returns {HTMLElement}
   */
  folder({ id, name, collapsed }, items, open) {
    const toggle = () => this.act("collapseFolder", { id, collapsed: !collapsed });
    const title = make("button", { type: "button", class: "pl-folder-name", "aria-expanded": String(!collapsed), onclick: toggle });
    title.append(icon("chevron"), icon("folder"), make("span", { dir: "auto" }, name), make("span", { class: "pl-folder-count", "aria-label": `${items.length} in it` }, String(items.length)));
    const more = this.more(`Actions for the folder “${name}”`, () => this.folderMenu(id));
    const head = make("h2", { class: "pl-folder-head", "data-id": id }, title, more);
    const section = this.group(head, collapsed ? [] : items, open, id);
    if (!collapsed && !items.length) section.append(make("p", { class: "pl-quiet pl-folder-empty" }, "Empty: move a conversation here."));
    return section;
  }

  /**
   * @param {string} label
   * @param {() => Page.MenuItem[]} items
   * @returns {HTMLElement}
   */
  more(label, items) {
    const more = make("button", { type: "button", class: "pl-more", "aria-label": label, "aria-haspopup": "menu", "aria-expanded": "false" });
    more.addEventListener("click", () => openMenu(more, label, items()));
    more.append(icon("more"));
    return more;
  }

  /**
   * @param {Page.ConversationItem} item
   * @param {string | null} open id of the open conversation
   * @returns {HTMLElement}
   */
  item(item, open) {
    const chosen = item.id === open;
    const messages = `${item.messages} ${item.messages === 1 ? "message" : "messages"}`;
    const about = `${dates.fullTime(item.updated)}, ${messages}`;
    const name = make(
      "button",
      {
        type: "button",
        class: "pl-title",
        dir: "auto",
        title: `${item.title}\n${about}`,
        "aria-current": chosen ? "true" : null,
        "aria-describedby": `pl-about-${item.id}`,
        onclick: () => this.open(item.id, item.node),
      },
      item.title,
    );
    const time = make("time", { class: "pl-time", datetime: new Date(item.updated * 1000).toISOString(), title: about });
    time.append(make("span", { "aria-hidden": "true" }, dates.shortTime(item.updated)), make("span", { class: "pl-visually-hidden", id: `pl-about-${item.id}` }, about));
    const line = make("li", { "data-id": item.id, class: chosen ? "pl-row-line pl-chosen" : "pl-row-line", draggable: "true" }, name, time);
    line.append(this.more(`Actions for “${item.title}”`, () => this.menu(item)));
    if (item.snippet) line.append(make("p", { class: "pl-snippet", dir: "auto" }, ...marked(item.snippet)));
    if (item.matches && item.matches > 1) line.append(make("p", { class: "pl-quiet pl-count" }, `${item.matches} messages match`));
    line.addEventListener("dragstart", (event) => {
      event.dataTransfer?.setData(DRAGGED, item.id);
      line.classList.add("pl-dragged");
    });
    line.addEventListener("dragend", () => line.classList.remove("pl-dragged"));
    return line;
  }

  /**
   * @param {HTMLElement} section
   * @param {string | null} folder
   */
  acceptDrops(section, folder) {
    section.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes(DRAGGED)) return;
      event.preventDefault();
      section.classList.add("pl-drop-here");
    });
    section.addEventListener("dragleave", () => section.classList.remove("pl-drop-here"));
    section.addEventListener("drop", (event) => {
      section.classList.remove("pl-drop-here");
      const id = event.dataTransfer?.getData(DRAGGED);
      if (!id) return;
      event.preventDefault();
      this.act("move", { id, folder });
    });
  }
}

/**
 * Mark the words of a search in a snippet, without marks of Markdown: the server puts \x02 before and \x03 after each word.
 * @param {string} snippet
 * @returns {Page.Child[]}
 */
function marked(snippet) {
  const [plain, ...hits] = snippet.replace(/\*\*|__|`/g, "").split("\x02");
  return [plain, ...hits.flatMap((part) => {
    const [hit, ...rest] = part.split("\x03");
    return [make("mark", {}, hit), rest.join("")];
  })];
}
