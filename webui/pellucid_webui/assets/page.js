// The page itself: it waits for a server that went away, and comes back to where it was.
"use strict";

(() => {
  const { make, announce } = window.Pellucid;

  const ASK_MS = 3000;
  const AGAIN_MS = 1000; // while there is no answer
  const TOLERATED = 2; // questions without an answer before it is said

  let missed = 0;
  let banner = null;
  let known = null;

  function say(text) {
    if (!banner) {
      banner = make("p", { class: "pl-banner", role: "alert" });
      document.body.prepend(banner);
    }
    banner.textContent = text;
    banner.hidden = !text;
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
