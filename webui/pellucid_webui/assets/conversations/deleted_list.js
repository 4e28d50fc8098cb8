// What was deleted: the notice with which a deletion is undone, and the conversations that can still be restored.

import { make, button } from "../shared/dom.js";
import { icon, iconButton, iconTextButton } from "../shared/icons.js";
import * as dates from "./conversation_dates.js";

/** The notice after a deletion. It stays until it is dismissed, or until the next deletion. */
export class UndoNotice {
  /** @param {(removed: Page.Removed) => void} onUndo */
  constructor(onUndo) {
    this.onUndo = onUndo;
    this.element = make("div", { class: "pl-undo", role: "status" });
  }

  /** @param {Page.Removed} removed */
  show(removed) {
    const undo = iconTextButton("undo", "Undo", { class: "pl-button pl-undo-button", "aria-label": "Undo the deletion", onclick: () => this.dismiss(() => this.onUndo(removed)) });
    const dismiss = iconButton("close", "Dismiss", { onclick: () => this.dismiss() });
    const words = removed.kind === "folder" ? "Deleted the folder " : "Deleted ";
    const title = make("bdi", {}, removed.title);
    this.element.replaceChildren(make("span", { class: "pl-undo-text" }, `${words}“`, title, "”."), undo, dismiss);
  }

  /** @param {() => void} [then] */
  dismiss(then) {
    this.element.replaceChildren();
    then?.();
  }
}

/** The conversations that can be restored. */
export class DeletedList {
  /** @param {(verb: string, more?: object) => void} act */
  constructor(act) {
    this.act = act;
    /** @type {string | null} */
    this.drawn = null;
    this.name = make("summary", { class: "pl-group-name" });
    this.about = make("p", { class: "pl-quiet" });
    this.list = make("ul", {});
    this.all = this.eraseButton("Delete all permanently", "Really delete all permanently?", () => this.act("eraseAll"));
    this.element = make("details", { class: "pl-deleted", hidden: true }, this.name, this.about, this.list, this.all);
  }

  /** @param {Page.ConversationsValue} value */
  draw({ deleted, keptDays }) {
    const state = JSON.stringify([deleted, new Date().toDateString()]);
    if (state === this.drawn) return;
    this.drawn = state;
    const hadFocus = this.list.contains(document.activeElement);
    this.element.hidden = !deleted.length;
    this.name.replaceChildren(icon("chevron"), `Recently deleted (${deleted.length})`);
    this.about.textContent = `Deleted conversations can be restored for ${keptDays} days. Then they are erased for good.`;
    this.list.replaceChildren(...deleted.map((one) => this.row(one, keptDays)));
    if (hadFocus) (this.list.querySelector("button") ?? this.name).focus();
  }

  /**
   * @param {{ id: string, title: string, deleted: number }} one
   * @param {number} keptDays
   * @returns {HTMLElement}
   */
  row({ id, title, deleted }, keptDays) {
    const days = Math.max(0, keptDays - dates.daysSince(deleted));
    const restore = button("Restore", { "aria-label": `Restore “${title}”`, onclick: () => this.act("restore", { id }) });
    const erase = this.eraseButton("Delete permanently", "Really delete permanently?", () => this.act("erase", { id }));
    return make(
      "li",
      { "data-id": id },
      make("span", { class: "pl-deleted-title", dir: "auto" }, title),
      make("span", { class: "pl-quiet", title: `Deleted on ${dates.fullTime(deleted)}` }, days === 1 ? "1 day left" : `${days} days left`),
      make("div", { class: "pl-row" }, restore, erase),
    );
  }

  /**
   * Return a button for what cannot be undone: it acts when it is pressed twice.
   * @param {string} text
   * @param {string} question
   * @param {() => void} run
   * @returns {HTMLButtonElement}
   */
  eraseButton(text, question, run) {
    const erase = button(text, {
      onclick: () => {
        if (erase.dataset.sure) run();
        erase.dataset.sure = "yes";
        erase.textContent = question;
      },
      onblur: () => {
        delete erase.dataset.sure;
        erase.textContent = text;
      },
    });
    return erase;
  }
}
