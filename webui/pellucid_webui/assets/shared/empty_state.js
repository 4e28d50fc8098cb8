// What a tab shows before anything was done there: what will come, and a small real example that runs at a click.

import { make, announce } from "./dom.js";

/**
 * @param {{ picture: HTMLElement[], promise: string, example: string | HTMLElement, does: string, place: HTMLElement, hasOwn: () => boolean, run: () => unknown }} parts
 *   `does`: what the example does; `place`: where its result appears; `hasOwn`: whether the example would overwrite what the user wrote
 * @returns {HTMLElement}
 */
export function emptyState({ picture, promise, example, does, place, hasOwn, run }) {
  let hasRun = false; // then what is there may be the example itself
  const begin = () => {
    if (!hasRun && hasOwn()) {
      show(); // a file was opened since
      return;
    }
    hasRun = true;
    run();
    place.tabIndex = -1;
    place.focus();
    announce("The example runs. Its result appears here.");
  };
  const offer = make("button", { type: "button", class: "pl-example", onclick: begin }, make("span", {}, example), make("span", { class: "pl-quiet" }, `Try it: ${does}`));
  const show = () => (offer.hidden = hasOwn());
  document.addEventListener("input", show);
  show();
  return make("div", { class: "pl-empty-state" }, make("p", { class: "pl-heat", "data-mode": "probability", "aria-hidden": "true" }, ...picture), make("p", {}, promise), offer);
}
