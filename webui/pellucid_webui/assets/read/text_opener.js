// Opens a text file that is chosen or dropped. This script reads its bytes: the server never gets a path.

import { make, button, contentOf } from "../shared/dom.js";

const MAX_TEXT_BYTES = 1_000_000; // as in routes/read.py

export class TextOpener {
  /**
   * @param {HTMLElement} place where a file can be dropped
   * @param {(file: Page.FileContent) => void} onFile
   */
  constructor(place, onFile) {
    this.onFile = onFile;
    this.input = make("input", { type: "file", class: "pl-visually-hidden", tabindex: "-1", "aria-label": "A text file to read" });
    this.notice = make("p", { class: "pl-notice", role: "alert" });
    const choose = button("Open a file", { onclick: () => this.input.click() }, "Open a text file; its text replaces the one above");
    this.element = make("div", {}, make("div", { class: "pl-row" }, choose, this.input, make("span", { class: "pl-quiet" }, "or drop one here")), this.notice);
    this.input.addEventListener("change", async () => {
      await this.open(/** @type {FileList} */ (this.input.files));
      this.input.value = ""; // so that the same file can be chosen again
    });
    this.takeDrops(place);
  }

  /**
   * Accept dropped files; the browser handles everything else that is dragged.
   * @param {HTMLElement} place
   */
  takeDrops(place) {
    /**
     * @param {DragEvent} event
     * @returns {FileList | null} null if something else is dragged
     */
    const filesOf = ({ dataTransfer }) => (dataTransfer?.types.includes("Files") ? dataTransfer.files : null);
    place.addEventListener("dragover", (event) => {
      if (filesOf(event) === null) return;
      event.preventDefault();
      place.classList.add("pl-drop");
    });
    place.addEventListener("dragleave", (event) => {
      if (!place.contains(/** @type {Node | null} */ (event.relatedTarget))) place.classList.remove("pl-drop");
    });
    place.addEventListener("drop", (event) => {
      place.classList.remove("pl-drop");
      const files = filesOf(event);
      if (files === null) return;
      event.preventDefault();
      this.open(files);
    });
  }

  /** @param {FileList} files */
  async open(files) {
    this.notice.textContent = files.length > 1 ? "Open one file at a time." : "";
    if (files.length !== 1) return;
    try {
      this.onFile(await contentOf(files[0], MAX_TEXT_BYTES));
    } catch {
      this.notice.textContent = `${files[0].name} cannot be read: choose a file that you have access to, not a folder.`;
    }
  }
}
