// The files that are sent with the next message: chosen, dropped or pasted. What the model cannot read is refused at once.

import { make, button, contentOf } from "../shared/dom.js";

const PICTURE = /\.(png|jpe?g|gif|webp|bmp|ico|heic|avif|tiff?)$/i;
const UTF16_MARKS = ["\xff\xfe", "\xfe\xff"]; // texts in UTF-16 begin with one of these

export class AttachedFiles {
  /**
   * @param {HTMLElement} area onto which files can be dropped
   * @param {Page.AttachOptions} options
   */
  constructor(area, { field, limits, refuse }) {
    this.limits = limits;
    this.refuse = refuse;
    /** @type {Page.FileContent[]} */
    this.pending = [];
    /** @type {File[]} */
    this.early = []; // chosen while the page was loading
    this.input = make("input", { type: "file", multiple: true, class: "pl-visually-hidden", tabindex: "-1", "aria-label": "Attach text files" });
    this.element = make("ul", { class: "pl-attached", "aria-label": "Attached files" });
    this.input.addEventListener("change", async () => {
      await this.add([...(this.input.files ?? [])]);
      this.input.value = "";
    });
    field.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (!files.length || event.clipboardData?.types.includes("text/plain")) return; // a text with a picture of itself is a text
      event.preventDefault();
      this.add(files);
    });
    this.listenForDrops(area);
  }

  /** @param {HTMLElement} area */
  listenForDrops(area) {
    /** @param {DragEvent} event */
    const hasFiles = (event) => Boolean(event.dataTransfer?.types.includes("Files"));
    area.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault(); // the browser would open the file instead of the page
      area.classList.add("pl-dropping");
    });
    area.addEventListener("dragleave", (event) => {
      if (!area.contains(/** @type {Node | null} */ (event.relatedTarget))) area.classList.remove("pl-dropping");
    });
    area.addEventListener("drop", (event) => {
      area.classList.remove("pl-dropping");
      if (!hasFiles(event)) return;
      event.preventDefault();
      this.add([...(event.dataTransfer?.files ?? [])]);
    });
  }

  /**
   * Attach the files that can be sent, and say why the others cannot.
   * @param {File[]} files
   */
  async add(files) {
    const limits = this.limits();
    if (!limits) {
      this.early.push(...files);
      return;
    }
    const refused = [];
    for (const file of files) {
      try {
        const found = await contentOf(file, limits.fileLimit);
        const reason = this.refusal(file, found, limits);
        if (reason) refused.push(reason);
        else this.pending.push(found);
      } catch {
        refused.push(`${file.name} cannot be read: choose a file that you have access to, not a folder.`);
      }
    }
    this.draw();
    this.refuse(refused.join(" "));
  }

  /**
   * @param {File} file
   * @param {Page.FileContent} content
   * @param {Page.AttachLimits} limits
   * @returns {string} why a file cannot be sent; empty if it can
   */
  refusal(file, { name, data, size }, { model, fileLimit, filesLimit }) {
    if (file.type.startsWith("image/") && file.type !== "image/svg+xml") return `The model ${model} reads text only, so the picture ${name} was not attached.`;
    if (PICTURE.test(name)) return `The model ${model} reads text only, so the picture ${name} was not attached.`;
    if (size > fileLimit) return `${name} is larger than ${fileLimit / 1000} kB: use only the relevant part of it.`;
    if (!isText(atob(data))) return `${name} is not UTF-8 text: choose a text file.`;
    const total = this.pending.reduce((sum, one) => sum + one.size, size);
    return total > filesLimit ? `With ${name} the files would exceed ${filesLimit / 1000} kB together: remove some.` : "";
  }

  /** Attach what was chosen while the page was loading. */
  addEarly() {
    if (this.early.length) this.add(this.early.splice(0));
  }

  /** @param {Page.FileContent[]} files that were sent */
  remove(files) {
    this.pending = this.pending.filter((file) => !files.includes(file));
    this.draw();
  }

  draw() {
    const items = this.pending.map((file) =>
      make("li", {}, file.name, button("×", { "aria-label": `Remove ${file.name}`, onclick: () => this.remove([file]) })),
    );
    this.element.replaceChildren(...items);
  }
}

/**
 * @param {string} bytes a character each
 * @returns {boolean} whether they are a text that the server can read
 */
function isText(bytes) {
  if (UTF16_MARKS.some((mark) => bytes.startsWith(mark))) return true;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(bytes, (one) => one.charCodeAt(0)));
  } catch {
    return false;
  }
  return !bytes.includes("\0");
}
