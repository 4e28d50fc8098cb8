// The banner that says what is wrong between the page and the server.

import { make } from "./dom.js";

/** @type {HTMLElement | null} */
let banner = null;
const problems = { unreachable: "", refused: "" };

/**
 * Show or remove a problem. There is one banner: a server that does not answer explains what it refuses.
 * @param {keyof typeof problems} kind
 * @param {string} text
 */
export function report(kind, text) {
  problems[kind] = text;
  banner ??= make("p", { id: "pl-server-problem", class: "pl-banner", role: "alert", hidden: true });
  if (!banner.isConnected) document.body.prepend(banner);
  const shown = problems.unreachable || problems.refused;
  if (banner.textContent !== shown) banner.textContent = shown;
  banner.hidden = !shown;
}

/**
 * @param {string} body
 * @param {number} status
 * @returns {string} why the server refused a request
 */
export function reason(body, status) {
  try {
    return JSON.parse(body).error.message;
  } catch {
    return `The server refused a request of this page (${status}): reload the page.`;
  }
}
