// The texts and pictures that are sent with the next message: chosen, dropped or pasted. What the model cannot read is refused at once.

import { make, button, contentOf } from "../shared/dom.js";

const PICTURE = /\.(png|jpe?g|gif|webp|bmp|ico|heic|avif|tiff?)$/i;
export const PICTURE_TYPES = ["image/png", "image/jpeg", "image/gif", "image/webp"];
const MOST_PIXELS = 2048; // of the longer side; no model sees more
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
    this.input = make("input", { type: "file", multiple: true, class: "pl-visually-hidden", tabindex: "-1", "aria-label": "Attach files" });
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

  /** @param {string[]} [types] of the files to choose; all if not given */
  choose(types = []) {
    this.input.accept = types.join();
    this.input.click();
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
      const isPicture = PICTURE.test(file.name) || (file.type.startsWith("image/") && file.type !== "image/svg+xml");
      const early = isPicture ? this.pictureRefusal(file, limits) : "";
      try {
        const found = early ? null : isPicture ? await pictureOf(file, limits.picturesLimit) : await contentOf(file, limits.fileLimit);
        const reason = found === null ? early : this.refusal(found, limits);
        if (reason) refused.push(reason);
        else if (found) this.pending.push(found);
      } catch {
        refused.push(`${file.name} cannot be read: choose a ${isPicture ? "picture that is not damaged" : "file that you have access to, not a folder"}.`);
      }
    }
    this.draw();
    this.refuse([...new Set(refused)].join(" "));
  }

  /**
   * @param {File} file
   * @param {Page.AttachLimits} limits
   * @returns {string} why a picture cannot be sent, before its content is read; empty if it can
   */
  pictureRefusal({ name, type }, { model, seesImages, mostPictures }) {
    if (!seesImages) return `${model} sees no images: choose another model.`;
    if (!PICTURE_TYPES.includes(type)) return `${name} is not a PNG, JPEG, GIF or WebP picture: convert it first.`;
    return this.pending.filter((one) => one.type).length < mostPictures ? "" : `A message has at most ${mostPictures} pictures: remove one before you add ${name}.`;
  }

  /**
   * @param {Page.FileContent} content
   * @param {Page.AttachLimits} limits
   * @returns {string} why a file cannot be sent; empty if it can
   */
  refusal({ name, data, size, type }, { fileLimit, filesLimit, picturesLimit }) {
    const total = this.pending.filter((one) => Boolean(one.type) === Boolean(type)).reduce((sum, one) => sum + one.size, size);
    if (type) return total > picturesLimit ? `With ${name} the pictures would exceed ${picturesLimit / 1e6} MB together: remove some, or make it smaller.` : "";
    if (size > fileLimit) return `${name} is larger than ${fileLimit / 1000} kB: use only the relevant part of it.`;
    if (!isText(atob(data))) return `${name} is not UTF-8 text: choose a text file.`;
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
      make(
        "li",
        {},
        file.type ? make("img", { src: `data:${file.type};base64,${file.data}`, alt: file.name }) : file.name,
        button("×", { "aria-label": `Remove ${file.name}`, onclick: () => this.remove([file]) }),
      ),
    );
    this.element.replaceChildren(...items);
  }
}

/**
 * Read a picture, scaled down if it has too many pixels. Throws for a file that is no picture.
 * @param {File} file
 * @param {number} limit bytes
 * @returns {Promise<Page.FileContent>}
 */
async function pictureOf(file, limit) {
  const bitmap = await createImageBitmap(file);
  const scale = MOST_PIXELS / Math.max(bitmap.width, bitmap.height);
  let read = file;
  if (scale < 1) {
    const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
    /** @type {HTMLCanvasElement} */
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0, width, height);
    const blob = await new Promise((/** @type {BlobCallback} */ done) => canvas.toBlob(done, file.type));
    if (blob) read = new File([blob], file.name, { type: blob.type });
  }
  bitmap.close();
  return { ...(await contentOf(read, limit)), type: read.type };
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
