// The list of conversations at the left and the settings at the right: columns of a wide window, drawers of a narrow one.

import { memory } from "../shared/dom.js";
import { follow } from "../shared/page_state.js";

const NARROW = matchMedia("(max-width: 60rem)"); // the same as in frame.css
const FOCUSABLE = "button:not(:disabled), input:not([type=file]), textarea, select, a[href], summary";
const SIDE_KEY = "side"; // in `memory`: "closed" if the user has hidden the list of a wide window

/** @type {Page.DrawerName[]} */
const NAMES = ["side", "settings"];
/** @type {Record<Page.DrawerName, boolean>} */
const open = { side: !NARROW.matches && memory.get(SIDE_KEY) !== "closed", settings: false };

/** @param {Page.DrawerName} name */
const drawerOf = (name) => document.getElementById(`pl-${name}`);

/** @param {Page.DrawerName} name */
const toggleOf = (name) => document.getElementById(`pl-${name}-toggle`);

export function draw() {
  for (const name of NAMES) {
    document.body.dataset[name] = open[name] ? "open" : "closed";
    toggleOf(name)?.setAttribute("aria-expanded", String(open[name]));
  }
  const covers = NARROW.matches && (open.side || open.settings);
  document.getElementById("pl-main")?.toggleAttribute("inert", covers);
}

/**
 * Open or close a drawer, and move the focus into it or back.
 * @param {Page.DrawerName} name
 * @param {boolean} isOpen
 */
export function set(name, isOpen) {
  if (open[name] === isOpen) return;
  const hadFocus = drawerOf(name)?.contains(document.activeElement) ?? false;
  open[name] = isOpen;
  if (NARROW.matches && isOpen) for (const other of NAMES) open[other] = other === name;
  if (name === "side" && !NARROW.matches) memory.set(SIDE_KEY, isOpen ? null : "closed");
  draw();
  if (isOpen) /** @type {HTMLElement | null | undefined} */ (drawerOf(name)?.querySelector(FOCUSABLE))?.focus({ preventScroll: true });
  else if (hadFocus) toggleOf(name)?.focus();
}

/** @param {Page.DrawerName} name */
export const toggle = (name) => set(name, !open[name]);

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  for (const name of NAMES) if (target.closest(`#pl-${name}-toggle`)) toggle(name);
  if (target.closest("[data-close-drawer]")) set("settings", false);
  if (target.id === "pl-desk" && NARROW.matches) NAMES.forEach((name) => set(name, false)); // what a drawer leaves of the chat
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented) return;
  const target = /** @type {Element} */ (event.target);
  if (target.getAttribute("aria-expanded") === "true" && target.getAttribute("role")) return; // this Escape closes a menu
  if (target.closest("dialog, [popover]")) return;
  const name = NAMES.find((one) => open[one] && (drawerOf(one)?.contains(target) || (NARROW.matches && target === document.body)));
  if (!name || (name === "side" && !NARROW.matches)) return;
  event.preventDefault();
  set(name, false);
  toggleOf(name)?.focus();
});

NARROW.addEventListener("change", () => {
  open.side = !NARROW.matches && memory.get(SIDE_KEY) !== "closed";
  open.settings = false;
  draw();
});

/** @type {string | null | undefined} */
let shown;
follow("opened", (id) => {
  if (NARROW.matches && shown !== undefined && shown !== id) set("side", false); // its work is done
  shown = id;
});

// An on-screen keyboard covers the page in browsers that do not shrink it: the page then ends above the keyboard.
const { visualViewport } = window;
visualViewport?.addEventListener("resize", () => {
  const isCovered = visualViewport.scale === 1 && visualViewport.height < window.innerHeight - 1;
  if (isCovered) document.documentElement.style.setProperty("--pl-height", `${visualViewport.height}px`);
  else document.documentElement.style.removeProperty("--pl-height");
});

// Gradio adds the toggles one after the other, and later than this begins.
const observer = new MutationObserver(() => {
  if (!NAMES.every(toggleOf)) return;
  observer.disconnect();
  draw();
});
observer.observe(document.documentElement, { childList: true, subtree: true });
draw();

/** @param {Page.DrawerName} name */
export const isOpen = (name) => open[name];
