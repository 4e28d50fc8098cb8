// The theme: light, dark, or the system's. The server puts this into the page's head, so that nothing is drawn in another theme first.
"use strict";

window.Pellucid = window.Pellucid || /** @type {Page.Scripts} */ ({});

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
    const { style } = document.documentElement;
    const dark = isDark();
    style.colorScheme = dark ? "dark" : "light";
    for (const name of ["--bg", "--col"]) {
      style.removeProperty(name);
      style.removeProperty(`${name}-dark`);
      if (dark !== system.matches) style.setProperty(dark ? name : `${name}-dark`, `var(${dark ? `${name}-dark` : name})`);
    }
    shown.dispatchEvent(new Event("change"));
  }

  window.Pellucid.theme = {
    get: () => chosen,
    set(theme) {
      chosen = theme;
      try {
        if (theme === "system") localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, theme);
      } catch {
        // The theme holds until the page is closed.
      }
      apply();
      document.dispatchEvent(new Event("pellucid-theme"));
    },
  };
  apply();
})();
