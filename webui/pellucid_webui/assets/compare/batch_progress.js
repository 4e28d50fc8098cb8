// How far a batch is, and how to run what is left of it.

import { make, button } from "../shared/dom.js";

export class BatchProgress {
  /** @param {() => void} onResume */
  constructor(onResume) {
    this.bar = make("progress", { max: 1, "aria-label": "How much of the batch is done" });
    this.count = make("span", { class: "pl-quiet" });
    this.resume = button("Resume", { onclick: onResume }, "Run the rows that are left or have failed");
    this.element = make("div", { class: "pl-row pl-batch-progress", hidden: true }, this.bar, this.count, this.resume);
  }

  /** @param {Page.BatchValue} value */
  show({ running, total, left }) {
    this.bar.value = total ? (total - left) / total : 0;
    this.bar.hidden = !running;
    this.count.textContent = running ? `${total - left} of ${total}` : `${left} ${left === 1 ? "row is" : "rows are"} left`;
    this.resume.hidden = running || !left;
    this.element.hidden = !running && !left;
  }
}
