// Other tabs of this browser: what changes in the chat of one is shown by the others at once, without asking the server for news.

import { follow, actOn } from "../shared/page_state.js";

const channel = new BroadcastChannel("pellucid");
/** @type {Page.ChatValue | null} */
let shown = null;
/** @type {string | null} */
let state = null; // of the conversation that this tab shows, for the others

/** @param {Page.ChatValue} value */
function stateOf({ id, title, messages, live, redo }) {
  return JSON.stringify([id, title, messages.length, messages.at(-1)?.node, live?.message.node, redo]);
}

follow("chat", (value) => {
  shown = value;
  const now = stateOf(value);
  if (state !== null && now !== state) channel.postMessage(now);
  state = now;
});

channel.addEventListener("message", ({ data }) => {
  // A hidden tab asks when it is shown; one that receives an answer is up to date.
  if (shown && !document.hidden && !shown.live && data !== state) actOn("chat", { verb: "refresh" });
});
