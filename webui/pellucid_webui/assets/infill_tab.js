// Infill: a field of code with a cursor, and what an editor would show there.

import { make, button, tabMemory, openTab } from "./shared/dom.js";
import { emptyState } from "./shared/empty_state.js";
import { choicesOf, formControls } from "./shared/form_controls.js";
import { mount } from "./shared/mounts.js";
import { call } from "./shared/wire.js";
import { HeatMap } from "./tokens/heatmap.js";

const CODE_KEY = "infill.code"; // in `tabMemory`
const HINT = "Place the cursor, then press Ctrl+Enter to complete.";
/** @type {[before: string, after: string]} */
const EXAMPLE = ["def largest(values):\n    best = values[0]\n    for value in values:\n        if value > best:\n            ", "\n    return best\n"];

class Infill {
  /** @param {HTMLElement} element */
  constructor(element) {
    /** @type {Page.InfillValue | null} */
    this.value = null;
    this.field = make("textarea", { class: "pl-field pl-mono", rows: 14, spellcheck: "false", "aria-label": "Code; the cursor marks where to complete" });
    this.caveat = make("p", { class: "pl-note pl-wrong" });
    this.cost = make("p", { class: "pl-quiet" });
    this.ghost = make("pre", { class: "pl-ghost", tabindex: "0", role: "region", "aria-label": "The code with the suggestion" });
    this.status = make("p", { class: "pl-note", role: "status" });
    this.body = make("div", { class: "pl-body" });
    this.gate = make("table", { class: "pl-table" });
    this.prompt = make("pre", { class: "pl-prompt", tabindex: "0", "aria-label": "The prompt" });
    this.more = make("details", {}, make("summary", {}, "The prompt, as the model read it"), this.prompt);
    this.empty = emptyState({
      picture: [make("span", { class: "pl-mono" }, "total = ", make("mark", {}, "sum(values)"))],
      promise: "The code appears here with what an editor would suggest at the cursor, how likely each token of it is, and why it is shown or hidden.",
      example: make("span", { class: "pl-mono" }, EXAMPLE.join("▮").trim()),
      does: "complete this function at the mark",
      place: this.status,
      hasOwn: () => tabMemory.get(CODE_KEY) !== null,
      run: () => {
        this.write(EXAMPLE);
        this.ask();
      },
    });
    this.insertButton = button("Insert", { onclick: () => this.insertSuggestion() }, "Insert the suggestion into the code");
    element.replaceChildren(
      make(
        "section",
        { class: "pl-infill", "aria-label": "Infill" },
        make(
          "div",
          {},
          this.field,
          make(
            "div",
            { class: "pl-row" },
            button("Complete at the cursor", { class: "pl-button pl-first", onclick: () => this.ask() }, "Ctrl+Enter"),
            this.insertButton,
          ),
        ),
        make("div", {}, this.status, this.caveat, this.ghost, this.body, this.gate, this.cost, this.more, this.empty),
      ),
    );
    this.map = new HeatMap(this.body, { label: "Tokens of the suggestion", onBranch: null, generated: true });
    this.field.addEventListener("input", () => tabMemory.set(CODE_KEY, this.field.value));
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.ask();
    });
    this.controls = formControls("infill");
    this.controls.onChange = ([model], [before]) => model !== before && this.showReliability();
    document.addEventListener("pellucid-server-back", () => this.open());
    const written = tabMemory.get(CODE_KEY);
    this.write(written === null ? EXAMPLE : [written, ""]);
    this.status.textContent = HINT;
    for (const part of [this.ghost, this.body, this.gate, this.more]) part.hidden = true;
    this.insertButton.disabled = true;
    this.asking = new AbortController();
    this.open();
    this.insertPendingCode();
  }

  /** @param {[before: string, after: string]} code with the cursor between */
  write([before, after]) {
    this.field.value = before + after;
    this.field.setSelectionRange(before.length, before.length);
  }

  /** Fill in the model menu. */
  open() {
    call("infill", { verb: "open" }, (/** @type {{ menu: Page.MenuUpdate }} */ { menu }) => {
      this.controls.give([choicesOf({ ...menu, value: this.controls.values[0] || menu.value })]);
    });
  }

  showReliability() {
    const [model] = this.controls.values;
    call("infill", { verb: "reliability", model }, (/** @type {{ html: string }} */ { html }) => {
      const place = document.getElementById("pl-trust");
      if (place && this.controls.values[0] === model) place.innerHTML = html; // made by the server, from escaped texts
    });
  }

  ask() {
    const at = this.field.selectionStart;
    const [model, language, level] = this.controls.values;
    const asked = { verb: "complete", before: this.field.value.slice(0, at), after: this.field.value.slice(at), model, language, level };
    this.asking.abort(); // the suggestion for an earlier cursor
    this.asking = new AbortController();
    call("infill", asked, (/** @type {Page.InfillValue} */ value) => this.update(value), { signal: this.asking.signal });
  }

  /** Insert the suggestion at the cursor. */
  insertSuggestion() {
    if (!this.value || !this.value.shown) return;
    const { before, after, shown } = this.value;
    this.field.focus();
    if (this.field.value !== before + after) {
      this.status.textContent = "The code has changed: complete it again.";
      return;
    }
    this.field.setSelectionRange(before.length, before.length);
    document.execCommand("insertText", false, shown); // unlike an assignment, the browser can undo this
  }

  /** Insert code from elsewhere on the page before the cursor. */
  insertPendingCode() {
    if (pendingCode === null) return;
    const code = pendingCode;
    pendingCode = null;
    const at = this.field.selectionStart;
    this.field.focus();
    document.execCommand("insertText", false, code); // unlike an assignment, the browser can undo this
    this.field.setSelectionRange(at + code.length, at + code.length);
    this.status.textContent = "The code was inserted before the cursor.";
  }

  /** @param {Page.InfillValue} value */
  update(value) {
    this.value = value;
    this.empty.hidden = !value.wrong;
    this.insertButton.disabled = !value.shown;
    this.status.textContent = value.status;
    this.status.classList.toggle("pl-wrong", value.wrong);
    this.caveat.textContent = value.caveat;
    this.cost.textContent = value.cost;
    this.ghost.hidden = !value.batches.length;
    this.ghost.replaceChildren(value.before, make("mark", { class: "pl-shown" }, value.shown), make("mark", { class: "pl-hidden" }, value.cut), value.after);
    this.map.set(value.batches.flatMap((batch) => JSON.parse(batch)));
    this.body.hidden = !value.batches.length;
    this.gate.hidden = !value.gate.length;
    const heads = ["measure", "value", "required"].map((name) => make("th", { scope: "col" }, name));
    this.gate.replaceChildren(
      make("caption", {}, "The gate"),
      make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...value.gate.map(([name, ...cells]) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell))))),
    );
    this.more.hidden = !value.prompt;
    this.prompt.textContent = value.prompt;
  }
}

/** @type {Infill | null} */
let mounted = null;
/** @type {string | null} */
let pendingCode = null; // to be inserted once the tab is shown

/**
 * Open the tab, and put code before the cursor.
 * @param {string} code
 */
export function insertIntoInfill(code) {
  pendingCode = code;
  openTab("Infill");
  requestAnimationFrame(() => mounted?.insertPendingCode()); // when the tab is shown; a new tab does it when it is made
}

mount("pl-infill", (element) => (mounted = new Infill(element)));
