// Copying text with formulas gives their source, not the characters of the rendered ones.

import { make } from "../shared/dom.js";

/**
 * @param {Node} node
 * @returns {HTMLElement | null} the formula around a node
 */
const formulaOf = (node) => (node instanceof Element ? node : node.parentElement)?.closest(".pl-formula") ?? null;

document.addEventListener("copy", (event) => {
  const selection = window.getSelection();
  if (!selection || selection.isCollapsed || !event.clipboardData || event.defaultPrevented) return;
  const range = selection.getRangeAt(0);
  const only = formulaOf(range.commonAncestorContainer);
  const copied = make("div", { class: "pl-copied", "aria-hidden": "true" }, only ? (only.dataset.source ?? "") : range.cloneContents());
  const formulas = [...copied.querySelectorAll(".pl-formula")];
  if (!only && !formulas.length) return; // the browser copies it
  for (const formula of formulas) formula.replaceChildren(/** @type {HTMLElement} */ (formula).dataset.source ?? "");
  document.body.append(copied); // line ends come from the layout
  event.clipboardData.setData("text/plain", copied.innerText);
  event.clipboardData.setData("text/html", copied.innerHTML);
  copied.remove();
  event.preventDefault();
});
