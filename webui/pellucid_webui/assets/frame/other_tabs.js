// Other tabs of this browser: what changes in the chat of one is shown by the others at once, without asking the server for news.

import { follow, actOn } from "../shared/shared_components.js";

const channel = new BroadcastChannel("pellucid");
/** @type {Page.ChatValue | null} */
let shown = null;
/** @type {[text: string, node: number]} */
let last = ["", 0];
/** @type {string | null} */
let state = null; // of the conversation that this tab shows, for the others

/** @param {Page.ChatValue} value */
function stateOf({ id, title, messages, live, redo }) {
  const text = messages.at(-1) ?? "";
  if (text !== last[0]) last = [text, text ? JSON.parse(text).node : 0];
  return JSON.stringify([id, title, messages.length, last[1], live ? JSON.parse(live.message).node : 0, redo]);
}

follow("chat", (value) => {
  if (!value) return;
  shown = value;
  const now = stateOf(value);
  if (state !== null && now !== state) channel.postMessage(now);
  state = now;
});

channel.addEventListener("message", ({ data }) => {
  // A hidden tab asks when it is shown; one that receives an answer is up to date.
  if (shown && !document.hidden && !shown.live && data !== state) actOn("chat", { verb: "refresh", conversation: shown.id });
});
