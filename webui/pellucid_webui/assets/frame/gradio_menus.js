// Gradio's menus: a click opens a menu again after Escape, and a menu closes when the focus leaves it.

/**
 * @param {Event} event
 * @returns {HTMLInputElement | null} the field of the menu that the event concerns
 */
const menuOf = ({ target }) => (target instanceof HTMLInputElement && target.role === "combobox" && !target.closest("dialog") ? target : null);

document.addEventListener(
  "pointerdown",
  (event) => {
    const menu = menuOf(event);
    if (menu && menu === document.activeElement && menu.getAttribute("aria-expanded") === "false") menu.blur(); // only the focus opens it
  },
  { capture: true },
);

document.addEventListener("focusout", (event) => {
  const menu = menuOf(event);
  setTimeout(() => {
    const isLeft = menu !== null && menu !== document.activeElement && menu.getAttribute("aria-expanded") === "true";
    if (isLeft) menu.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  });
});
