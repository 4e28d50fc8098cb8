// The connection to the server: shows why it refuses a request, waits while it does not answer, and reloads the page for a new process.

import { announce } from "../shared/dom.js";
import { reason, report } from "../shared/server_banner.js";

const CHECK_MS = 3000; // between two checks
const RETRY_MS = 1000; // between two checks while there is no answer
const SILENT_FAILURES = 2; // checks without an answer before the page says so

const GRADIO_MS = 30; // time for Gradio to notice the end of a stream
const TIMEOUT_MS = 10000; // of one check

const MESSAGES = /"msg":"(\w+)","event_id":"(\w+)"/g; // Gradio's, in a stream of results; quotation marks of users are escaped

/** @type {Promise<void>} */
let results = Promise.resolve(); // settled once the stream of results has ended
/** @type {Set<Promise<void>>} */
const calls = new Set(); // those whose responses Gradio has not handled yet
/** @type {Set<string>} */
const known = new Set(); // the ids of running calls whose responses Gradio has handled
let failures = 0; // checks without an answer since the last answer
/** @type {string | null} */
let serverProcess = null; // the random id of the one that has answered

const originalFetch = window.fetch.bind(window);

/**
 * Gradio uses this for its requests. By itself it does not show why the server refuses a request, for example because it is
 * too large or the login has expired. And it never reads the result of a call that it assigns to a stream which the server has
 * already closed.
 * @param {RequestInfo | URL} asked
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
window.fetch = async (asked, options) => {
  const { pathname } = new URL(asked instanceof Request ? asked.url : asked, location.href);
  if (pathname.endsWith("/queue/join")) return call(asked, options);
  const response = await originalFetch(asked, options);
  return pathname.endsWith("/queue/data") && response.body ? withEndNoted(response, response.body) : response;
};

/**
 * Send a call. Gradio stores results of a call that it does not know yet, and handles them later than those of other calls that came
 * after them. So the stream of results waits until Gradio has handled the response.
 * @param {RequestInfo | URL} asked
 * @param {RequestInit} [options]
 * @returns {Promise<Response>}
 */
async function call(asked, options) {
  let handled = () => {};
  /** @type {Promise<void>} */
  const running = new Promise((resolve) => {
    handled = () => resolve(undefined);
  }).then(() => void calls.delete(running));
  calls.add(running);
  const before = results;
  try {
    const response = await originalFetch(asked, options);
    const current = results;
    const body = await response.text();
    report("refused", response.ok ? "" : reason(body, response.status));
    if (response.headers.get("pellucid-stream") === "closed") {
      if (current !== before) handled(); // that stream was opened meanwhile and may have this call's results
      await current;
    }
    const given = new Response(body, response);
    given.json = async () => {
      setTimeout(handled); // Gradio handles it before the next task
      const answer = JSON.parse(body);
      known.add(answer.event_id);
      return answer;
    };
    return given;
  } catch (error) {
    handled();
    throw error;
  }
}

/** @returns {Promise<void>} */
function later() {
  return new Promise((resolve) => setTimeout(resolve, GRADIO_MS));
}

/**
 * Pass on a stream of results; `results` is settled once it has ended and Gradio has had the time to notice.
 * @param {Response} response
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {Response}
 */
function withEndNoted(response, body) {
  const { readable, writable } = new TransformStream({
    transform: async (chunk, controller) => {
      const messages = [...new TextDecoder().decode(chunk).matchAll(MESSAGES)];
      while (calls.size && messages.some(([, , id]) => !known.has(id))) await Promise.race(calls);
      controller.enqueue(chunk);
      for (const [, kind, id] of messages) if (kind === "process_completed") known.delete(id);
    },
  });
  results = body.pipeTo(writable).then(later, later);
  return new Response(readable, response);
}

/** Check again and again that the server answers. */
async function keepChecking() {
  if (!document.hidden) await check();
  setTimeout(keepChecking, failures ? RETRY_MS : CHECK_MS);
}

/** Check that the server answers. If another process does, reload the page: drafts and conversations are kept. */
async function check() {
  try {
    const response = await fetch("page/alive", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(String(response.status));
    const { process, locked } = await response.json();
    if (locked && serverProcess === null) {
      document.body.dataset.locked = "";
      document.dispatchEvent(new Event("pellucid-locked"));
    }
    if (serverProcess !== null && process !== serverProcess) location.reload();
    serverProcess = process;
    if (failures >= SILENT_FAILURES) announce("The server is back.");
    if (failures) document.dispatchEvent(new Event("pellucid-server-back"));
    failures = 0;
    report("unreachable", "");
  } catch {
    failures += 1;
    if (failures < SILENT_FAILURES) return;
    if (failures === SILENT_FAILURES) document.dispatchEvent(new Event("pellucid-server-lost"));
    report("unreachable", "The server does not answer. Your text is kept; this page resumes when the server is back.");
  }
}

keepChecking();
