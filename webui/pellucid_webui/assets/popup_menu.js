// A menu that opens at a button, and the icons of its items.
"use strict";

(() => {
  const { make } = window.Pellucid;

  const GAP = 4; // pixels between the menu and its button, and the edges of the window
  const SVG = "http://www.w3.org/2000/svg";

  /** @type {Record<string, string>} */
  const ICONS = {
    add: "M8 3v10M3 8h10",
    back: "M10 3 5 8l5 5",
    chevron: "M6 3.5 10.5 8 6 12.5",
    close: "m4 4 8 8M12 4l-8 8",
    download: "M8 2.5v7.5M4.5 7 8 10.5 11.5 7M3 13.5h10",
    edit: "m10.5 3 2.5 2.5L6 12.5l-3 .5.5-3zM9 4.5 11.5 7",
    folder: "M2 12.5v-9h4l1.5 2H14v7z",
    folderAdd: "M2 12.5v-9h4l1.5 2H14v7zM8 7v4M6 9h4",
    more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
    out: "M9.5 3.5H13v9H9.5M9 8H2.5M5 5 2.5 8 5 11",
    pin: "M6 2.5h4l-.5 4 2 2.5h-7l2-2.5zM8 9v4.5",
    remove: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9M7 7v4M9 7v4",
    text: "M3 4h10M3 8h10M3 12h6",
    tick: "m3 8.5 3.5 3.5L13 4.5",
    undo: "M5.5 3 2.5 6l3 3M2.5 6H10a3.5 3.5 0 0 1 0 7H6",
    up: "M3.5 10 8 5.5l4.5 4.5",
    down: "m3.5 6 4.5 4.5L12.5 6",
    upload: "M8 10.5V3M4.5 6 8 2.5 11.5 6M3 13.5h10",
  };

  /**
   * Create an icon, which screen readers skip.
   * @param {string} name
   * @returns {SVGSVGElement}
   */
  function icon(name) {
    const picture = document.createElementNS(SVG, "svg");
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", ICONS[name] ?? "");
    for (const [key, value] of Object.entries({ viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false", class: "pl-icon" })) picture.setAttribute(key, value);
    picture.append(line);
    return picture;
  }

  /**
   * Open a menu at a button. It closes on Escape, Tab, a click elsewhere, and when an item is chosen; the button gets the focus again.
   * @param {HTMLElement} anchor
   * @param {string} label
   * @param {Page.MenuItem[]} items
   */
  function openMenu(anchor, label, items) {
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
    (anchor.closest(".pl-shelf") ?? document.body).append(menu);
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

  Object.assign(window.Pellucid, { icon, openMenu });
})();
