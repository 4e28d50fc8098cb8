// Compare: two answers to one prompt next to each other, each also scored by the other side's model.
"use strict";

(() => {
  const { make, button } = window.Pellucid;

  class Side {
    /** @param {string} name */
    constructor(name) {
      this.name = name;
      this.batches = 0; // drawn so far
      /** @type {string | null} */
      this.marked = null; // the marks that are drawn
      this.about = make("p", { class: "pl-quiet" });
      this.body = make("div", { class: "pl-body" });
      this.note = make("p", { class: "pl-note" });
      this.element = make("article", { class: "pl-side", "aria-label": `Answer ${name}` }, make("h3", {}, name), this.about, this.body, this.note);
      this.map = new window.Pellucid.HeatMap(this.body, { label: `Tokens of answer ${name}`, onBranch: null });
      this.clear();
    }

    clear() {
      this.map.set([]);
      this.batches = 0;
      this.marked = null;
    }

    /** @param {Page.CompareSide} side */
    update(side) {
      this.about.textContent = side.about;
      this.note.textContent = side.note;
      this.note.classList.toggle("pl-wrong", Boolean(side.wrong));
      const fresh = side.batches.slice(this.batches).flatMap((batch) => JSON.parse(batch));
      if (fresh.length) this.map.add(fresh);
      this.batches = side.batches.length;
      if (side.marks && side.marks !== this.marked) {
        this.marked = side.marks;
        this.map.annotate(JSON.parse(side.marks), side.words);
        this.map.setMode("difference");
      }
      this.setApart(side.apart);
    }

    /**
     * Highlight the tokens that the other answer does not have.
     * @param {[from: number, to: number][]} stretches
     */
    setApart(stretches) {
      this.map.cells.all.forEach((cell) => cell.toggleAttribute("data-apart", false));
      for (const [from, to] of stretches) {
        for (const cell of this.map.cells.all.slice(from, to)) cell.toggleAttribute("data-apart", true);
      }
    }
  }

  class Compare {
    /**
     * @param {Page.Component<Page.CompareValue | null>} component
     */
    constructor({ element, props, watch, act }) {
      /** @type {Page.CompareValue | null} */
      this.value = null;
      this.number = -1; // of the comparison that is drawn
      this.sides = { a: new Side("A"), b: new Side("B") };
      this.status = make("p", { class: "pl-note", role: "status" });
      this.stop = button("Stop", { onclick: () => act({ verb: "stop" }) });
      this.next = button("Next divergence", { onclick: () => this.walk(1) }, "d");
      this.before = button("Previous divergence", { onclick: () => this.walk(-1) }, "D");
      this.summary = make("table", { class: "pl-table" });
      this.hint = make("p", { class: "pl-quiet" }, make("strong", { class: "pl-only" }, "Bold and underlined"), ": only in this answer. The colour shows which side finds a token more likely.");
      this.element = make(
        "section",
        { class: "pl-compare", "aria-label": "Two answers" },
        make("div", { class: "pl-row pl-steady" }, this.stop, this.before, this.next, this.status),
        this.hint,
        make("div", { class: "pl-sides" }, this.sides.a.element, this.sides.b.element),
        this.summary,
      );
      element.replaceChildren(this.element);
      this.at = -1;
      element.addEventListener("keydown", (event) => {
        const target = /** @type {Element} */ (event.target);
        if (target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
        if (event.key === "d") this.walk(1);
        if (event.key === "D") this.walk(-1);
      });
      watch("value", () => this.update(props.value));
      this.update(props.value);
    }

    /** @param {Page.CompareValue | null} value */
    update(value) {
      this.element.hidden = !value || !(value.number || value.status);
      if (!value) return;
      if (value.number !== this.number) {
        this.number = value.number;
        this.at = -1;
        Object.values(this.sides).forEach((side) => side.clear());
      }
      this.value = value;
      if (this.status.textContent !== value.status) this.status.textContent = value.status; // else a screen reader would read it again
      this.status.classList.toggle("pl-wrong", value.wrong);
      this.stop.hidden = !value.running;
      this.sides.a.update(value.a);
      this.sides.b.update(value.b);
      this.next.hidden = this.before.hidden = this.hint.hidden = !value.divergences.length;
      this.drawSummary(value.summary);
    }

    /**
     * Go to a divergence: where the answers part, or where the models disagree about a token.
     * @param {number} step 1 for the next, -1 for the previous one
     */
    walk(step) {
      const places = this.value ? this.value.divergences : [];
      if (!places.length) return;
      const from = this.at < 0 && step < 0 ? 0 : this.at; // at the beginning, backwards goes to the last one
      this.at = (from + step + places.length) % places.length;
      const [side, token, words] = places[this.at];
      this.sides[side].map.focusToken(token);
      this.status.textContent = `${this.at + 1} of ${places.length}: ${words}`;
    }

    /** @param {string[][]} rows the head is the first */
    drawSummary(rows) {
      this.summary.hidden = !rows.length;
      if (!rows.length) return;
      const [head, ...others] = rows;
      this.summary.replaceChildren(
        make("caption", {}, "Summary"),
        make("thead", {}, make("tr", {}, ...head.map((cell) => make("th", { scope: "col" }, cell)))),
        make("tbody", {}, ...others.map(([name, ...cells]) => make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell))))),
      );
    }
  }

  window.Pellucid.mountCompare = (options) => new Compare(options);
})();
