// The page itself: it says what the server refuses, waits for one that went away, and comes back to where it was.
"use strict";

(() => {
  const { make, announce } = window.Pellucid;

  const ASK_MS = 3000;
  const AGAIN_MS = 1000; // while there is no answer
  const TOLERATED = 2; // questions without an answer before it is said

  const NOTICED_MS = 30;

  let results = Promise.resolve(); // until the end of the stream of results
  let missed = 0;
  let known = null;

  /** A place for a sentence at the top of the page; an empty one takes it away. */
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
   * Gradio asks by this. It says nothing of what the server refuses: what is too large for it, or sent by nobody who has logged in.
   * And it never reads the result of a call that it takes for one of a stream which the server has closed already.
   */
  window.fetch = async (asked, options) => {
    const response = await plainly(asked, options);
    const { pathname } = new URL(asked instanceof Request ? asked.url : asked, location.href);
    if (pathname.endsWith("/queue/data") && response.body) return noted(response);
    if (pathname.endsWith("/queue/join")) {
      refuse(response.ok ? "" : await reason(response.clone()));
      if (response.headers.get("pellucid-stream") === "closed") await results;
    }
    return response;
  };

  /** A stream of results; ``results`` is settled once it has ended and Gradio has had the time to notice. */
  function noted(response) {
    const { readable, writable } = new TransformStream();
    const later = () => new Promise((resolve) => setTimeout(resolve, NOTICED_MS));
    results = response.body.pipeTo(writable).then(later, later);
    return new Response(readable, response);
  }

  async function reason(response) {
    try {
      return (await response.json()).error.message;
    } catch {
      return `The server refused what this page asked for (${response.status}): load the page again.`;
    }
  }

  /** Ask, and ask again later. */
  async function watch() {
    if (!document.hidden) await ask();
    setTimeout(watch, missed ? AGAIN_MS : ASK_MS);
  }

  /** Ask whether the server is there; a page of another process's is loaded anew: drafts and conversations are kept. */
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
      if (missed >= TOLERATED) say("The server does not answer. What you wrote is kept; this page goes on once it is back.");
    }
  }

  watch();
})();
