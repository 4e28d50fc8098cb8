// A menu that opens at a button.

import { make } from "./dom.js";
import { icon } from "./icons.js";

const GAP = 4; // pixels between the menu and its button, and the edges of the window

/**
 * Open a menu at a button. It closes on Escape, Tab, a click elsewhere, and when an item is chosen; the button gets the focus again,
 * and then the event `pellucid-menu-closed`.
 * @param {HTMLElement} anchor
 * @param {string} label
 * @param {Page.MenuItem[]} items
 */
export function openMenu(anchor, label, items) {
  const isChoice = items.some((item) => item.checked !== undefined);
  const menu = make("div", { class: "pl-menu", role: "menu", "aria-label": label, popover: "auto" });
  menu.append(...items.map((item) => itemOf(item, isChoice, () => choose(item))));
  const buttons = /** @type {HTMLElement[]} */ ([...menu.children]);
  let hasChosen = false;

  /** @param {Page.MenuItem} item */
  function choose(item) {
    hasChosen = true;
    close();
    item.run();
  }

  function close() {
    const isInside = menu.contains(document.activeElement);
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (isInside && anchor.isConnected) anchor.focus();
    anchor.dispatchEvent(new Event("pellucid-menu-closed", { bubbles: true }));
  }

  menu.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (to !== undefined) buttons.at(to % buttons.length)?.focus();
    else if (event.key === "Tab") close();
    else return;
    event.preventDefault();
  });
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "closed" && !hasChosen && menu.isConnected) close();
  });
  (anchor.closest(".pl-conversation-panel") ?? document.body).append(menu);
  menu.showPopover();
  anchor.setAttribute("aria-expanded", "true");
  place(menu, anchor.getBoundingClientRect());
  buttons[0]?.focus();
}

/**
 * @param {Page.MenuItem} item
 * @param {boolean} isChoice
 * @param {() => void} onclick
 * @returns {HTMLElement}
 */
function itemOf({ text, icon: name, key, checked }, isChoice, onclick) {
  const role = isChoice && checked !== undefined ? "menuitemradio" : "menuitem";
  return make(
    "button",
    { type: "button", role, tabindex: "-1", class: "pl-menu-item", "aria-checked": checked === undefined ? null : String(checked), "aria-keyshortcuts": key, onclick },
    icon(name),
    make("span", { dir: "auto" }, text),
    key ? make("kbd", { "aria-hidden": "true" }, key) : null,
  );
}

/**
 * Place a menu below its button, or above it where there is no room.
 * @param {HTMLElement} menu
 * @param {DOMRect} at
 */
function place(menu, at) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + GAP;
  const top = below + height + GAP <= innerHeight ? below : Math.max(GAP, at.top - GAP - height);
  menu.style.top = `${top}px`;
  menu.style.left = `${Math.max(GAP, Math.min(at.right - width, innerWidth - width - GAP))}px`;
}
