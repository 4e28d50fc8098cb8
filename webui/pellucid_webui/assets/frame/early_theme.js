// The theme: light, dark, or the system's. The server puts this into the page's head, so that nothing is drawn in another theme first.
"use strict";

(() => {
  const KEY = "pellucid.theme";
  const DARK = "(prefers-color-scheme: dark)";

  const query = window.matchMedia.bind(window);
  const system = query(DARK);
  /** @type {Page.Theme} */
  let chosen = "system";
  try {
    const stored = localStorage.getItem(KEY);
    if (stored === "light" || stored === "dark") chosen = stored;
  } catch {
    // A browser that keeps nothing follows the system.
  }

  const isDark = () => (chosen === "system" ? system.matches : chosen === "dark");

  // Gradio asks the browser for the system's theme and follows its changes: it gets the chosen theme instead.
  const shown = new EventTarget();
  Object.defineProperties(shown, { matches: { get: isDark }, media: { value: DARK } });
  window.matchMedia = (text) => (text === DARK ? /** @type {MediaQueryList} */ (shown) : query(text));
  system.addEventListener("change", apply);

  /** Show the chosen theme, also in what the browser draws before Gradio's styles are there. */
  function apply() {
    const { style, dataset } = document.documentElement;
    const dark = isDark();
    dataset.theme = chosen;
    style.colorScheme = dark ? "dark" : "light";
    for (const name of ["--bg", "--col"]) {
      style.removeProperty(name);
      style.removeProperty(`${name}-dark`);
      if (dark !== system.matches) style.setProperty(dark ? name : `${name}-dark`, `var(${dark ? `${name}-dark` : name})`);
    }
    shown.dispatchEvent(new Event("change"));
  }

  document.addEventListener("pellucid-choose-theme", (event) => {
    chosen = /** @type {CustomEvent<Page.Theme>} */ (event).detail;
    try {
      if (chosen === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, chosen);
    } catch {
      // The theme holds until the page is closed.
    }
    apply();
    document.dispatchEvent(new Event("pellucid-theme"));
  });
  apply();
})();
