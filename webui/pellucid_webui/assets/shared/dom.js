// Helpers of all scripts. Elements are made from text, never from HTML, except for the server's own safe Markdown.

const COPIED = "Copied";
const COPIED_MS = 1500;

/**
 * Create an element. A child that is a string becomes text; null and undefined are skipped.
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {Page.Attributes} [attributes]
 * @param {...Page.Child} children
 * @returns {HTMLElementTagNameMap[Name]}
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * Create an SVG element.
 * @template {keyof SVGElementTagNameMap} Name
 * @param {Name} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 * @returns {SVGElementTagNameMap[Name]}
 */
export function makeSvg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/**
 * Create a button.
 * @param {string} text
 * @param {Page.Attributes} [attributes]
 * @param {string | null} [hint] shown on hover; names the key, if there is one
 * @returns {HTMLButtonElement}
 */
export function button(text, attributes = {}, hint = null) {
  return make("button", { type: "button", class: "pl-button", title: hint, ...attributes }, text);
}

/**
 * Announce a text to screen readers only.
 * @param {string} text
 */
export function announce(text) {
  let region = document.getElementById("pl-announcer");
  if (!region) {
    region = make("div", { id: "pl-announcer", class: "pl-visually-hidden", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  region.textContent = text;
}

/**
 * Put a text on the clipboard and confirm it, also on the button that was pressed.
 * @param {string} text
 * @param {HTMLElement} pressed
 * @returns {Promise<void>}
 */
export async function copy(text, pressed) {
  const isCopied = await toClipboard(text);
  announce(isCopied ? "Copied" : "The browser does not allow this page to copy: select the text and copy it yourself.");
  const name = pressed.textContent;
  if (!isCopied || name === COPIED) return;
  pressed.textContent = COPIED;
  setTimeout(() => (pressed.textContent = name), COPIED_MS);
}

/**
 * @param {string} text
 * @returns {Promise<boolean>} whether the text is on the clipboard
 */
async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = make("textarea", { class: "pl-visually-hidden" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy"); // a page without TLS has no navigator.clipboard
    field.remove();
    return done;
  }
}

/**
 * Have the browser save a text or other content as a file.
 * @param {string} name
 * @param {BlobPart} content
 * @param {string} type
 */
export function download(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/**
 * Have the browser save a file that the server has sent.
 * @param {Page.SavedText | undefined} file
 */
export function saveFile(file) {
  if (file) download(file.name, file.text, file.type);
}

/**
 * Read at most one byte more than `limit` of a file: with that byte the server sees that the file is too large.
 * @param {File} file
 * @param {number} limit bytes
 * @returns {Promise<Page.FileContent>}
 */
export async function contentOf(file, limit) {
  const bytes = new Uint8Array(await file.slice(0, limit + 1).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
  return { name: file.name, data: btoa(text), size: bytes.length };
}

/** Texts that are kept in a storage of the browser; while the page is open, if the browser refuses or the storage is full. */
class Memory {
  /** @param {() => Storage} storage throws in a browser that has none */
  constructor(storage) {
    this.storage = storage;
    /** @type {Map<string, string | null>} */
    this.unsaved = new Map(); // what the browser refused
  }

  /**
   * @param {string} key
   * @returns {string | null}
   */
  get(key) {
    const value = this.unsaved.get(key);
    if (value !== undefined) return value;
    try {
      return this.storage().getItem(`pellucid.${key}`);
    } catch {
      return null;
    }
  }

  /**
   * @param {string} key
   * @param {string | null} value null or "" forgets the key
   */
  set(key, value) {
    this.unsaved.delete(key);
    try {
      if (value === null || value === "") this.storage().removeItem(`pellucid.${key}`);
      else this.storage().setItem(`pellucid.${key}`, value);
    } catch {
      this.unsaved.set(key, value);
    }
  }

  /**
   * Put away the texts of one user, and bring back those of another.
   * @param {string} from
   * @param {string} to
   */
  change(from, to) {
    this.unsaved.clear();
    try {
      const storage = this.storage();
      const texts = Object.entries(storage).filter(([key]) => key.startsWith("pellucid."));
      for (const [key] of texts) storage.removeItem(key);
      for (const [key, text] of JSON.parse(storage.getItem(`user.${to}`) ?? "[]")) storage.setItem(key, text);
      storage.setItem(`user.${from}`, JSON.stringify(texts));
    } catch {
      // A full storage: nothing of the first user is left for the other.
    }
  }
}

export const memory = new Memory(() => localStorage); // of all tabs, for good
export const tabMemory = new Memory(() => sessionStorage); // of this tab, until it is closed; a reload keeps it

/** What is typed. Each tab has its own text, which outlives a reload; a new tab begins with the last text of any tab. */
export const typed = {
  /**
   * @param {string} key
   * @returns {string}
   */
  get(key) {
    const own = tabMemory.get(key);
    return own === null ? (memory.get(key) ?? "") : JSON.parse(own);
  },

  /**
   * @param {string} key
   * @param {string} text if empty, the text of another tab stays for new tabs
   */
  set(key, text) {
    if (text || (memory.get(key) ?? "") === typed.get(key)) memory.set(key, text);
    tabMemory.set(key, JSON.stringify(text));
  },
};

/**
 * Return the name of this browser tab, under which the server keeps its last results; a reload keeps it.
 * @returns {string}
 */
export function tabId() {
  const fresh = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const kept = tabMemory.get("tab") ?? fresh;
  tabMemory.set("tab", kept);
  return kept;
}

/**
 * Name the browser's tab after the conversation that it shows.
 * @param {string} title
 */
export function nameTab(title) {
  document.title = title ? `${title} · Pellucid` : "Pellucid";
}

/**
 * @param {Element} element
 * @returns {string | null} its accessible name
 */
export const nameOf = (element) => element.getAttribute("aria-label") || element.textContent;

/** @returns {HTMLElement[]} the buttons that open the page's tabs */
export const pageTabs = () => /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[role="tab"]')]);

/** @param {string} name */
const pageTab = (name) => pageTabs().find((tab) => tab.textContent?.trim() === name);

/**
 * @param {string} name
 * @returns {boolean}
 */
export const isTabOpen = (name) => pageTab(name)?.getAttribute("aria-selected") === "true";

/**
 * Open a tab of the page.
 * @param {string} name
 * @returns {HTMLElement | undefined} its button, if the page has it by now
 */
export function openTab(name) {
  const tab = pageTab(name);
  tab?.click();
  return tab;
}

/** @returns {HTMLTextAreaElement | null} the field for a new message of the chat */
export const chatField = () => document.querySelector("#pl-chat textarea.pl-field");

/** @param {KeyboardEvent} event */
export const hasModifier = (event) => event.ctrlKey || event.metaKey || event.altKey;

/**
 * @param {Element} target
 * @returns {boolean} whether a key that is pressed there is part of a text or a choice
 */
export const takesKeys = (target) => /** @type {HTMLElement} */ (target).isContentEditable || Boolean(target.closest("input, textarea, select"));
