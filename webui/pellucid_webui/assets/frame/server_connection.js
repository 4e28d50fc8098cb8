// The page itself: it shows why the server refuses a request, waits for a server that went away, and reloads for a new one.
"use strict";

(() => {
  const { make, announce } = window.Pellucid;

  const ASK_MS = 3000;
  const AGAIN_MS = 1000; // while there is no answer
  const TOLERATED = 2; // requests without an answer before the page says so

  const NOTICED_MS = 30;
  const PATIENCE_MS = 10000; // for one answer

  /** @type {Promise<void>} */
  let results = Promise.resolve(); // settled once the stream of results has ended
  let missed = 0;
  /** @type {string | null} */
  let known = null;

  const banner = make("p", { id: "pl-away", class: "pl-banner", role: "alert", hidden: true });
  const problems = { away: "", refused: "" };

  /**
   * Show or remove a problem. There is one banner: a server that does not answer explains what it refuses.
   * @param {keyof typeof problems} kind
   * @param {string} text
   */
  function report(kind, text) {
    problems[kind] = text;
    if (!banner.isConnected) document.body.prepend(banner);
    const shown = problems.away || problems.refused;
    if (banner.textContent !== shown) banner.textContent = shown;
    banner.hidden = !shown;
  }

  const plainly = window.fetch.bind(window);

  /**
   * Gradio uses this for its requests. By itself it does not show why the server refuses a request, for example because it is
   * too large or the login has expired. And it never reads the result of a call that it assigns to a stream which the server has
   * already closed.
   * @param {RequestInfo | URL} asked
   * @param {RequestInit} [options]
   * @returns {Promise<Response>}
   */
  window.fetch = async (asked, options) => {
    const response = await plainly(asked, options);
    const { pathname } = new URL(asked instanceof Request ? asked.url : asked, location.href);
    if (pathname.endsWith("/queue/data") && response.body) return noted(response, response.body);
    if (pathname.endsWith("/queue/join")) {
      report("refused", response.ok ? "" : await reason(response.clone()));
      if (response.headers.get("pellucid-stream") === "closed") await results;
    }
    return response;
  };

  /**
   * Pass on a stream of results; `results` is settled once it has ended and Gradio has had the time to notice.
   * @param {Response} response
   * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
   * @returns {Response}
   */
  function noted(response, body) {
    const { readable, writable } = new TransformStream();
    /** @returns {Promise<void>} */
    const later = () => new Promise((resolve) => setTimeout(resolve, NOTICED_MS));
    results = body.pipeTo(writable).then(later, later);
    return new Response(readable, response);
  }

  /**
   * @param {Response} response
   * @returns {Promise<string>} why the server refused a request
   */
  async function reason(response) {
    try {
      return (await response.json()).error.message;
    } catch {
      return `The server refused a request of this page (${response.status}): reload the page.`;
    }
  }

  /** Ask the server now and then whether it is there. */
  async function watch() {
    if (!document.hidden) await ask();
    setTimeout(watch, missed ? AGAIN_MS : ASK_MS);
  }

  /** Ask whether the server is there. If another process answers, reload the page: drafts and conversations are kept. */
  async function ask() {
    try {
      const response = await fetch("page/alive", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!response.ok) throw new Error(String(response.status));
      const { process, locked } = await response.json();
      if (locked && known === null) {
        document.body.dataset.locked = "";
        document.dispatchEvent(new Event("pellucid-locked"));
      }
      if (known !== null && process !== known) location.reload();
      known = process;
      if (missed >= TOLERATED) announce("The server is back.");
      if (missed) document.dispatchEvent(new Event("pellucid-back"));
      missed = 0;
      report("away", "");
    } catch {
      missed += 1;
      if (missed < TOLERATED) return;
      if (missed === TOLERATED) document.dispatchEvent(new Event("pellucid-away"));
      report("away", "The server does not answer. Your text is kept; this page resumes when the server is back.");
    }
  }

  watch();
})();
