// Small helpers of all scripts: elements are made of text and never of HTML, but for the server's own safe Markdown.
"use strict";

window.Pellucid = window.Pellucid || {};

(() => {
  const COPIED = "Copied";
  const TOLD_MS = 1500;

  /** An element with attributes and children; a child that is a string becomes text. Attributes that are null or false are left out. */
  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  /** A button with a name; `hint` is shown on hover and says the key, if there is one. */
  function button(text, attributes = {}, hint = null) {
    return make("button", { type: "button", class: "pl-button", title: hint, ...attributes }, text);
  }

  /** Say something to screen readers, and to nobody else. */
  function announce(text) {
    let place = document.getElementById("pl-announcer");
    if (!place) {
      place = make("div", { id: "pl-announcer", class: "pl-heard", role: "status", "aria-live": "polite" });
      document.body.append(place);
    }
    place.textContent = text;
  }

  /** Put a text on the clipboard and say so, on the button that was pressed as well; true where that could be done. */
  async function copy(text, pressed) {
    const isCopied = await toClipboard(text);
    announce(isCopied ? "Copied" : "The browser does not let this page copy.");
    const name = pressed.textContent;
    if (!isCopied || name === COPIED) return;
    pressed.textContent = COPIED;
    setTimeout(() => (pressed.textContent = name), TOLD_MS);
  }

  async function toClipboard(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const field = make("textarea", { class: "pl-heard" });
      field.value = text;
      document.body.append(field);
      field.select();
      const done = document.execCommand("copy"); // where a page without TLS has no clipboard
      field.remove();
      return done;
    }
  }

  /** Have the browser save a text as a file. */
  function download(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = make("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  /** The name and the bytes of a file, in base64: at most one byte more than `limit`, by which the server knows that it is too large. */
  async function contentOf(file, limit) {
    const bytes = new Uint8Array(await file.slice(0, limit + 1).arrayBuffer());
    let text = "";
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return { name: file.name, data: btoa(text), size: bytes.length };
  }

  const unkept = new Map(); // where the browser keeps nothing, for as long as the page is open

  /** What is kept in this browser, where it can be. */
  const memory = {
    get(key) {
      if (unkept.has(key)) return unkept.get(key);
      try {
        return localStorage.getItem(`pellucid.${key}`);
      } catch {
        return null;
      }
    },
    set(key, value) {
      unkept.delete(key);
      try {
        if (value === null || value === "") localStorage.removeItem(`pellucid.${key}`);
        else localStorage.setItem(`pellucid.${key}`, value);
      } catch {
        unkept.set(key, value);
      }
    },
  };

  /** Call the browser's tab after the conversation that it shows. */
  function nameTab(title) {
    document.title = title ? `${title} · Pellucid` : "Pellucid";
  }

  Object.assign(window.Pellucid, { make, button, announce, copy, download, contentOf, memory, nameTab });
})();
