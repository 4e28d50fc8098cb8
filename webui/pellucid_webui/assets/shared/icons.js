// Icons, drawn here so that no font is loaded, and buttons that show one with a label.

import { make, makeSvg, button } from "./dom.js";

/** Paths in a square of 24. */
const LARGE = {
  copy: "M9 9h11v11H9z M5 15H4V4h11v1",
  tokens: "M3 7h6v10H3z M11 7h4v10h-4z M17 7h4v10h-4z",
  text: "M4 6h16 M4 12h16 M4 18h10",
  edit: "M4 20l1-4L16 5l3 3L8 19z M14 7l3 3",
  regenerate: "M20 5v6h-6 M4 19v-6h6 M19 11a7 7 0 0 0-13-3 M5 13a7 7 0 0 0 13 3",
  continue: "M5 5v14l8-7z M15 5v14",
  versions: "M6 4v12 M6 8h6a3 3 0 0 1 3 3v1 M4 18a2 2 0 1 0 4 0a2 2 0 1 0-4 0 M13 14a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
  compare: "M4 5h6v14H4z M14 5h6v14h-6z M12 3v18",
  picture: "M4 5h16v14H4z M4 16l5-5 4 4 3-3 4 4 M9 9h.01",
  options: "M18 3v6h-6 M17 9a7 7 0 1 0-6 10 M15 19h.01M18.5 19h.01M22 19h.01",
  details: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18M12 11v5.5M12 7.5v.01",
  answer: "M4 5h16v11H10l-4 4v-4H4z",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 4v6M6 14v6",
  palette: "M4 5h16v14H4zM7 10l3 2-3 2M12 15h5",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5",
  dark: "M20 14a8 8 0 0 1-10-10 8 8 0 1 0 10 10z",
  system: "M3 5h18v11H3zM9 20h6M12 16v4",
  help: "M9 9a3 3 0 1 1 4 3c-.8.4-1 1-1 2M12 17.5v.5M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18",
};

/** Paths in a square of 16. */
const SMALL = {
  add: "M8 3v10M3 8h10",
  back: "M10 3 5 8l5 5",
  chevron: "M6 3.5 10.5 8 6 12.5",
  close: "m4 4 8 8M12 4l-8 8",
  download: "M8 2.5v7.5M4.5 7 8 10.5 11.5 7M3 13.5h10",
  folder: "M2 12.5v-9h4l1.5 2H14v7z",
  folderAdd: "M2 12.5v-9h4l1.5 2H14v7zM8 7v4M6 9h4",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  out: "M9.5 3.5H13v9H9.5M9 8H2.5M5 5 2.5 8 5 11",
  pin: "M6 2.5h4l-.5 4 2 2.5h-7l2-2.5zM8 9v4.5",
  remove: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9M7 7v4M9 7v4",
  tick: "m3 8.5 3.5 3.5L13 4.5",
  undo: "M5.5 3 2.5 6l3 3M2.5 6H10a3.5 3.5 0 0 1 0 7H6",
  up: "M3.5 10 8 5.5l4.5 4.5",
  down: "m3.5 6 4.5 4.5L12.5 6",
  upload: "M8 10.5V3M4.5 6 8 2.5 11.5 6M3 13.5h10",
};

/** @type {Map<Page.IconName, SVGSVGElement>} */
const drawn = new Map();

/**
 * Create an icon, which has no accessible name of its own.
 * @param {Page.IconName} name
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  let svg = drawn.get(name);
  if (!svg) {
    const [viewBox, classes] = name in LARGE ? ["0 0 24 24", "pl-icon"] : ["0 0 16 16", "pl-icon pl-small-icon"];
    svg = makeSvg("svg", { viewBox, "aria-hidden": "true", class: classes }, makeSvg("path", { d: { ...SMALL, ...LARGE }[name] }));
    drawn.set(name, svg);
  }
  return /** @type {SVGSVGElement} */ (svg.cloneNode(true));
}

/**
 * Create a button with an icon, whose label is shown at once while it has the focus or the pointer.
 * @param {Page.IconName} name
 * @param {string} label
 * @param {Page.Attributes} [attributes]
 * @param {string | null} [description] for screen readers, where the label says too little
 * @returns {HTMLButtonElement}
 */
export function tipIconButton(name, label, attributes = {}, description = null) {
  const created = iconButton(name, label, { title: null, "aria-description": description, ...attributes });
  created.append(make("span", { class: "pl-tip", "aria-hidden": "true" }, label));
  return created;
}

/**
 * Create a button with an icon in place of a text.
 * @param {Page.IconName} name
 * @param {string} label
 * @param {Page.Attributes} [attributes]
 * @param {string} [hint] shown on hover
 * @returns {HTMLButtonElement}
 */
export function iconButton(name, label, attributes = {}, hint = label) {
  const created = button("", { "aria-label": label, ...attributes }, hint);
  created.classList.add("pl-icon-button");
  created.append(icon(name));
  return created;
}

/**
 * Create a button with an icon before its text.
 * @param {Page.IconName} name
 * @param {string} text
 * @param {Page.Attributes} [attributes]
 * @param {string | null} [hint] shown on hover
 * @returns {HTMLButtonElement}
 */
export function iconTextButton(name, text, attributes = {}, hint = null) {
  const created = button(text, attributes, hint);
  created.prepend(icon(name));
  return created;
}
