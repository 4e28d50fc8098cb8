// The theme that was chosen: light, dark, or the system's. `early_theme.js` keeps it, since it runs before any module.

/** @returns {Page.Theme} */
export const get = () => /** @type {Page.Theme} */ (document.documentElement.dataset.theme);

/**
 * Show a theme, and keep the choice in the browser.
 * @param {Page.Theme} theme
 */
export function set(theme) {
  document.dispatchEvent(new CustomEvent("pellucid-choose-theme", { detail: theme }));
}
