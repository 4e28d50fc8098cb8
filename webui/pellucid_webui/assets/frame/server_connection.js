// The connection to the server: shows why it refuses a request, waits while it does not answer, and reloads the page for a new process.
"use strict";

(() => {
  const { make, announce } = window.Pellucid;

  const CHECK_MS = 3000; // between two checks
  const RETRY_MS = 1000; // between two checks while there is no answer
  const SILENT_FAILURES = 2; // checks without an answer before the page says so

  const GRADIO_MS = 30; // in which Gradio notices the end of a stream
  const TIMEOUT_MS = 10000; // of one check

  /** @type {Promise<void>} */
  let results = Promise.resolve(); // settled once the stream of results has ended
  let failures = 0; // checks without an answer since the last answer
  /** @type {string | null} */
  let serverProcess = null; // the random id of the one that has answered

  const banner = make("p", { id: "pl-server-problem", class: "pl-banner", role: "alert", hidden: true });
  const problems = { unreachable: "", refused: "" };

  /**
   * Show or remove a problem. There is one banner: a server that does not answer explains what it refuses.
   * @param {keyof typeof problems} kind
   * @param {string} text
   */
  function report(kind, text) {
    problems[kind] = text;
    if (!banner.isConnected) document.body.prepend(banner);
    const shown = problems.unreachable || problems.refused;
    if (banner.textContent !== shown) banner.textContent = shown;
    banner.hidden = !shown;
  }

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
    const response = await originalFetch(asked, options);
    const { pathname } = new URL(asked instanceof Request ? asked.url : asked, location.href);
    if (pathname.endsWith("/queue/data") && response.body) return withEndNoted(response, response.body);
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
  function withEndNoted(response, body) {
    const { readable, writable } = new TransformStream();
    /** @returns {Promise<void>} */
    const later = () => new Promise((resolve) => setTimeout(resolve, GRADIO_MS));
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
})();
