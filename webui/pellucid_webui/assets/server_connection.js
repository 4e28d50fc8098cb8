// The page itself: it shows why the server refuses a request, waits for a server that went away, and reloads for a new one.
"use strict";

(() => {
  const { make, announce } = window.Pellucid;

  const ASK_MS = 3000;
  const AGAIN_MS = 1000; // while there is no answer
  const TOLERATED = 2; // requests without an answer before the page says so

  const NOTICED_MS = 30;

  /** @type {Promise<void>} */
  let results = Promise.resolve(); // settled once the stream of results has ended
  let missed = 0;
  /** @type {string | null} */
  let known = null;

  /**
   * Create a banner at the top of the page.
   * @param {string} id
   * @returns {(text: string) => void} a function that shows a sentence; an empty one hides the banner
   */
  function banner(id) {
    const element = make("p", { id, class: "pl-banner", role: "alert", hidden: true });
    return (text) => {
      if (!element.isConnected) document.body.prepend(element);
      element.textContent = text;
      element.hidden = !text;
    };
  }

  const say = banner("pl-away");
  const refuse = banner("pl-refused");
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
      refuse(response.ok ? "" : await reason(response.clone()));
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
      const response = await fetch("page/alive", { cache: "no-store" });
      if (!response.ok) throw new Error(String(response.status));
      const { process, locked } = await response.json();
      if (locked && known === null) document.body.append(make("a", { class: "pl-leave", href: "logout" }, "Log out"));
      if (known !== null && process !== known) location.reload();
      known = process;
      if (missed >= TOLERATED) announce("The server is back.");
      if (missed) document.dispatchEvent(new Event("pellucid-back"));
      missed = 0;
      say("");
    } catch {
      missed += 1;
      if (missed >= TOLERATED) say("The server does not answer. Your text is kept; this page resumes when the server is back.");
    }
  }

  watch();
})();
