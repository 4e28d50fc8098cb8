// Icons, drawn here so that no font is loaded, and buttons that show one with a label.
"use strict";

(() => {
  const { make, button } = window.Pellucid;

  const SVG = "http://www.w3.org/2000/svg";

  /** @type {Record<Page.IconName, string>} */
  const PATHS = {
    copy: "M9 9h11v11H9z M5 15H4V4h11v1",
    tokens: "M3 7h6v10H3z M11 7h4v10h-4z M17 7h4v10h-4z",
    text: "M4 6h16 M4 12h16 M4 18h10",
    edit: "M4 20l1-4L16 5l3 3L8 19z M14 7l3 3",
    regenerate: "M20 5v6h-6 M4 19v-6h6 M19 11a7 7 0 0 0-13-3 M5 13a7 7 0 0 0 13 3",
    continue: "M5 5v14l8-7z M15 5v14",
    options: "M4 8h9 M17 8h3 M4 16h3 M11 16h9 M15 5v6 M9 13v6",
    answer: "M4 5h16v11H10l-4 4v-4H4z",
  };

  /** @type {Map<Page.IconName, SVGSVGElement>} */
  const drawn = new Map();

  /**
   * Create an icon, which has no accessible name of its own.
   * @param {Page.IconName} name
   * @returns {SVGSVGElement}
   */
  function icon(name) {
    const known = drawn.get(name);
    if (known) return /** @type {SVGSVGElement} */ (known.cloneNode(true));
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 24 24");
    svg.setAttribute("aria-hidden", "true");
    svg.setAttribute("class", "pl-icon");
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", PATHS[name]);
    svg.append(path);
    drawn.set(name, svg);
    return /** @type {SVGSVGElement} */ (svg.cloneNode(true));
  }

  /**
   * Create a button with an icon, whose label is shown while it has the focus or the pointer.
   * @param {Page.IconName} name
   * @param {string} label
   * @param {Page.Attributes} [attributes]
   * @param {string | null} [description] for screen readers, where the label says too little
   * @returns {HTMLButtonElement}
   */
  function iconButton(name, label, attributes = {}, description = null) {
    const found = button("", { "aria-label": label, "aria-description": description, ...attributes });
    found.classList.add("pl-icon-button");
    found.append(icon(name), make("span", { class: "pl-tip", "aria-hidden": "true" }, label));
    return found;
  }

  Object.assign(window.Pellucid, { icon, iconButton });
})();
