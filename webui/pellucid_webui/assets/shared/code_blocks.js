// The buttons of code blocks: copy, wrap long lines, and put the code into the Infill tab or into the editor.

import { insertIntoInfill } from "../infill_tab.js";
import { button, copy, memory, announce } from "./dom.js";
import { isInEditor, tellEditor } from "./editor.js";

const WRAP_KEY = "wrap"; // in `memory`

/** @returns {boolean} */
const isWrapped = () => memory.get(WRAP_KEY) === "1";

/**
 * Let the buttons of the code blocks within an element work.
 * @param {HTMLElement} list
 */
export function mountCodeBlocks(list) {
  list.classList.toggle("pl-wrapped", isWrapped());
  list.addEventListener("click", (event) => {
    const pressed = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest(".pl-code figcaption button"));
    if (!pressed) return;
    const code = pressed.closest(".pl-code")?.querySelector("code")?.textContent ?? "";
    if (pressed.classList.contains("pl-copy")) copy(code, pressed);
    else if (pressed.classList.contains("pl-wrap")) wrap(list);
    else if (pressed.classList.contains("pl-to-infill")) insertIntoInfill(code);
    else if (pressed.dataset.verb) tellEditor({ kind: "code", verb: /** @type {"insert" | "apply"} */ (pressed.dataset.verb), code });
  });
}

/**
 * Wrap the long lines of all code, or show them whole again.
 * @param {HTMLElement} list
 */
function wrap(list) {
  const wrapped = !isWrapped();
  memory.set(WRAP_KEY, wrapped ? "1" : null);
  announce(wrapped ? "Long lines of code are wrapped." : "Long lines of code scroll.");
  list.classList.toggle("pl-wrapped", wrapped);
  for (const one of list.querySelectorAll(".pl-wrap")) one.setAttribute("aria-pressed", String(wrapped));
}

/**
 * Show on the buttons of new code blocks that their lines are wrapped, and in an editor what the editor can do with the code.
 * @param {HTMLElement} list
 */
export function completeCodeBlocks(list) {
  if (isInEditor()) {
    for (const one of list.querySelectorAll(".pl-to-infill")) {
      one.replaceWith(
        button("Insert at cursor", { class: null, "data-verb": "insert" }),
        button("Apply as diff", { class: null, "data-verb": "apply" }, "Compare with the file, and choose the changes to make"),
      );
    }
  }
  if (isWrapped()) for (const one of list.querySelectorAll('.pl-wrap[aria-pressed="false"]')) one.setAttribute("aria-pressed", "true");
}
