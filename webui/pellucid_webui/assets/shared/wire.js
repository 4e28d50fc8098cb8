// Requests to the page's own routes: a JSON object in, server-sent events out.

import { reason, report } from "./server_banner.js";

const UNSENT = "The server does not answer, so nothing was sent: try again when the server is back.";

/**
 * Send a request, and call back with each event of the answer.
 * @template Value
 * @param {string} route below page/
 * @param {object} asked
 * @param {(value: Value) => void} onEvent
 * @param {{ signal?: AbortSignal, onRefused?: (sentence: string, status: number) => void }} [options] a signal ends the answer; by
 *   default, the page's banner shows a refusal. The status is 0 if the server could not be reached
 * @returns {Promise<boolean>} whether the answer has come whole
 */
export async function call(route, asked, onEvent, { signal, onRefused = showRefused } = {}) {
  let response;
  try {
    response = await fetch(`page/${route}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(asked), signal });
  } catch {
    if (!signal?.aborted) onRefused(UNSENT, 0);
    return false;
  }
  if (!response.ok || response.body === null) {
    onRefused(reason(await response.text(), response.status), response.status);
    return false;
  }
  showRefused("");
  const events = eventsOf(response.body);
  for (;;) {
    let next;
    try {
      next = await events.next();
    } catch (error) {
      if (error instanceof TypeError || signal?.aborted) return false; // the connection is lost
      throw error;
    }
    if (next.done) return true;
    if (next.value.error?.message) {
      onRefused(next.value.error.message, next.value.error.code);
      return false;
    }
    onEvent(next.value);
  }
}

/** @param {string} sentence */
const showRefused = (sentence) => report("refused", sentence);

/**
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<any>}
 */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (text + part.value).split("\n\n");
    text = events.pop() ?? "";
    for (const event of events) yield JSON.parse(event.slice("data: ".length));
  }
}
