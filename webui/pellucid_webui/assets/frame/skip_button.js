// The first stop of the Tab key: a way past the header and the lists.

import { make, chatField } from "../shared/dom.js";

/** Move the focus to the message field, else to the open tab. */
function skip() {
  const field = chatField();
  const panel = /** @type {HTMLElement | undefined} */ ([...document.querySelectorAll("[role=tabpanel]")].find((one) => one.checkVisibility()));
  if (field?.checkVisibility()) field.focus();
  else if (panel) {
    panel.tabIndex = -1;
    panel.focus();
  }
}

document.body.prepend(make("button", { type: "button", class: "pl-button pl-skip", onclick: skip }, "Skip to the content"));
